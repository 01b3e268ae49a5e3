// SPDX-License-Identifier: GPL-2.0

//! Work queues of one's own.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*,
    workqueue::{
        Queue,
        RawWorkItem, //
    },
};

/// A work queue that is not frozen when the machine suspends.
///
/// Dropping it waits for all work, and sleeps, so it must not be dropped by its own work. Work that refers to
/// it, directly or not, must end before the last other reference is dropped.
///
/// It is not a [`Queue`], because a delayed work item whose time has not come is not cancelled when the
/// queue is destroyed, and `Queue::enqueue_delayed` takes any queue.
///
/// Could be removed in a release after 7.3, once `kernel::workqueue` makes queues; it has only the
/// system's.
///
/// # Invariants
///
/// The pointer refers to a live work queue, which belongs to this value.
///
/// # Examples
///
/// ```ignore
/// #[pin_data]
/// struct Flush {
///     #[pin]
///     work: Work<Flush>,
/// }
///
/// impl_has_work! {
///     impl HasWork<Self> for Flush { self.work }
/// }
///
/// impl WorkItem for Flush {
///     type Pointer = Arc<Flush>;
///
///     fn run(_this: Arc<Flush>) {}
/// }
///
/// let flush = Arc::pin_init(pin_init!(Flush { work <- new_work!("flush") }), GFP_KERNEL)?;
/// // Swapping depends on this work.
/// let queue = OwnedQueue::new_unbound().mem_reclaim().max_active(1).build(c"flush")?;
/// let _ = queue.enqueue(flush);
/// ```
pub(crate) struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A work queue may be destroyed by any thread.
unsafe impl Send for OwnedQueue {}
// SAFETY: The functions of work queues synchronise all accesses.
unsafe impl Sync for OwnedQueue {}

/// The options of a new work queue.
///
/// Could be removed with [`OwnedQueue`].
///
/// # Examples
///
/// ```ignore
/// let queue = OwnedQueue::new_unbound().max_active(4).build(c"four")?;
/// ```
pub(crate) struct Builder {
    flags: c_uint,
    max_active: u16,
}

impl Builder {
    /// Lets the work make progress while memory is short: the queue gets a thread of its own for that.
    pub(crate) fn mem_reclaim(mut self) -> Self {
        self.flags |= bindings::wq_flags_WQ_MEM_RECLAIM;
        self
    }

    /// Runs at most so many work items at a time; 0 is the kernel's default.
    pub(crate) fn max_active(mut self, max_active: u16) -> Self {
        self.max_active = max_active;
        self
    }

    /// Makes the queue. Sleeps.
    pub(crate) fn build(self, name: &CStr) -> Result<OwnedQueue> {
        // SAFETY: The format takes one string. `name` is one, and the kernel copies it.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                self.flags,
                c_int::from(self.max_active),
                name.as_char_ptr(),
            )
        };
        // INVARIANT: The queue is new, and no other value refers to it.
        NonNull::new(queue).map(OwnedQueue).ok_or(ENOMEM)
    }
}

impl OwnedQueue {
    /// Begins a queue whose work runs on any CPU.
    pub(crate) fn new_unbound() -> Builder {
        Builder {
            flags: bindings::wq_flags_WQ_UNBOUND,
            max_active: 0,
        }
    }

    /// Enqueues a work item, as [`Queue::enqueue`] does.
    pub(crate) fn enqueue<W, const ID: u64>(&self, w: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        // SAFETY: By the type invariant the queue is live while `self` is borrowed.
        unsafe { Queue::from_raw(self.0.as_ptr()) }.enqueue(w)
    }

    /// Waits until all work is done, work that is enqueued by work included. Sleeps. Only work may enqueue
    /// work meanwhile: other work is refused with a warning, and never done or dropped.
    pub(crate) fn drain(&self) {
        // SAFETY: By the type invariant the queue is live.
        unsafe { bindings::drain_workqueue(self.0.as_ptr()) };
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the queue is live and belongs to this value. No delayed work
        // is pending, for `enqueue` takes none.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
