// SPDX-License-Identifier: GPL-2.0

//! Which devices can be the local disk.

use kernel::prelude::*;

use super::AttachError;
use crate::{
    linux::block::{
        bdev::BlockDevice,
        DeviceNumber, //
    },
    wire::PAGE_SIZE, //
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
