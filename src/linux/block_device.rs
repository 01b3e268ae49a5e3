// SPDX-License-Identifier: GPL-2.0

//! Block devices of others, opened by path.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

use super::{
    mq::{
        GenDisk,
        Operations, //
    },
    shim,
};

/// `BLK_OPEN_READ | BLK_OPEN_WRITE`
const READ_WRITE: bindings::blk_mode_t = 1 << 0 | 1 << 1;

/// Why a device cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The path leads nowhere.
    NotFound,
    /// The path leads to something else.
    NotABlockDevice,
    /// Mounted, swapped on, part of an array: somebody else has it for himself.
    Busy,
    /// It cannot be written to.
    ReadOnly,
    /// It is the disk that it is to serve.
    Itself,
    /// It is smaller than wanted. Bytes.
    TooSmall {
        /// Its size.
        have: u64,
        /// The least that would do.
        want: u64,
    },
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

impl OpenError {
    /// The error number that says it.
    pub(crate) fn to_error(self) -> Error {
        match self {
            Self::NotFound => ENOENT,
            Self::NotABlockDevice => ENOTBLK,
            Self::Busy => EBUSY,
            Self::ReadOnly => EROFS,
            Self::Itself => EINVAL,
            Self::TooSmall { .. } => ENOSPC,
            Self::Other(error) => error,
        }
    }
}

/// A block device that is open for reading and writing, and nobody else's. Closed when dropped.
///
/// # Invariants
///
/// `file` is an open file made by `bdev_file_open_by_dev`, which only we refer to.
pub(crate) struct BlockDevice {
    file: NonNull<bindings::file>,
}

// SAFETY: A file may be closed by any thread.
unsafe impl Send for BlockDevice {}
// SAFETY: `&BlockDevice` allows only reading the size, which is a single word.
unsafe impl Sync for BlockDevice {}

impl BlockDevice {
    /// Opens the device at `path`, which must have `min_bytes` bytes at least and be no part of
    /// `disk`. Sleeps.
    pub(crate) fn open<T: Operations>(
        path: &CStr,
        min_bytes: u64,
        disk: Option<&GenDisk<T>>,
    ) -> Result<Self, OpenError> {
        let mut dev = 0;
        // SAFETY: The path is terminated, and `dev` is valid for writes.
        to_result(unsafe { bindings::lookup_bdev(path.as_char_ptr(), &mut dev) })?;
        // The holder is only compared: the address of something of this module's.
        let holder = (&raw const bindings::__this_module).cast_mut().cast();
        // SAFETY: No requirements; there are no holder operations.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_dev(dev, READ_WRITE, holder, core::ptr::null())
        })?;
        // INVARIANT: Opened just now. From here on, errors close it.
        let device = Self {
            // SAFETY: It is neither an error nor null.
            file: unsafe { NonNull::new_unchecked(file) },
        };
        // SAFETY: The device is open, so its disk is live.
        let device_disk = unsafe { (*device.as_ptr()).bd_disk };
        if disk.is_some_and(|disk| core::ptr::eq(disk.as_ptr(), device_disk)) {
            return Err(OpenError::Itself);
        }
        // SAFETY: The device is open.
        if unsafe { shim::anemone_bdev_read_only(device.as_ptr()) } {
            return Err(OpenError::ReadOnly);
        }
        let have = device.size_bytes();
        if have < min_bytes {
            return Err(OpenError::TooSmall {
                have,
                want: min_bytes,
            });
        }
        Ok(device)
    }

    /// The device, for kernel functions.
    pub(in crate::linux) fn as_ptr(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariant.
        unsafe { bindings::file_bdev(self.file.as_ptr()) }
    }

    /// Its size now.
    pub(crate) fn size_bytes(&self) -> u64 {
        // SAFETY: The device is open.
        unsafe { shim::anemone_bdev_nr_bytes(self.as_ptr()) }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; it is not used after this. Unlike `fput`, this gives up
        // the claim at once, so that the device can be opened again when it returns.
        unsafe { bindings::bdev_fput(self.file.as_ptr()) };
    }
}
