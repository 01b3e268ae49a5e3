// SPDX-License-Identifier: GPL-2.0

//! Block devices of others, opened by path.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

mod closer;
mod opener;

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

use self::closer::Closer;
pub(crate) use self::opener::{
    Opener,
    Wanted, //
};
use super::mq::BLOCK_SIZE;
use crate::linux::{
    helpers,
    workqueue::OwnedQueue, //
};

/// The number of a block device: its major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNumber(pub(in crate::linux) bindings::dev_t);

impl DeviceNumber {
    /// Both parts, as `MKDEV` puts them together.
    pub(crate) fn major_minor(self) -> (u32, u32) {
        (self.0 >> 20, self.0 & ((1 << 20) - 1))
    }

    /// Whether another disk is made of it, as the device mapper makes them. Opens it for a moment, and
    /// sleeps.
    pub(crate) fn is_below_another(self) -> bool {
        // SAFETY: In process context; a number that no device has is no device that lies below another.
        unsafe { helpers::bdev_is_below_another(self.0) }
    }
}

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
    /// It, or another device before it, is still being opened.
    UnderWay,
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
            Self::Busy | Self::UnderWay => EBUSY,
            Self::ReadOnly => EROFS,
            Self::Zoned | Self::LargeBlocks(_) => EOPNOTSUPP,
            Self::Itself => EINVAL,
            Self::TooSmall { .. } => ENOSPC,
            Self::Other(error) => error,
        }
    }
}

/// What can be said against a device that will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawbacks {
    /// Pages do not lie on its physical blocks of so many bytes, each of which it has to read before
    /// it writes a part of it; 0 if they do.
    pub(crate) rewritten_block_bytes: u32,
    /// It answers at once, as what is made of memory does.
    pub(crate) is_memory: bool,
}

/// A file of a block device, open for reading and writing, and nobody else's. Dropping it closes it,
/// which may wait without a bound: for whoever is opening the device; and, but in a kernel thread, for
/// what others have written to its cache.
///
/// # Invariants
///
/// `file` is an open file made by `bdev_open` with `gone`, which only we refer to.
struct OpenFile {
    file: NonNull<bindings::file>,
    /// Set when the device is taken away.
    gone: KBox<Atomic<u32>>,
}

// SAFETY: A file may be closed by any thread.
unsafe impl Send for OpenFile {}
// SAFETY: `&OpenFile` allows only reading single words, and submitting bios, which may be done
// anywhere.
unsafe impl Sync for OpenFile {}

impl OpenFile {
    /// Whether closing it may wait for what others have written to the device's cache.
    fn has_dirty_cache(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { helpers::bdev_has_dirty_cache(bindings::file_bdev(self.file.as_ptr())) }
    }

    /// Closes it before this returns, also in a kernel thread, for which dropping only begins to.
    fn close(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant; the file is not used after this, and its last reference is
        // ours. The claim goes first, and with it `gone`.
        unsafe {
            bindings::bdev_yield_claim(this.file.as_ptr());
            bindings::__fput_sync(this.file.as_ptr());
        }
        // SAFETY: `gone` is the kernel's no more, and nobody uses it after this.
        drop(unsafe { core::ptr::read(&this.gone) });
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; it is not used after this. Unlike `fput`, this gives up
        // the claim at once, so that the device can be opened again when it returns, and `gone`,
        // which is dropped later, is the kernel's no more.
        unsafe { bindings::bdev_fput(self.file.as_ptr()) };
    }
}

/// A block device that is open for reading and writing, and nobody else's. Closed when dropped,
/// which sleeps, for a bounded time: see [`Closer`].
pub(crate) struct BlockDevice {
    file: ManuallyDrop<OpenFile>,
    number: DeviceNumber,
    closer: Arc<Closer>,
    queue: Arc<OwnedQueue>,
}

impl BlockDevice {
    /// The number of the device at `path`. Sleeps.
    pub(crate) fn look_up(path: &CStr) -> Result<DeviceNumber, OpenError> {
        let mut dev = 0;
        // SAFETY: The path is terminated, and `dev` is valid for writes.
        to_result(unsafe { bindings::lookup_bdev(path.as_char_ptr(), &mut dev) })?;
        Ok(DeviceNumber(dev))
    }

