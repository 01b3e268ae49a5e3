// SPDX-License-Identifier: GPL-2.0

//! Why a disk cannot be attached: as a text, and as an error number.

use kernel::{
    fmt,
    prelude::*, //
};

use crate::driver::params;

/// Why a disk cannot be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttachError {
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
    Opening,
    /// It, or a disk below it, is being opened, closed or removed.
    BusyBelow,
    /// It cannot be opened for another reason.
    Other(Error),
    /// Another disk is attached.
    Another,
    /// It is attached, but has been removed from the machine since.
    Gone,
    /// It is attached, but does not answer.
    TimedOut,
    /// Another task is attaching or detaching a disk.
    UnderWay,
    /// There is no memory for the buffers of pages to be written.
    NoMemory,
}

/// For the errors of looking a device up and of opening it.
impl From<Error> for AttachError {
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

impl AttachError {
    /// The error number for it.
    pub(crate) fn to_error(self) -> Error {
        match self {
            Self::NotFound => ENOENT,
            Self::NotABlockDevice => ENOTBLK,
            Self::Busy | Self::Opening | Self::BusyBelow | Self::TimedOut | Self::UnderWay => EBUSY,
            Self::ReadOnly => EROFS,
            Self::Zoned | Self::LargeBlocks(_) => EOPNOTSUPP,
            Self::Itself => EINVAL,
            Self::TooSmall { .. } => ENOSPC,
            Self::Other(error) => error,
            Self::Another => EEXIST,
            Self::Gone => ENODEV,
            Self::NoMemory => ENOMEM,
        }
    }
}

/// The text follows the device's path.
impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => ": there is no such file",
            Self::NotABlockDevice => " is not a block device",
            Self::Busy => " is in use: mounted, swapped on, or opened exclusively",
            Self::ReadOnly => " is read-only",
            Self::Zoned => " has zones, which can only be written sequentially",
            Self::LargeBlocks(bytes) => return write!(
                f,
                " has logical blocks of {bytes} bytes, larger than a page; use a disk with blocks of 4096 bytes or less"
            ),
            Self::Itself => " is the Anemone device itself, or is made of it",
            Self::TooSmall { have, want } => {
                return write!(f, " is too small: {have} bytes, {want} are needed")
            }
            Self::Opening => " cannot be attached: a disk is still being opened; try again (the module is in use until then)",
            Self::BusyBelow => " cannot be attached: it, or a disk below it, is being opened, closed or removed by another program; try again",
            Self::Other(error) => return write!(f, " cannot be opened: {error:?}"),
            Self::Another => ": another disk is attached; detach it first",
            Self::Gone => ": the attached disk was removed from the machine; detach it first",
            Self::TimedOut => " is attached and does not answer; it will be used again when it does",
            Self::UnderWay => ": another attach or detach is under way; try again",
            Self::NoMemory => {
                let mib = params::mirror_pool_mib.value();
                return write!(f, ": no memory for the mirror's pool of {mib} MiB; reduce mirror_pool_mib=");
            }
        })
    }
}
