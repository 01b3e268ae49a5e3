// SPDX-License-Identifier: GPL-2.0

//! Opening the local disk: which devices can be used.

use kernel::{
    fmt,
    prelude::*, //
};

use crate::{
    linux::block::bdev::{
        self,
        BlockDevice,
        DeviceNumber,
        Event, //
    },
    wire::PAGE_SIZE,
};

/// Why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// There is no such path.
    NotFound,
    /// The path names something else.
    NotABlockDevice,
    /// Mounted, swapped on, part of an array: something else has it opened exclusively.
    Busy,
    /// It cannot be written to.
    ReadOnly,
    /// It can only be written to from the beginning of a zone on.
    Zoned,
    /// Its logical blocks are larger than a page. Bytes.
    LargeBlocks(u32),
    /// It is the disk that it is to serve, or is made of it.
    Itself,
    /// It is smaller than wanted. Bytes.
    TooSmall {
        /// Its size.
        have: u64,
        /// The least that would do.
        want: u64,
    },
    /// It, or another device before it, is still being opened, or waits to be attached.
    UnderWay,
    /// It, or a disk below it, is being opened, closed or removed.
    UnderWayBelow,
    /// Anything else.
    Other(Error),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        match error {
            e if e == ENOENT || e == ENOTDIR => Self::NotFound,
            e if e == ENOTBLK => Self::NotABlockDevice,
            e if e == EBUSY => Self::Busy,
            e if e == EROFS => Self::ReadOnly,
            e => Self::Other(e),
        }
    }
}

impl From<bdev::OpenError> for OpenError {
    fn from(error: bdev::OpenError) -> Self {
        match error {
            bdev::OpenError::UnderWay => Self::UnderWay,
            bdev::OpenError::Failed(error) => error.into(),
        }
    }
}

impl OpenError {
    /// The error number for it.
    pub(super) fn to_error(self) -> Error {
        match self {
            Self::NotFound => ENOENT,
            Self::NotABlockDevice => ENOTBLK,
            Self::Busy | Self::UnderWay | Self::UnderWayBelow => EBUSY,
            Self::ReadOnly => EROFS,
            Self::Zoned | Self::LargeBlocks(_) => EOPNOTSUPP,
            Self::Itself => EINVAL,
            Self::TooSmall { .. } => ENOSPC,
            Self::Other(error) => error,
        }
    }
}

/// The text follows the device's path.
impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str(": there is no such file"),
            Self::NotABlockDevice => f.write_str(" is not a block device"),
            Self::Busy => f.write_str(" is in use: mounted, swapped on, or opened exclusively"),
            Self::ReadOnly => f.write_str(" is read-only"),
            Self::Zoned => f.write_str(
                " has zones, which can only be written sequentially",
            ),
            Self::LargeBlocks(bytes) => write!(
                f,
                " has logical blocks of {bytes} bytes, larger than a page; use a disk with blocks of 4096 bytes or less"
            ),
            Self::Itself => f.write_str(" is the Anemone device itself, or is made of it"),
            Self::TooSmall { have, want } => {
                write!(f, " is too small: {have} bytes, {want} are needed")
            }
            Self::UnderWay => f.write_str(
                " cannot be attached: it, or a disk before it, is still being opened, maybe until its driver or another program has finished, or waits to be attached; try again. While a disk is being opened the module is in use"
            ),
            Self::UnderWayBelow => f.write_str(
                " cannot be attached: it, or a disk below it, is being opened or closed by another program, or removed, which takes long; try again"
            ),
            Self::Other(error) => write!(f, " cannot be opened: {error:?}"),
        }
    }
}

/// Whether a device can be used, of at least `want` bytes.
pub(super) fn check(device: &BlockDevice, want: u64) -> Result<(), OpenError> {
    if device.is_read_only() {
        return Err(OpenError::ReadOnly);
    }
    if device.is_zoned() {
        return Err(OpenError::Zoned);
    }
    // This does not change: only an exclusive opener can change it.
    let block_bytes = device.logical_block_size();
    if block_bytes as usize > PAGE_SIZE {
        return Err(OpenError::LargeBlocks(block_bytes));
    }
    let have = device.size_bytes();
    if have < want {
        return Err(OpenError::TooSmall { have, want });
    }
    Ok(())
}

/// Whether a device is not made of the disk `own`. To be called by the process that named the device: paths
/// are looked up from its root directory. Sleeps.
pub(super) fn check_below(device: &BlockDevice, own: DeviceNumber) -> Result<(), OpenError> {
    match device.is_made_of(own) {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::Itself),
        Err(error) if error == EBUSY => Err(OpenError::UnderWayBelow),
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
            "local disk {name}: if it is backed by this machine's memory, it needs memory when memory is short\n"
        );
    }
}
