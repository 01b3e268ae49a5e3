// SPDX-License-Identifier: GPL-2.0

//! A mirror, and what the driver does beside it, for tests that play the disk.

use super::super::super::storage::heap::Heap;
use std::vec;

use super::super::super::mirror::{Buffer, Config, Event, Head, Io, Mirror, Parts, Policy};
use super::super::super::swap_device::SwapDevice;
use super::super::Action;
use super::bench::{page_crc, Bench};

/// Number of buffers.
pub const BUFFERS: usize = 64;

/// A mirror with a disk.
pub fn new_mirror(policy: Policy, device: &SwapDevice<Heap>) -> Mirror<Heap> {
    new_mirror_of(policy, BUFFERS, device)
}

/// The same, with `buffers` buffers.
pub fn new_mirror_of(policy: Policy, buffers: usize, device: &SwapDevice<Heap>) -> Mirror<Heap> {
    let config = Config {
        policy,
        ..Config::default()
    };
    let mut mirror = Mirror::new(
        config,
        Parts {
            buffers: vec![Buffer::default(); buffers],
            heads: vec![Head::default(); 16],
            ios: vec![Io::default(); 8],
        },
    );
    mirror.attach(device).unwrap();
    mirror
}

/// Copies a page between the mirror and an op. A page that is copied to a buffer is found to have the
/// checksum `changed`, once, if that is not `None`.
pub fn copy(
    bench: &mut Bench,
    mirror: &mut Mirror<Heap>,
    action: Action,
    changed: &mut Option<u32>,
) {
    let Bench {
        now_ns,
        device,
        shard,
        ..
    } = bench;
    let port = &mut Some(mirror);
    match action {
        Action::FillBuffer(fill) => {
            let crc = changed.take().or(fill.crc);
            shard.buffer_filled(*now_ns, &fill, crc, port, device);
        }
        Action::ReadBuffer(read) => {
            let crc = read.wants_crc.then(page_crc);
            shard.buffer_read(*now_ns, &read, true, crc, port, device);
        }
        other => panic!("{other:?}"),
    }
}

/// Notifies the shard of an event of the mirror.
pub fn notify(bench: &mut Bench, mirror: &mut Mirror<Heap>, event: Event) {
    let Bench {
        now_ns,
        device,
        shard,
        ..
    } = bench;
    shard.disk_event(*now_ns, event, &mut Some(mirror), device);
}
