// SPDX-License-Identifier: GPL-2.0

//! Carries a shard's work to the mirror and back, for tests that play the disk.

use super::super::super::storage::heap::Heap;
use std::vec;

use super::super::super::device::Device;
use super::super::super::mirror::{
    Buffer, Config, Event, Get, Head, Io, Mirror, Parts, Policy, Put,
};
use super::super::{AskAnswer, DiskWork, PutAnswer, Taken};
use super::bench::{page_crc, Bench};

/// Number of buffers.
pub const BUFFERS: usize = 64;

/// A mirror with a disk.
pub fn new_mirror(policy: Policy, device: &Device<Heap>) -> Mirror<Heap> {
    new_mirror_of(policy, BUFFERS, device)
}

/// The same, with `buffers` buffers.
pub fn new_mirror_of(policy: Policy, buffers: usize, device: &Device<Heap>) -> Mirror<Heap> {
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

/// Carries out the shard's work with the mirror. If `changed` is not `None`, the next page that is
/// copied to a buffer is found to have that checksum.
pub fn do_work(
    bench: &mut Bench,
    mirror: &mut Mirror<Heap>,
    work: DiskWork,
    changed: &mut Option<u32>,
) {
    let Bench {
        now_ns,
        device,
        shard,
        ..
    } = bench;
    let now_ns = *now_ns;
    match work {
        DiskWork::Write(write) => {
            let (page, version) = (write.page, write.version);
            let mut is_wanted = false;
            let answer = match (write.begin(mirror, device), changed.take()) {
                (Put::Buffer(_), Some(crc)) => {
                    mirror.settle(now_ns, page, version, false, device);
                    PutAnswer::Changed(crc)
                }
                (Put::Buffer(_), None) => {
                    is_wanted = write.is_urgent;
                    PutAnswer::Copied
                }
                (Put::Full, _) => PutAnswer::Full,
                (Put::Closed, _) => PutAnswer::Closed,
            };
            shard.disk_put(now_ns, &write, answer, device);
            if is_wanted && !mirror.want(now_ns, page, version, write.token) {
                shard.disk_written(now_ns, write.token, false, device);
            }
        }
        DiskWork::Want(want) => {
            if !mirror.want(now_ns, want.page, want.version, want.token) {
                shard.disk_written(now_ns, want.token, false, device);
            }
        }
        DiskWork::Settle(settle) => {
            let (page, version) = (settle.page, settle.version);
            mirror.settle(now_ns, page, version, settle.completed, device);
        }
        DiskWork::PassTurn(shard, way) => mirror.pass_turn(shard, way),
        DiskWork::Read(read) => {
            let only = read.buffers_only;
            let get = read.begin(mirror, device);
            if only {
                let mut taken = Taken::Nothing;
                if let Get::Buffered(id) = get {
                    mirror.release(id);
                    taken = copied(read.wants_crc);
                }
                shard.disk_looked(now_ns, &read, taken, device);
                return;
            }
            let (answer, found) = match get {
                Get::Buffered(id) => (AskAnswer::Queued, Some(id)),
                Get::Queued => (AskAnswer::Queued, None),
                Get::Full => (AskAnswer::Full, None),
                Get::TimedOut => (AskAnswer::TimedOut, None),
                Get::Changed | Get::Absent => (AskAnswer::Changed, None),
            };
            shard.disk_asked(now_ns, &read, answer, device);
            if let Some(id) = found {
                notify(bench, mirror, Event::Read(read.token, Ok(id)));
            }
        }
    }
}

/// Notifies the shard of the mirror's event.
pub fn notify(bench: &mut Bench, mirror: &mut Mirror<Heap>, event: Event) {
    let Bench {
        now_ns,
        device,
        shard,
        ..
    } = bench;
    let now_ns = *now_ns;
    match event {
        Event::Written(token, ok) => shard.disk_written(now_ns, token, ok, device),
        Event::Read(token, result) => {
            let outcome = result.map(|_| ());
            if let Some(receive) = shard.disk_read(now_ns, token, outcome, device) {
                shard.disk_received(now_ns, &receive, copied(receive.wants_crc), device);
            }
            if let Ok(id) = result {
                mirror.release(id);
            }
        }
        Event::StateChanged => shard.disk_changed(now_ns, device),
        Event::Turn(_, way) => shard.disk_turn(way),
    }
}

fn copied(wants_crc: bool) -> Taken {
    match wants_crc {
        true => Taken::Summed(page_crc()),
        false => Taken::Copied,
    }
}
