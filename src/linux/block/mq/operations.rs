// SPDX-License-Identifier: GPL-2.0

//! What a blk-mq driver implements, and the table of C callbacks made from it.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    types::ForeignOwnable, //
};

use super::{
    request::{
        BlkStatus,
        Request, //
    },
    tag_set, //
};

type ForeignBorrowed<'a, T> = <T as ForeignOwnable>::Borrowed<'a>;

/// A block device driver.
///
/// There is no callback for blk-mq's own request timeout, so that blk-mq waits on: the driver
/// bounds its waits itself, and ends each request.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// Data of the request queue, that is, of the disk.
    type QueueData: ForeignOwnable + Send + Sync;

    /// Data of one hardware queue.
    type HwData: ForeignOwnable + Send + Sync;

    /// Data of one request, beside it in memory. It lives as long as the tag set and is not
    /// touched between two uses of the request.
    type RequestData: Send + Sync;

    /// Makes the data of one request. May sleep.
    fn new_request_data() -> impl Init<Self::RequestData>;

    /// Makes the data of hardware queue `hw_queue`. May sleep.
    fn init_hctx(
        queue_data: ForeignBorrowed<'_, Self::QueueData>,
        hw_queue: u32,
    ) -> Result<Self::HwData>;

    /// Takes a request, which has been started. Must not sleep.
    ///
    /// If `is_last` is false, another call or [`Operations::commit_rqs`] follows at once.
    fn queue_rq(
        hw_data: ForeignBorrowed<'_, Self::HwData>,
        queue_data: ForeignBorrowed<'_, Self::QueueData>,
        request: Request<Self>,
        is_last: bool,
    );

    /// The last request queued with `is_last` false was the last after all.
    fn commit_rqs(
        hw_data: ForeignBorrowed<'_, Self::HwData>,
        queue_data: ForeignBorrowed<'_, Self::QueueData>,
    );

    /// The disk is about to be opened, for writing or not. An error refuses that. May sleep.
    fn open(queue_data: ForeignBorrowed<'_, Self::QueueData>, for_writing: bool) -> Result {
        let _ = (queue_data, for_writing);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Page `slot` of the device, used as swap space, is needed no longer. Called under a
    /// spinlock: only note it.
    fn swap_slot_free_notify(queue_data: ForeignBorrowed<'_, Self::QueueData>, slot: u64) {
        let _ = (queue_data, slot);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// `BLK_OPEN_WRITE`
const BLK_OPEN_WRITE: bindings::blk_mode_t = 1 << 1;

/// The C callbacks of `T`.
pub(super) struct OperationsVTable<T: Operations>(PhantomData<T>);

impl<T: Operations> OperationsVTable<T> {
    /// Returns the queue data of `hctx`.
    ///
    /// # Safety
    ///
    /// `hctx` must belong to a queue made by `GenDiskBuilder::build`, and stay live for `'a`.
    #[inline]
    unsafe fn queue_data<'a>(
        hctx: *mut bindings::blk_mq_hw_ctx,
    ) -> ForeignBorrowed<'a, T::QueueData> {
        // SAFETY: `hctx` and its queue are live by the requirements of this function.
        // `queuedata` was made by `into_foreign` in `GenDiskBuilder::build`, which is undone only
        // when the disk is gone and no callback runs any more.
        unsafe { T::QueueData::borrow((*(*hctx).queue).queuedata) }
    }

    /// Returns the data of `hctx` itself.
    ///
    /// # Safety
    ///
    /// `init_hctx_callback` must have succeeded for `hctx`, and `exit_hctx_callback` must not be
    /// called during `'a`.
    #[inline]
    unsafe fn hw_data<'a>(hctx: *mut bindings::blk_mq_hw_ctx) -> ForeignBorrowed<'a, T::HwData> {
        // SAFETY: `driver_data` was made by `into_foreign` in `init_hctx_callback`.
        unsafe { T::HwData::borrow((*hctx).driver_data) }
    }

    /// # Safety
    ///
    /// Only blk-mq may call this, for a live `hctx` and with a request that the driver owns from
    /// now on.
    unsafe extern "C" fn queue_rq_callback(
        hctx: *mut bindings::blk_mq_hw_ctx,
        bd: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: blk-mq passes a valid `bd`.
        let (rq, is_last) = unsafe { ((*bd).rq, (*bd).last) };
        // SAFETY: blk-mq has given us the request, and it has not been started.
        unsafe { bindings::blk_mq_start_request(rq) };
        // SAFETY: The request is ours until it is ended or given back, and its data was
        // initialised by `init_request_callback`.
        let request = unsafe { Request::from_raw(rq) };
        // SAFETY: blk-mq keeps `hctx` live for the duration of this callback.
        let (hw_data, queue_data) = unsafe { (Self::hw_data(hctx), Self::queue_data(hctx)) };
        T::queue_rq(hw_data, queue_data, request, is_last);
        BlkStatus::Ok as u8
    }

    /// # Safety
    ///
    /// Only blk-mq may call this, for a live `hctx`.
    unsafe extern "C" fn commit_rqs_callback(hctx: *mut bindings::blk_mq_hw_ctx) {
        // SAFETY: blk-mq keeps `hctx` live for the duration of this callback.
        unsafe { T::commit_rqs(Self::hw_data(hctx), Self::queue_data(hctx)) }
    }

    /// # Safety
    ///
    /// Only blk-mq may call this, once before `exit_hctx_callback` for the same `hctx`.
    unsafe extern "C" fn init_hctx_callback(
        hctx: *mut bindings::blk_mq_hw_ctx,
        _tagset_data: *mut c_void,
        hctx_idx: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `hctx` is live, and blk-mq sets its queue and that queue's data first.
            let queue_data = unsafe { Self::queue_data(hctx) };
            let data = T::init_hctx(queue_data, hctx_idx)?;
            // SAFETY: `hctx` is live, and nobody else uses it yet.
            unsafe { (*hctx).driver_data = data.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only blk-mq may call this, once after each success of `init_hctx_callback`.
    unsafe extern "C" fn exit_hctx_callback(hctx: *mut bindings::blk_mq_hw_ctx, _hctx_idx: c_uint) {
        // SAFETY: `driver_data` was made by `into_foreign` in `init_hctx_callback`, and blk-mq
        // makes no other call for this `hctx` any more.
        drop(unsafe { T::HwData::from_foreign((*hctx).driver_data) });
    }

    /// # Safety
    ///
    /// Only blk-mq may call this, for a request with the extra room that `TagSet` asks for.
    unsafe extern "C" fn init_request_callback(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx_idx: c_uint,
        _numa_node: c_int,
    ) -> c_int {
        // SAFETY: The room behind `rq` is ours, large enough and aligned, by `TagSet`.
        let result = unsafe { T::new_request_data().__init(tag_set::data_of::<T>(rq)) };
        match result {
            Ok(()) => 0,
        }
    }

    /// # Safety
    ///
    /// Only blk-mq may call this, once for each success of `init_request_callback`.
    unsafe extern "C" fn exit_request_callback(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx_idx: c_uint,
    ) {
        // SAFETY: The data was initialised by `init_request_callback` and is used no more.
        unsafe { core::ptr::drop_in_place(tag_set::data_of::<T>(rq)) };
    }

    /// # Safety
    ///
    /// Only the swap code may call this, with a disk made by `GenDiskBuilder::build`.
    unsafe extern "C" fn swap_slot_free_notify_callback(
        bdev: *mut bindings::block_device,
        slot: c_ulong,
    ) {
        // SAFETY: The swap code holds the device open, so it, its queue and the queue's data
        // (made by `into_foreign`) are live.
        let queue_data = unsafe { T::QueueData::borrow((*(*bdev).bd_queue).queuedata) };
        T::swap_slot_free_notify(queue_data, slot as u64)
    }

    /// # Safety
    ///
    /// Only the block layer may call this, with a disk made by `GenDiskBuilder::build`.
    unsafe extern "C" fn open_callback(
        disk: *mut bindings::gendisk,
        mode: bindings::blk_mode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The block layer has a reference to the disk, so it, its queue and the queue's
            // data (made by `into_foreign`) are live: a disk is opened under a lock, which `del_gendisk`
            // takes before it is gone.
            let queue_data = unsafe { T::QueueData::borrow((*(*disk).queue).queuedata) };
            T::open(queue_data, mode & BLK_OPEN_WRITE != 0)?;
            Ok(0)
        })
    }

    const MQ_OPS: bindings::blk_mq_ops = bindings::blk_mq_ops {
        queue_rq: Some(Self::queue_rq_callback),
        commit_rqs: Some(Self::commit_rqs_callback),
        init_hctx: Some(Self::init_hctx_callback),
        exit_hctx: Some(Self::exit_hctx_callback),
        init_request: Some(Self::init_request_callback),
        exit_request: Some(Self::exit_request_callback),
        ..pin_init::zeroed()
    };

    /// For the tag set.
    pub(super) const fn mq_ops() -> &'static bindings::blk_mq_ops {
        &Self::MQ_OPS
    }

    const BLOCK_DEVICE_OPS: bindings::block_device_operations = bindings::block_device_operations {
        open: if T::HAS_OPEN {
            Some(Self::open_callback)
        } else {
            None
        },
        swap_slot_free_notify: if T::HAS_SWAP_SLOT_FREE_NOTIFY {
            Some(Self::swap_slot_free_notify_callback)
        } else {
            None
        },
        owner: (&raw const bindings::__this_module).cast_mut(),
        ..pin_init::zeroed()
    };

    /// For the disk. Its owner is this module, which therefore stays while the disk is open.
    pub(super) const fn block_device_ops() -> &'static bindings::block_device_operations {
        &Self::BLOCK_DEVICE_OPS
    }
}
