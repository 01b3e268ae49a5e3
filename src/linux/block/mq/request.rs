// SPDX-License-Identifier: GPL-2.0

//! A wrapper for `struct request`.
//!
//! What is here could be removed with [`Request`], which says when.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    sync::atomic::Atomic, //
};

use super::{
    operations::Operations,
    request_block::{
        RequestBlock,
        RequestBlocks, //
    }, //
};
use crate::linux::block::{
    place::{
        Places,
        BLOCK_LEN, //
    },
    Block, //
};

/// What a request asks for: `enum req_op`.
///
/// [`Request`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Fill the request's blocks.
    Read,
    /// Keep the request's blocks.
    Write,
    /// The range is needed no longer.
    Discard,
    /// The range is to read as zeros.
    WriteZeroes,
    /// What has been written is to be durable.
    Flush,
    /// Anything else; the value is blk-mq's.
    Other(u8),
}

/// How a request, or a part of one, ended: `blk_status_t`.
///
/// [`Request`] has an example.
///
/// # Invariants
///
/// The number is one that the block layer has a meaning for; 18 is not ([`Self::from_raw`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct BlkStatus(bindings::blk_status_t);

impl BlkStatus {
    /// No error.
    pub(crate) const OK: Self = Self(0);
    /// `EOPNOTSUPP`
    pub(crate) const NOTSUPP: Self = Self(1);
    /// `ENOSPC`
    pub(crate) const NOSPC: Self = Self(3);
    /// `EIO`
    pub(crate) const IOERR: Self = Self(10);
    /// `EINVAL`
    pub(crate) const INVAL: Self = Self(19);

    /// Returns the status with this number; [`Self::IOERR`] for a number without a meaning. (The block
    /// layer takes 18, an error to it, for success when it makes an error number of it.)
    pub(crate) const fn from_raw(status: bindings::blk_status_t) -> Self {
        match status {
            0..=17 | 19 => Self(status),
            _ => Self::IOERR,
        }
    }

    /// Its number.
    #[inline]
    pub(crate) const fn to_raw(self) -> bindings::blk_status_t {
        self.0
    }
}

const _: () = assert!(BlkStatus::from_raw(18).0 == BlkStatus::IOERR.0);

/// What follows a `struct request` in memory: the driver's data, and the number of
/// [`RequestBlock`](super::RequestBlock)s that refer to the request.
///
/// # Invariants
///
/// - `refs` is the number of references to the request that [`RequestBlock`](super::RequestBlock)s and
///   [`RequestBlocks`] hold. The context that brings it to 0 owns the request. It cannot overflow: each
///   reference takes memory, and 2^64 do not fit into it.
/// - Once `init_request` has initialised the value, it stays until `exit_request`. Only `refs`, and what
///   `data` itself allows to share, changes.
pub(super) struct RequestDataWrapper<T: Operations> {
    pub(super) refs: Atomic<u64>,
    pub(super) data: T::RequestData,
}

/// Returns where that is (`blk_mq_rq_to_pdu`). It may be used if `rq` is a request of a
/// [`TagSet`](super::TagSet) of `T`.
#[inline]
pub(super) fn wrapper_of<T: Operations>(rq: *mut bindings::request) -> *mut RequestDataWrapper<T> {
    rq.wrapping_add(1).cast()
}

/// A request that the driver owns, and ends once, at any time and in any context. Dropping it ends it
/// with an I/O error.
///
/// Could be removed in a release after 7.3, once the kernel crate's `Request` has an operation, a sector,
/// data, and an end with an error at any later time (its `ARef<Request>` ends only with success).
///
/// # Invariants
///
/// The pointer is to a live, started `struct request` of a [`TagSet`](super::TagSet) of `T`, with
/// an initialised [`RequestDataWrapper`], which the driver owns and which nothing else refers to.
///
/// # Examples
///
/// ```ignore
/// fn serve<T: Operations>(request: Request<T>) {
///     let status = match request.op() {
///         Op::Flush => BlkStatus::OK,
///         _ => BlkStatus::NOTSUPP,
///     };
///     request.end(status);
/// }
/// ```
#[repr(transparent)]
pub(crate) struct Request<T: Operations>(NonNull<bindings::request>, PhantomData<T>);

// SAFETY: blk-mq lets a request be used and ended on any CPU; its data is `Send` and `Sync`.
unsafe impl<T: Operations> Send for Request<T> {}
// SAFETY: What `&Request` allows only reads fields that do not change while the driver owns it.
unsafe impl<T: Operations> Sync for Request<T> {}

