// SPDX-License-Identifier: GPL-2.0

//! The file by which a block device is open.

use core::{
    mem,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use super::DeviceNumber;
use crate::linux::helpers;

/// A file of a block device. Dropping it closes it, which may wait without a bound: for another opener of the
/// device, and until what others have written to its cache is on the disk.
///
/// # Invariants
///
/// It is an open file of a block device, and the only reference to it belongs to this value.
struct OpenFile(NonNull<bindings::file>);

// SAFETY: A file may be closed by any thread.
unsafe impl Send for OpenFile {}
// SAFETY: `&OpenFile` allows only reading single words, and submitting bios, which may be done
// anywhere.
unsafe impl Sync for OpenFile {}

impl OpenFile {
    /// The device, which there is as long as this value.
    fn device(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariant it is an open file of a block device.
        unsafe { bindings::file_bdev(self.0.as_ptr()) }
    }

    /// Has another kernel thread close it, and waits for that for a bounded time. Returns whether it is
    /// closed. To be called by a kernel thread.
    ///
    /// The helper polls the count of the file's dentry. In the kernel it would be replaced by a wait for
    /// deferred `fput`s with a timeout; `flush_delayed_fput` has none.
    #[must_use]
    fn hand_over(self, wait_ms: u32) -> bool {
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: By the type invariant this is the last reference, and the file is not used after this.
        unsafe { helpers::fput_wait(this.0.as_ptr(), wait_ms) }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is the last reference, and the file is not used after this.
        // Unlike `fput` this closes it before it returns, also in a kernel thread.
        unsafe { bindings::__fput_sync(self.0.as_ptr()) };
    }
}

/// Set by our callback when a claim's device is taken away. Dropped when no call for the claim begins any
/// more, and each that has begun has set it.
struct Gone(Atomic<u32>);

impl Drop for Gone {
    /// A task that has set it may still have to return from our callback. It may have been preempted there,
    /// but does not sleep. This sleeps, as closing the device does.
    fn drop(&mut self) {
        if self.0.load(Relaxed) != 0 {
            // SAFETY: The function sleeps, as this one says.
            unsafe { helpers::synchronize_rcu_tasks() };
        }
    }
}

/// A file by which a device is claimed: others cannot open it exclusively. The claim ends when it is closed.
/// Dropping it closes it, and waits until no call for the claim is under way.
///
/// # Invariants
///
/// - `file` was opened by `bdev_claim` with the address of the flag in `gone`.
/// - `gone` is not freed before the claim is given up, or it is never freed.
pub(super) struct Claim {
    // Closed before the flag is dropped.
    file: OpenFile,
    gone: KBox<Gone>,
}

impl Claim {
    /// Opens and claims the device. Sleeps, maybe without a bound.
    pub(super) fn new(number: DeviceNumber) -> Result<Self> {
        let gone = KBox::new(Gone(Atomic::new(0)), GFP_KERNEL)?;
        // SAFETY: The flag is a `u32` that C may write to. By the type invariants, or because the claim is
        // not made, it is not freed before the claim is given up.
        let file = from_err_ptr(unsafe {
            helpers::bdev_claim(number.0, core::ptr::from_ref(&gone.0).cast_mut().cast())
        })?;
        // SAFETY: The function returns an error or a file, never null.
        let file = OpenFile(unsafe { NonNull::new_unchecked(file) });
        // INVARIANT: The file was opened above, with this flag. Its fields are dropped in their order.
        Ok(Self { file, gone })
    }

    /// The device, which there is as long as this value.
    pub(super) fn device(&self) -> *mut bindings::block_device {
        self.file.device()
    }

    /// Whether the device has been taken away.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.0.load(Relaxed) != 0
    }

    /// Has another kernel thread give it up, and waits for that for a bounded time. Returns whether it is
    /// given up. Either way no call for it is under way then, and none begins any more. To be called by a
    /// kernel thread.
    #[must_use]
    pub(super) fn hand_over(self, wait_ms: u32) -> bool {
        let Self { file, gone } = self;
        // SAFETY: By the type invariants it is an open file by which the device is claimed.
        unsafe { helpers::bdev_disown(file.0.as_ptr()) };
        let is_closed = file.hand_over(wait_ms);
        if !is_closed {
            // INVARIANT: Never freed: the claim is known by this address, which must not become that of
            // another.
            mem::forget(gone);
        }
        is_closed
    }
}
