// SPDX-License-Identifier: GPL-2.0

//! Block devices, opened exclusively.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)
//!
//! Could be removed in a release after 7.3, once the kernel crate has `bdev_file_open_by_dev`.
//!
//! # Examples
//!
//! ```ignore
//! fn is_large(device: &BlockDevice) -> bool {
//!     !device.is_gone() && !device.is_read_only() && device.size_bytes() >= 1 << 30
//! }
//! ```

mod closer;
mod file;
mod job;
mod opener;

use core::mem::ManuallyDrop;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

pub(crate) use self::opener::{
    Late,
    Opener, //
};
use self::{
    closer::Closer,
    file::Claim,
    job::JobQueue, //
};
use super::DeviceNumber;
use crate::linux::helpers;

/// What happens to a device when no caller waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was opened, but too late, and is closed again.
    OpenedLate,
    /// It is still being opened, and a module that fails to load waits for that.
    StillOpening,
    /// It is still being closed, and the module is in use until it is.
    StillClosing,
    /// It is closed at last.
    ClosedLate,
    /// The module is being unloaded. The kernel closes the device later, and until then it may be claimed.
    HandedOver,
}

/// Called when an event happens. Process context.
pub(crate) type Report = fn(DeviceNumber, Event);

/// A block device, opened exclusively for reading and writing by an [`Opener`]. Dropping it closes it, and
/// sleeps for a bounded time: see [`Closer`].
///
/// # Invariants
///
/// - `claim` is initialised until `drop` takes it. So the device is open, and `as_ptr` points to it, while
///   the value exists.
/// - No job of `queue` refers to the queue. So its last reference is not dropped, and the queue is not
///   destroyed, by its own worker.
pub(crate) struct BlockDevice {
    claim: ManuallyDrop<Claim>,
    number: DeviceNumber,
    closes_later: Atomic<u32>,
    closer: Arc<Closer>,
    queue: Arc<JobQueue>,
}

impl BlockDevice {
    /// Closes it, but does not wait until it is closed. Sleeps.
    pub(crate) fn close_later(self: Arc<Self>) {
        self.closes_later.store(1, Relaxed);
    }

    /// Whether it is made of this disk, which there is. `EBUSY` if another task opens one of the disks below
    /// it for long. The file of a loop device is looked up by its path as the calling process sees it: not in
    /// a kernel thread, whose root may be another. Sleeps: that look-up waits for the path's file system
    /// without a bound, as [`DeviceNumber::look_up`] does.
    ///
    /// The helper reads what sysfs shows: links, and for a loop device the driver's attribute, whose function
    /// it calls. In the kernel it would be replaced by a function of the block layer's that walks the
    /// holders, and one of the loop driver's that returns its file; neither exists.
    pub(crate) fn is_made_of(&self, disk: DeviceNumber) -> Result<bool> {
        // SAFETY: By the type invariants the device is open.
        let found = unsafe { helpers::bdev_is_made_of(self.as_ptr(), disk.0, self.queue.wait_ms) };
        to_result(found)?;
        Ok(found != 0)
    }

    /// Whether it cannot be written to.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: By the type invariants the device is open.
        unsafe { helpers::bdev_read_only(self.as_ptr()) }
    }

    /// Whether it has zones, which can only be written sequentially.
    pub(crate) fn is_zoned(&self) -> bool {
        // SAFETY: By the type invariants the device is open.
        unsafe { helpers::bdev_is_zoned(self.as_ptr()) }
    }

    /// Bytes of its smallest unit of I/O.
    pub(crate) fn logical_block_size(&self) -> u32 {
        // SAFETY: By the type invariants the device is open.
        unsafe { helpers::bdev_logical_block_size(self.as_ptr()) }
    }

    /// Bytes of what it writes at once: to write a part, it has to read the rest.
    pub(crate) fn physical_block_size(&self) -> u32 {
        // SAFETY: By the type invariants the device is open.
        unsafe { helpers::bdev_physical_block_size(self.as_ptr()) }
    }

    /// Whether its first byte lies within a physical block.
    pub(crate) fn is_misaligned(&self) -> bool {
        // SAFETY: By the type invariants the device is open.
        unsafe { helpers::bdev_is_misaligned(self.as_ptr()) }
    }

    /// Whether it ends I/O at once, in the context that submits it.
    pub(crate) fn is_synchronous(&self) -> bool {
        // SAFETY: By the type invariants the device is open.
        unsafe { helpers::bdev_is_synchronous(self.as_ptr()) }
    }

    /// Whether I/O on whole pages, `sectors` sectors from `sector` on, may be submitted so that it
    /// ends with `EAGAIN` rather than wait: not every device can, and none where it would have to
    /// be split.
    pub(crate) fn takes_nowait(&self, sector: u64, sectors: u32) -> bool {
        // SAFETY: By the type invariants the device is open.
        unsafe { helpers::bdev_takes_nowait(self.as_ptr(), sector, sectors) }
    }

    /// Its number.
    pub(crate) fn number(&self) -> DeviceNumber {
        self.number
    }

    /// Whether it has been taken away: it may only be closed.
    pub(crate) fn is_gone(&self) -> bool {
        self.claim.is_gone()
    }

    /// The device, for kernel functions.
    pub(in crate::linux) fn as_ptr(&self) -> *mut bindings::block_device {
        self.claim.device()
    }

    /// Its size now.
    pub(crate) fn size_bytes(&self) -> u64 {
        // SAFETY: By the type invariants the device is open.
        unsafe { helpers::bdev_nr_bytes(self.as_ptr()) }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is initialised. It is not used after this.
        let claim = unsafe { ManuallyDrop::take(&mut self.claim) };
        let waits = self.closes_later.load(Relaxed) == 0;
        self.closer.close(claim, self.number, waits, &self.queue);
    }
}
