// SPDX-License-Identifier: GPL-2.0

//! The requests of a disk, allocated at once.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::operations::{
    Operations,
    OperationsVTable, //
};

/// Returns where the driver's data of a request lies: right behind it (`blk_mq_rq_to_pdu`).
///
/// The result may be used if `rq` is a request of a [`TagSet`] of `T`.
#[inline]
pub(super) fn data_of<T: Operations>(rq: *mut bindings::request) -> *mut T::RequestData {
    rq.wrapping_add(1).cast()
}

/// A wrapper for `struct blk_mq_tag_set`.
///
/// # Invariants
///
/// `inner` is an initialised tag set whose requests each have room for a `T::RequestData`.
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub(crate) struct TagSet<T: Operations> {
    #[pin]
    inner: Opaque<bindings::blk_mq_tag_set>,
    _p: PhantomData<T>,
}

// SAFETY: A tag set may be freed by any thread.
unsafe impl<T: Operations> Send for TagSet<T> {}
// SAFETY: blk-mq synchronises all access to a tag set.
unsafe impl<T: Operations> Sync for TagSet<T> {}

impl<T: Operations> TagSet<T> {
    /// Data of a request is aligned as the request itself.
    const DATA_IS_ALIGNED: () = assert!(
        align_of::<T::RequestData>() <= align_of::<bindings::request>()
            && size_of::<bindings::request>() % align_of::<T::RequestData>() == 0
    );

    /// Allocates `queue_depth` requests for each of `hw_queues` hardware queues.
    pub(crate) fn new(hw_queues: u32, queue_depth: u32) -> impl PinInit<Self, Error> {
        let () = Self::DATA_IS_ALIGNED;
        let set = bindings::blk_mq_tag_set {
            ops: OperationsVTable::<T>::mq_ops(),
            nr_hw_queues: hw_queues,
            nr_maps: 1,
            queue_depth,
            // CAST: Small and known at compile time.
            cmd_size: size_of::<T::RequestData>() as u32,
            numa_node: bindings::NUMA_NO_NODE,
            // No scheduler by default: there is no seek to save. And no waiting for a hardware
            // queue's requests when the last of its CPUs goes offline, which is all that STACKING
            // means to blk-mq: that wait is for devices whose interrupts go with the CPU. Ours
            // has none: requests are ended by softirqs and work that any CPU may run.
            flags: bindings::BLK_MQ_F_NO_SCHED_BY_DEFAULT | bindings::BLK_MQ_F_STACKING,
            ..pin_init::zeroed()
        };
        // INVARIANT: `blk_mq_alloc_tag_set` initialises it, and `cmd_size` is the room.
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(move |slot: *mut bindings::blk_mq_tag_set| {
                // SAFETY: `slot` is where the tag set stays, and it is filled in before use.
                to_result(unsafe {
                    slot.write(set);
                    bindings::blk_mq_alloc_tag_set(slot)
                })
            }),
            _p: PhantomData,
        })
    }

    /// The wrapped tag set.
    pub(super) fn raw(&self) -> *mut bindings::blk_mq_tag_set {
        self.inner.get()
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for TagSet<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is initialised; the disks that used it hold a
        // reference to it and so are gone.
        unsafe { bindings::blk_mq_free_tag_set(self.inner.get()) };
    }
}
