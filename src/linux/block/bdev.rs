// SPDX-License-Identifier: GPL-2.0

//! Block devices, opened exclusively.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)
//!
//! Could be dropped when the kernel crate has `bdev_file_open_by_dev`.
//!
//! # Examples
//!
//! ```ignore
//! fn size() -> Result<u64, OpenError> {
//!     let opener = Opener::new(c"size", 1000).map_err(OpenError::Failed)?;
//!     let number = DeviceNumber::look_up(c"/dev/vda").map_err(OpenError::Failed)?;
//!     Ok(opener.open(number, false)?.size_bytes())
//! }
//! ```

mod closer;
mod job;
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

pub(crate) use self::opener::Opener;
use self::{
    closer::{
        Closer,
        Closing, //
    },
    job::JobQueue, //
};
use crate::linux::helpers;

/// The number of a block device: its major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNumber(pub(in crate::linux) bindings::dev_t);

impl DeviceNumber {
    /// The number of the device at `path`. Sleeps.
    pub(crate) fn look_up(path: &CStr) -> Result<Self> {
        let mut dev = 0;
        // SAFETY: The path is terminated, and `dev` is valid for writes.
        to_result(unsafe { bindings::lookup_bdev(path.as_char_ptr(), &mut dev) })?;
        Ok(Self(dev))
    }

    /// Both parts, as `MKDEV` puts them together.
    pub(crate) fn major_minor(self) -> (u32, u32) {
        (self.0 >> 20, self.0 & ((1 << 20) - 1))
    }
}

/// Why a device was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// It, or another device before it, is still being opened.
    UnderWay,
    /// The kernel's error: `EBUSY` if something else has it opened exclusively.
    Failed(Error),
}

/// A file of a block device, opened exclusively for reading and writing. Dropping it closes it, which
/// may wait without a bound: for another opener of the device; and, but in a kernel thread, until what
/// others have written to its cache is on the disk.
///
/// # Invariants
///
/// `file` is an open file made by `bdev_open` with `gone`, and the only reference to it belongs to this
/// value.
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

    /// Opens the device. Sleeps, maybe without a bound.
    fn open(number: DeviceNumber) -> Result<Self> {
        let gone = KBox::new(Atomic::new(0), GFP_KERNEL)?;
        // SAFETY: The flag stays where it is until the claim on the device is given up.
        let file = from_err_ptr(unsafe {
            helpers::bdev_open(number.0, core::ptr::from_ref(&*gone).cast_mut().cast())
        })?;
        // INVARIANT: Opened just now.
        Ok(Self {
            // SAFETY: It is neither an error nor null.
            file: unsafe { NonNull::new_unchecked(file) },
            gone,
        })
    }

    /// Gives up the claim on the device, after which others can open it exclusively. Returns the file,
    /// which stays open, and which the caller owns. Nothing of this module is used for it any more.
    fn give_up_claim(self) -> NonNull<bindings::file> {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant. The kernel uses `gone` only for the claim.
        unsafe { bindings::bdev_yield_claim(this.file.as_ptr()) };
        // SAFETY: It is not used after this.
        drop(unsafe { core::ptr::read(&this.gone) });
        this.file
    }

    /// Closes it before this returns, also in a kernel thread, for which dropping only begins to.
    fn close(self) {
        // SAFETY: By the type invariant this is the last reference, and the file is not used after this.
        unsafe { bindings::__fput_sync(self.give_up_claim().as_ptr()) };
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; it is not used after this. Unlike `fput`, this gives up
        // the claim at once. So the device can be opened again when it returns, and the kernel no
        // longer uses `gone`, which is dropped later.
        unsafe { bindings::bdev_fput(self.file.as_ptr()) };
    }
}

/// A block device, opened exclusively for reading and writing by an [`Opener`]. Dropping it closes it, and
/// sleeps for a bounded time: see [`Closer`]. The last user of the `Opener`'s queue also waits until what it
/// has begun there has ended, without a bound.
///
/// # Invariants
///
/// - `file` is there until this is dropped.
/// - No job of `queue` refers to the queue. So its last reference is not dropped, and the queue is not
///   destroyed, by its own worker.
pub(crate) struct BlockDevice {
    file: ManuallyDrop<OpenFile>,
    number: DeviceNumber,
    stays_open: Atomic<u32>,
    closer: Arc<Closer>,
    queue: Arc<JobQueue>,
}

impl BlockDevice {
    /// Lets the device stay open for ever: dropping it gives up only the claim on it. For a device that
    /// will not return a bio: while it is open, its driver does not free what the bio refers to.
    pub(in crate::linux) fn keep_open(&self) {
        self.stays_open.store(1, Relaxed);
    }

    /// Whether it is made of this disk, which there is. The file of a loop device is looked up by its path as
    /// the calling process sees it: not in a kernel thread, whose root may be another. Sleeps.
    pub(crate) fn is_made_of(&self, disk: DeviceNumber) -> bool {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_is_made_of(self.as_ptr(), disk.0) }
    }

    /// Whether it cannot be written to.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_read_only(self.as_ptr()) }
    }

    /// Whether it has zones, which can only be written sequentially.
    pub(crate) fn is_zoned(&self) -> bool {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_is_zoned(self.as_ptr()) }
    }

    /// Bytes of its smallest unit of I/O.
    pub(crate) fn logical_block_size(&self) -> u32 {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_logical_block_size(self.as_ptr()) }
    }

    /// Bytes of what it writes at once: to write a part, it has to read the rest.
    pub(crate) fn physical_block_size(&self) -> u32 {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_physical_block_size(self.as_ptr()) }
    }

    /// Whether its first byte lies within a physical block.
    pub(crate) fn is_misaligned(&self) -> bool {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_is_misaligned(self.as_ptr()) }
    }

    /// Whether it ends I/O at once, in the context that submits it.
    pub(crate) fn is_synchronous(&self) -> bool {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_is_synchronous(self.as_ptr()) }
    }

    /// Whether I/O on whole pages, `sectors` sectors from `sector` on, may be submitted so that it
    /// ends with `EAGAIN` rather than wait: not every device can, and none where it would have to
    /// be split.
    pub(crate) fn takes_nowait(&self, sector: u64, sectors: u32) -> bool {
        // SAFETY: The device is open.
        unsafe { helpers::bdev_takes_nowait(self.as_ptr(), sector, sectors) }
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
        let closing = Closing {
            // SAFETY: By the type invariant, and it is not used after this.
            file: unsafe { ManuallyDrop::take(&mut self.file) },
            number: self.number,
            stays_open: self.stays_open.load(Relaxed) != 0,
        };
        self.closer.close(closing, &self.queue);
    }
}
