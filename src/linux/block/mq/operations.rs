// SPDX-License-Identifier: GPL-2.0

//! What a blk-mq driver implements, and the table of C callbacks made from it.
//!
//! What is here could be removed with [`Operations`], which says when.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    sync::atomic::Atomic,
    types::ForeignOwnable, //
};

use super::request::{
    wrapper_of,
    BlkStatus,
    Request,
    RequestDataWrapper, //
};

/// A borrow of a [`ForeignOwnable`].
pub(super) type ForeignBorrowed<'a, T> = <T as ForeignOwnable>::Borrowed<'a>;

/// A request that a driver does not accept, and why.
///
/// The [module](super) has an example.
pub(crate) type Refused<T> = (Request<T>, BlkStatus);

/// A block device driver: `struct blk_mq_ops`.
///
/// There is no callback for blk-mq's own request timeout, so that blk-mq waits on: the driver
/// bounds its waits itself, and ends each request.
///
/// Could be removed in a release after 7.3, once the kernel crate's trait of this name has data of hardware
/// queues and of requests, and hands out requests that can end late, and with an error.
///
/// # Examples
///
/// See the [module](super).
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// Data of the request queue, that is, of the disk.
    type QueueData: ForeignOwnable + Send + Sync;

    /// Data of one hardware queue.
    type HwData: ForeignOwnable + Send + Sync;

    /// Data of one request, beside it in memory. It is made and dropped with the request: with the
    /// tag set, an I/O scheduler or a hardware queue. It is not touched between two uses.
    type RequestData: Send + Sync;

    /// Makes the data of one request. May sleep.
    fn new_request_data() -> impl Init<Self::RequestData>;

    /// Makes the data of hardware queue `hctx_idx`. May sleep.
    fn init_hctx(
        queue_data: ForeignBorrowed<'_, Self::QueueData>,
        hctx_idx: u32,
    ) -> Result<Self::HwData>;

    /// Accepts a request, which has been started. Must not sleep.
    ///
    /// If `is_last` is false, another call or [`Operations::commit_rqs`] follows at once.
    ///
    /// A request that is returned with an error ends with it. blk-mq queues it again if the error is
    /// `BLK_STS_RESOURCE` or `BLK_STS_DEV_RESOURCE`.
    fn queue_rq(
        hw_data: ForeignBorrowed<'_, Self::HwData>,
        queue_data: ForeignBorrowed<'_, Self::QueueData>,
        rq: Request<Self>,
        is_last: bool,
    ) -> Result<(), Refused<Self>>;

    /// The last request queued with `is_last` false was the last after all. Must not sleep.
    fn commit_rqs(
        hw_data: ForeignBorrowed<'_, Self::HwData>,
        queue_data: ForeignBorrowed<'_, Self::QueueData>,
    );

    /// Ends a request that was divided into blocks ([`Request::into_blocks`]), all of which have been
    /// dropped. Called in the context that drops the last one. Must not sleep.
    fn end_rq(rq: Request<Self>);
}

/// The C callbacks of `T`.
pub(super) struct OperationsVTable<T: Operations>(PhantomData<T>);

impl<T: Operations> OperationsVTable<T> {
    /// Returns the queue data of `hctx`.
    ///
    /// # Safety
    ///
    /// - `hctx` must belong to a queue made by `GenDiskBuilder::build`, and stay live for `'a`.
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
    /// - `init_hctx_callback` must have succeeded for `hctx`, and `exit_hctx_callback` must not be
    ///   called during `'a`.
    #[inline]
    unsafe fn hw_data<'a>(hctx: *mut bindings::blk_mq_hw_ctx) -> ForeignBorrowed<'a, T::HwData> {
        // SAFETY: `driver_data` was made by `into_foreign` in `init_hctx_callback`.
        unsafe { T::HwData::borrow((*hctx).driver_data) }
    }