    /// Opens the device. Sleeps, maybe without a bound: see [`Opener`].
    fn open(wanted: Wanted) -> Result<Self, OpenError> {
        let Wanted {
            number,
            min_bytes,
            queue,
            ..
        } = wanted;
        let gone = KBox::new(Atomic::new(0), GFP_KERNEL)
            .map_err(|error| OpenError::Other(error.into()))?;
        let closer = Arc::pin_init(Closer::new(number), GFP_KERNEL).map_err(OpenError::Other)?;
        // SAFETY: The flag stays where it is, for longer than the file is open.
        let file = from_err_ptr(unsafe {
            helpers::bdev_open(number.0, core::ptr::from_ref(&*gone).cast_mut().cast())
        })?;
        // INVARIANT: Opened just now. From here on, errors close it.
        let file = OpenFile {
            // SAFETY: It is neither an error nor null.
            file: unsafe { NonNull::new_unchecked(file) },
            gone,
        };
        let device = Self {
            file: ManuallyDrop::new(file),
            number,
            closer,
            queue,
        };
        // SAFETY: The device is open.
        if unsafe { helpers::bdev_read_only(device.as_ptr()) } {
            return Err(OpenError::ReadOnly);
        }
        // SAFETY: The device is open.
        if unsafe { helpers::bdev_is_zoned(device.as_ptr()) } {
            return Err(OpenError::Zoned);
        }
        // SAFETY: As above. It stays so, for only whoever has a device for himself may change it.
        let block_bytes = unsafe { helpers::bdev_logical_block_size(device.as_ptr()) };
        if block_bytes as usize > BLOCK_SIZE {
            return Err(OpenError::LargeBlocks(block_bytes));
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

    /// Whether it is made of this disk, which there is. The file of a loop device is looked up by its path as
    /// the calling process sees it: not in a kernel thread, whose root may be another. Sleeps.
    fn is_made_of(&self, disk: DeviceNumber) -> bool {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_is_made_of(self.as_ptr(), disk.0) }
    }

    /// What can be said against it.
    pub(crate) fn drawbacks(&self) -> Drawbacks {
        let bdev = self.as_ptr();
        // SAFETY: The device is open.
        let (physical, misaligned, is_memory) = unsafe {
            (
                helpers::bdev_physical_block_size(bdev),
                helpers::bdev_is_misaligned(bdev),
                helpers::bdev_is_synchronous(bdev),
            )
        };
        let is_rewritten = misaligned || physical as usize > BLOCK_SIZE;
        Drawbacks {
            rewritten_block_bytes: if is_rewritten { physical } else { 0 },
            is_memory,
        }
    }

    /// Whether I/O on `pages` pages from page `first_page` on may be submitted so that it ends with
    /// `EAGAIN` rather than wait: not every device can, and none where it would have to be split.
    pub(crate) fn takes_nowait(&self, first_page: u64, pages: usize) -> bool {
        let sectors = BLOCK_SIZE as u64 / 512;
        // CAST: At most `MAX_BIO_PAGES`.
        let len = (pages as u32).wrapping_mul(sectors as u32);
        // SAFETY: The device is open.
        unsafe { helpers::bdev_takes_nowait(self.as_ptr(), first_page.wrapping_mul(sectors), len) }
    }

    /// Its number.
    pub(crate) fn number(&self) -> DeviceNumber {
        self.number
    }

    /// Whether it has been taken away: it may only be closed.
    pub(crate) fn is_gone(&self) -> bool {
        self.file.gone.load(Relaxed) != 0
    }

    /// The device, for kernel functions.
    pub(in crate::linux) fn as_ptr(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariant of `OpenFile`.
        unsafe { bindings::file_bdev(self.file.file.as_ptr()) }
    }

    /// Its size now.
    pub(crate) fn size_bytes(&self) -> u64 {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_nr_bytes(self.as_ptr()) }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // SAFETY: It is not used after this.
        let file = unsafe { ManuallyDrop::take(&mut self.file) };
        self.closer.close(file, &self.queue);
    }
}