impl<T: Operations> Request<T> {
    /// Takes ownership of a request.
    ///
    /// # Safety
    ///
    /// - `rq` must be a live, started request of a tag set of `T`, with initialised data.
    /// - The driver must own it, and nothing else may refer to it.
    #[inline]
    pub(super) unsafe fn from_raw(rq: NonNull<bindings::request>) -> Self {
        // INVARIANT: By the requirements of this function.
        Self(rq, PhantomData)
    }

    /// Returns the wrapped pointer.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::request {
        self.0.as_ptr()
    }

    /// Gives up ownership; [`Request::from_raw`] takes it back.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<bindings::request> {
        ManuallyDrop::new(self).0
    }

    /// What it asks for.
    #[inline]
    pub(crate) fn op(&self) -> Op {
        // SAFETY: By the type invariant the request is live.
        // CAST: The low `REQ_OP_BITS` (8) bits are the operation.
        let op = unsafe { (*self.0.as_ptr()).cmd_flags } as u8;
        match u32::from(op) {
            bindings::req_op_REQ_OP_READ => Op::Read,
            bindings::req_op_REQ_OP_WRITE => Op::Write,
            bindings::req_op_REQ_OP_DISCARD => Op::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Op::WriteZeroes,
            bindings::req_op_REQ_OP_FLUSH => Op::Flush,
            _ => Op::Other(op),
        }
    }

    /// Where it begins, in sectors of 512 bytes.
    #[inline]
    pub(crate) fn sector(&self) -> u64 {
        // SAFETY: By the type invariant the request is live.
        unsafe { (*self.0.as_ptr()).__sector }
    }

    /// Bytes that are left of it.
    #[inline]
    pub(crate) fn bytes(&self) -> u32 {
        // SAFETY: By the type invariant the request is live.
        unsafe { (*self.0.as_ptr()).__data_len }
    }

    /// Its number among the requests of its hardware queue, below the tag set's number of tags.
    #[inline]
    pub(crate) fn tag(&self) -> u32 {
        // SAFETY: By the type invariant the request is live.
        // CAST: A started request's tag is not negative.
        unsafe { (*self.0.as_ptr()).tag as u32 }
    }

    /// The driver's data, as the last use of the request has left it.
    #[inline]
    pub(crate) fn data(&self) -> &T::RequestData {
        // SAFETY: By the type invariant it is initialised.
        unsafe { &(*wrapper_of::<T>(self.0.as_ptr())).data }
    }

    /// Its blocks, in order, for reading; none unless it is a read or a write.
    #[inline]
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        // SAFETY: The result borrows the request, which is owned and does not end meanwhile. A place is that
        // of one of its blocks, which may be read.
        unsafe { self.places() }.map(|place| unsafe { Block::new(place) })
    }

    /// Where its blocks are.
    ///
    /// # Safety
    ///
    /// - The result may be iterated over only as long as the request has not ended. Once it has returned all
    ///   places, it does not access the request.
    #[inline]
    pub(super) unsafe fn places(&self) -> Places {
        let count = match self.op() {
            Op::Read | Op::Write => self.bytes() / BLOCK_LEN,
            _ => 0,
        };
        // SAFETY: By the type invariant the request is owned by us. Its first bio is null, or has with those
        // behind it `bytes()` bytes of data if it is a read or a write. The caller iterates over the result
        // only as long as the request has not ended.
        unsafe { Places::new((*self.0.as_ptr()).bio, count) }
    }

    /// Divides a read or a write into its blocks, in order. [`Operations::end_rq`] ends it when the last
    /// of them has been dropped; at once if it has none, as any other request.
    #[inline]
    pub(crate) fn into_blocks(self) -> impl ExactSizeIterator<Item = RequestBlock<T>> {
        RequestBlocks::new(self)
    }

    /// Ends the next `bytes` bytes of data. A bio ends with its last byte, and with an error if any of
    /// its bytes did. Returns whether bytes are left. May be called in any context.
    pub(crate) fn update(&mut self, status: BlkStatus, bytes: u32) -> bool {
        // SAFETY: By the type invariant the request is started and ours, and nothing refers to its
        // data.
        unsafe { bindings::blk_update_request(self.0.as_ptr(), status.0, bytes) }
    }

    /// Ends it, and what is left of its data. May be called in any context, also with interrupts
    /// disabled.
    #[inline]
    pub(crate) fn end(self, status: BlkStatus) {
        // SAFETY: By the type invariant the request is started and ours; ownership returns to
        // blk-mq here, and `self` is gone.
        unsafe { bindings::blk_mq_end_request(self.into_raw().as_ptr(), status.0) };
    }
}

impl<T: Operations> Drop for Request<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the request is started and ours, and it is not used
        // after this.
        unsafe { bindings::blk_mq_end_request(self.0.as_ptr(), BlkStatus::IOERR.0) };
    }
}
