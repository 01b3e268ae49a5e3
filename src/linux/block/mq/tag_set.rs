// SPDX-License-Identifier: GPL-2.0

//! The requests of a disk, allocated at once.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::{
    operations::{
        Operations,
        OperationsVTable, //
    },
    request::RequestDataWrapper,
};

kernel::impl_flags!(
    /// Flags of a [`TagSet`].
    #[derive(Clone, Copy)]
    pub(crate) struct TagSetFlags(u32);

    /// A flag of a [`TagSet`]: `BLK_MQ_F_*`.
    #[derive(Clone, Copy)]
    pub(crate) enum TagSetFlag {
        /// No I/O scheduler unless the user asks for one.
        NoSchedByDefault = bindings::BLK_MQ_F_NO_SCHED_BY_DEFAULT,

        /// When the last CPU of a hardware queue goes offline, its requests are not waited for: for a
        /// device that has no interrupts which would go with the CPU.
        Stacking = bindings::BLK_MQ_F_STACKING,
    }
);

/// A wrapper for `struct blk_mq_tag_set`. It is made and dropped in process context, and both sleep.
///
/// Could be removed in a release after 7.3, once that of the kernel crate takes flags, and [`Operations`]
/// is its trait.
///
/// # Invariants
///
/// `inner` is an initialised tag set whose requests each have room for a [`RequestDataWrapper`].
///
/// # Examples
///
/// See the [module](super).
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
    /// Data of a request is aligned as the request itself. blk-mq can allocate both: it has at most 64 KiB at
    /// a time for them, and does not check that one request fits.
    const DATA_FITS: () = assert!(
        align_of::<RequestDataWrapper<T>>() <= align_of::<bindings::request>()
            && size_of::<bindings::request>() % align_of::<RequestDataWrapper<T>>() == 0
            && size_of::<RequestDataWrapper<T>>() <= (1 << 15) - size_of::<bindings::request>()
    );

    /// Allocates `num_tags` requests for each of `nr_hw_queues` hardware queues. `num_maps` must be 1:
    /// more need a callback that is not wrapped.
    pub(crate) fn new(
        nr_hw_queues: u32,
        num_tags: u32,
        num_maps: u32,
        flags: TagSetFlags,
    ) -> impl PinInit<Self, Error> {
        let () = Self::DATA_FITS;
        let set = bindings::blk_mq_tag_set {
            ops: OperationsVTable::<T>::TABLE,
            nr_hw_queues,
            nr_maps: num_maps,
            queue_depth: num_tags,
            // CAST: Less than 2^15, by `DATA_FITS`.
            cmd_size: size_of::<RequestDataWrapper<T>>() as u32,
            numa_node: bindings::NUMA_NO_NODE,
            flags: flags.0,
            ..pin_init::zeroed()
        };
        // INVARIANT: `blk_mq_alloc_tag_set` initialises it, and `cmd_size` is the room.
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(move |slot: *mut bindings::blk_mq_tag_set| {
                if num_maps != 1 {
                    // Without `map_queues` the C function stops at a BUG.
                    return Err(EINVAL);
                }
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
    pub(super) fn raw_tag_set(&self) -> *mut bindings::blk_mq_tag_set {
        self.inner.get()
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for TagSet<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is initialised. A disk that used it held a reference to this, and
        // has left the set in `del_gendisk`. What remains of the disk does not use the set.
        unsafe { bindings::blk_mq_free_tag_set(self.inner.get()) };
    }
}
