// SPDX-License-Identifier: GPL-2.0

//! One request of the block layer.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::bindings;

use super::{
    block::{
        Blocks,
        BLOCK_SIZE, //
    },
    operations::Operations, //
};

/// What a request asks for.
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

/// How a request ended: `blk_status_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlkStatus {
    /// Done.
    Ok = 0,
    /// `EOPNOTSUPP`
    NotSupp = 1,
    /// `EIO`
    IoErr = 10,
    /// `EINVAL`
    Inval = 19,
}

/// A request that the driver owns: it ends it once, whenever and wherever it likes.
///
/// Dropping it ends it with an I/O error.
///
/// # Invariants
///
/// The pointer is to a live, started `struct request` of a [`super::TagSet`] of `T`, with
/// initialised data, which the driver owns and which no other `Request` points to.
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
    /// What the invariants of the type say must hold for `rq`.
    #[inline]
    pub(crate) unsafe fn from_raw(rq: *mut bindings::request) -> Self {
        // INVARIANT: By the requirements of this function.
        // SAFETY: A live request's address is not null.
        Self(unsafe { NonNull::new_unchecked(rq) }, PhantomData)
    }

    /// Gives up ownership; [`Request::from_raw`] takes it back.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut bindings::request {
        ManuallyDrop::new(self).0.as_ptr()
    }

    #[inline]
    fn raw(&self) -> &bindings::request {
        // SAFETY: By the type invariant the request is live. The fields read through this
        // reference are not written while the driver owns the request.
        unsafe { self.0.as_ref() }
    }

    /// What it asks for.
    #[inline]
    pub(crate) fn op(&self) -> Op {
        // CAST: The low `REQ_OP_BITS` (8) bits are the operation.
        let op = self.raw().cmd_flags as u8;
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
        self.raw().__sector
    }

    /// How many bytes it is about.
    #[inline]
    pub(crate) fn bytes(&self) -> u32 {
        self.raw().__data_len
    }

    /// Its number among the requests of its hardware queue, below the tag set's queue depth.
    #[inline]
    pub(crate) fn tag(&self) -> u32 {
        // CAST: A started request's tag is not negative.
        self.raw().tag as u32
    }

    /// The request's data, block by block; nothing for an operation without data.
    ///
    /// See [`super::Block`] for how long a block may be used.
    #[inline]
    pub(crate) fn blocks(&self) -> Blocks {
        match self.op() {
            // SAFETY: A read or write has bios with `bytes()` bytes of data.
            Op::Read | Op::Write => unsafe {
                Blocks::new(self.raw().bio, self.bytes() / BLOCK_SIZE as u32)
            },
            _ => Blocks::empty(),
        }
    }

    /// Ends it. May be called in any context, also with interrupts disabled.
    #[inline]
    pub(crate) fn end(self, status: BlkStatus) {
        // SAFETY: By the type invariant the request is started and ours; ownership returns to
        // blk-mq here, and `self` is gone.
        unsafe { bindings::blk_mq_end_request(self.into_raw(), status as u8) };
    }
}

impl<T: Operations> Drop for Request<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the request is started and ours, and it is not used
        // after this.
        unsafe { bindings::blk_mq_end_request(self.0.as_ptr(), BlkStatus::IoErr as u8) };
    }
}
