// SPDX-License-Identifier: GPL-2.0

//! A work queue of one's own: `kernel::workqueue` has only the system's.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::{
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*,
    workqueue::Queue, //
};

/// A work queue that is not frozen on suspend. Dropping it waits for all work.
///
/// # Invariants
///
/// The pointer is to a live work queue that is ours.
pub(crate) struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A work queue may be destroyed by any thread.
unsafe impl Send for OwnedQueue {}
// SAFETY: Work queues synchronise all access.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// A queue whose work runs on any CPU, at most `max_active` items at once (0: the default), and
    /// makes progress when memory is short: it has a thread of its own for that.
    pub(crate) fn new(name: &CStr, max_active: u16) -> Result<Self> {
        Self::with_flags(name, max_active, bindings::wq_flags_WQ_MEM_RECLAIM)
    }

    /// As [`Self::new`], for work that no memory depends on; it may itself wait for such work.
    pub(crate) fn without_reserve(name: &CStr) -> Result<Self> {
        Self::with_flags(name, 0, 0)
    }

    fn with_flags(name: &CStr, max_active: u16, flags: c_uint) -> Result<Self> {
        let flags = flags | bindings::wq_flags_WQ_UNBOUND;
        // SAFETY: The format takes one string, which the kernel copies.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                flags,
                c_int::from(max_active),
                name.as_char_ptr(),
            )
        };
        // INVARIANT: Made here.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }
}

impl OwnedQueue {
    /// Waits for all work, also such as work itself queues. Sleeps.
    pub(crate) fn drain(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::drain_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for OwnedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant it is live as long as `self`.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; it is not used after this.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
