// SPDX-License-Identifier: GPL-2.0

//! The text of each change of the local disk's state, and of what happens while one is opened or closed.

use kernel::{
    fmt,
    prelude::*, //
};

use crate::{
    engine::client::{
        config::NS_PER_S,
        mirror::Health, //
    },
    linux::block::{
        bdev::{
            BlockDevice,
            Event, //
        },
        DeviceNumber, //
    },
    wire::PAGE_SIZE, //
};

/// Logs how the disk has changed. `is_gone`: it was removed from the machine.
pub(super) fn health_changed(before: Health, now: Health, is_gone: bool, disk_timeout_ns: u64) {
    let timeout_s = disk_timeout_ns / NS_PER_S;
    match (before, now) {
        (_, Health::TimedOut) => {
            pr_err!("local disk: no answer for {timeout_s} s; not written to until it answers\n")
        }
        (Health::TimedOut, Health::Attached) => pr_info!("local disk: answers again\n"),
        (_, Health::Faulty) if is_gone => {
            pr_err!("local disk: removed from the machine, no longer used; detach it\n")
        }
        (_, Health::Faulty) => {
            pr_err!("local disk: faulty, no longer used; to use it again, attach it again\n")
        }
        (Health::Faulty, Health::Attached) => pr_info!("local disk: used again\n"),
        _ => {}
    }
}

/// Logs what happens to a disk when no caller waits for it.
pub(super) fn report(number: DeviceNumber, event: Event) {
    let (major, minor) = number.major_minor();
    match event {
        Event::OpenedLate => {
            pr_info!("block device {major}:{minor}: opened too late, not used\n");
        }
        Event::StillOpening => pr_err!(
            "block device {major}:{minor}: still being opened; the failed load waits for it\n"
        ),
        Event::StillClosing => pr_warn!(
            "block device {major}:{minor}: still being closed (another program is opening it, or data that others wrote to it is being written back); the module is in use until it is closed\n"
        ),
        Event::ClosedLate => pr_info!("block device {major}:{minor}: closed\n"),
        Event::HandedOver => pr_warn!(
            "block device {major}:{minor}: not closed yet (another program is opening it or an earlier disk, or data that others wrote to it is being written back); mounting or attaching it may fail until it is\n"
        ),
    }
}

/// Logs the drawbacks of a device that can be used.
pub(super) fn warn_of(device: &BlockDevice, name: fmt::Arguments<'_>) {
    let block_bytes = device.physical_block_size();
    if device.is_misaligned() || block_bytes as usize > PAGE_SIZE {
        pr_warn!(
            "local disk {name}: pages are not aligned to its blocks of {block_bytes} bytes, so each write makes it read first; align the partition\n"
        );
    }
    // A device backed by memory answers at once.
    if device.is_synchronous() {
        pr_warn!(
            "local disk {name}: if it is backed by this machine's memory, it takes memory when memory is short; use another disk\n"
        );
    }
}