    /// # Safety
    ///
    /// - Only blk-mq may call this, for a live `hctx` and with a request that the driver owns from
    ///   now on.
    unsafe extern "C" fn queue_rq_callback(
        hctx: *mut bindings::blk_mq_hw_ctx,
        bd: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: blk-mq passes a valid `bd`.
        let (rq, is_last) = unsafe { ((*bd).rq, (*bd).last) };
        // SAFETY: blk-mq has given us the request, and it has not been started.
        unsafe { bindings::blk_mq_start_request(rq) };
        // SAFETY: A live request's address is not null. It is ours until it is ended or given back,
        // and its data was initialised by `init_request_callback`.
        let request = unsafe { Request::from_raw(NonNull::new_unchecked(rq)) };
        // SAFETY: blk-mq keeps `hctx` live for the duration of this callback.
        let (hw_data, queue_data) = unsafe { (Self::hw_data(hctx), Self::queue_data(hctx)) };
        let status = match T::queue_rq(hw_data, queue_data, request, is_last) {
            Ok(()) => BlkStatus::OK,
            Err((request, status)) if request.as_ptr() == rq && status != BlkStatus::OK => {
                // blk-mq owns it again, and ends it or queues it again.
                let _ = request.into_raw();
                status
            }
            // This request with the status OK, which blk-mq would take for one that the driver keeps; or
            // another one that the driver owns, and it keeps this one.
            Err((request, status)) => {
                request.end(status);
                BlkStatus::OK
            }
        };
        status.to_raw()
    }

    /// # Safety
    ///
    /// - Only blk-mq may call this, for a live `hctx`.
    unsafe extern "C" fn commit_rqs_callback(hctx: *mut bindings::blk_mq_hw_ctx) {
        // SAFETY: blk-mq keeps `hctx` live for the duration of this callback.
        unsafe { T::commit_rqs(Self::hw_data(hctx), Self::queue_data(hctx)) }
    }

    /// # Safety
    ///
    /// - Only blk-mq may call this, once before `exit_hctx_callback` for the same `hctx`.
    unsafe extern "C" fn init_hctx_callback(
        hctx: *mut bindings::blk_mq_hw_ctx,
        _tagset_data: *mut c_void,
        hctx_idx: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `hctx` is live, and blk-mq sets its queue and that queue's data first.
            let queue_data = unsafe { Self::queue_data(hctx) };
            let data = T::init_hctx(queue_data, hctx_idx)?;
            // SAFETY: `hctx` is live, and nothing else uses it yet.
            unsafe { (*hctx).driver_data = data.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// - Only blk-mq may call this, once after each success of `init_hctx_callback`.
    unsafe extern "C" fn exit_hctx_callback(hctx: *mut bindings::blk_mq_hw_ctx, _hctx_idx: c_uint) {
        // SAFETY: `driver_data` was made by `into_foreign` in `init_hctx_callback`, and blk-mq
        // makes no other call for this `hctx` any more.
        drop(unsafe { T::HwData::from_foreign((*hctx).driver_data) });
    }

    /// # Safety
    ///
    /// - Only blk-mq may call this, for a request with the extra room that `TagSet` asks for.
    unsafe extern "C" fn init_request_callback(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx_idx: c_uint,
        _numa_node: c_int,
    ) -> c_int {
        let wrapper = init!(RequestDataWrapper::<T> {
            refs: Atomic::new(0),
            data <- T::new_request_data(),
        });
        // SAFETY: The room behind `rq` is ours, large enough and aligned, by `TagSet`.
        let result = unsafe { wrapper.__init(wrapper_of::<T>(rq)) };
        match result {
            Ok(()) => 0,
        }
    }

    /// # Safety
    ///
    /// - Only blk-mq may call this, once for each success of `init_request_callback`.
    unsafe extern "C" fn exit_request_callback(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx_idx: c_uint,
    ) {
        // SAFETY: The data was initialised by `init_request_callback` and is used no more.
        unsafe { core::ptr::drop_in_place(wrapper_of::<T>(rq)) };
    }

    /// For the tag set.
    pub(super) const TABLE: &'static bindings::blk_mq_ops = &bindings::blk_mq_ops {
        queue_rq: Some(Self::queue_rq_callback),
        commit_rqs: Some(Self::commit_rqs_callback),
        init_hctx: Some(Self::init_hctx_callback),
        exit_hctx: Some(Self::exit_hctx_callback),
        init_request: Some(Self::init_request_callback),
        exit_request: Some(Self::exit_request_callback),
        ..pin_init::zeroed()
    };
}
