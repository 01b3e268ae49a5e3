// SPDX-License-Identifier: GPL-2.0

//! Which devices can be the local disk, and what is logged of them.

use kernel::{
    fmt,
    prelude::*, //
};

use super::AttachError;
use crate::{
    linux::block::bdev::{
        BlockDevice,
        DeviceNumber,
        Event, //
    },
    wire::PAGE_SIZE,
};

/// Whether a device can be used, of at least `want` bytes.
pub(super) fn check(device: &BlockDevice, want: u64) -> Result<(), AttachError> {
    if device.is_read_only() {
        return Err(AttachError::ReadOnly);
    }
    if device.is_zoned() {
        return Err(AttachError::Zoned);
    }
    // This does not change: only an exclusive opener can change it.
    let block_bytes = device.logical_block_size();
    if block_bytes as usize > PAGE_SIZE {
        return Err(AttachError::LargeBlocks(block_bytes));
    }
    let have = device.size_bytes();
    if have < want {
        return Err(AttachError::TooSmall { have, want });
    }
    Ok(())
}

/// Whether a device is not made of the disk `own`. To be called by the process that named the device: paths
/// are looked up from its root directory. Sleeps.
pub(super) fn check_below(device: &BlockDevice, own: DeviceNumber) -> Result<(), AttachError> {
    match device.is_made_of(own) {
        Ok(false) => Ok(()),
        Ok(true) => Err(AttachError::Itself),
        Err(error) if error == EBUSY => Err(AttachError::BusyBelow),
        Err(error) => Err(error.into()),
    }
}

/// Logs what happens to a disk when no caller waits for it.
pub(super) fn report(number: DeviceNumber, event: Event) {
    let (major, minor) = number.major_minor();
    match event {
        Event::OpenedLate => {
            pr_info!("block device {major}:{minor}: it was opened too late, and is not used\n");
        }
        Event::StillOpening => pr_err!(
            "block device {major}:{minor}: it is still being opened, and loading, which has failed, waits for that\n"
        ),
        Event::StillClosing => pr_warn!(
            "block device {major}:{minor}: it is still being closed, maybe until another opener has finished, or until data that others wrote to it is written back; the module is in use until then\n"
        ),
        Event::ClosedLate => pr_info!("block device {major}:{minor}: it is closed\n"),
        Event::StaysOpen => pr_err!(
            "block device {major}:{minor}: it has not completed I/O, so it stays open until this machine restarts; it can be used, but not removed\n"
        ),
        Event::HandedOver => pr_warn!(
            "block device {major}:{minor}: the kernel has not closed it yet (another program is opening it, or an earlier disk, or data that others wrote to it is being written back); until it has, it may not be possible to mount or attach it\n"
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
            "local disk {name}: if it is backed by this machine's memory, it needs memory when memory is short; use a disk that is not\n"
        );
    }
}
