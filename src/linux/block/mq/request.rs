// SPDX-License-Identifier: GPL-2.0

//! One request of the block layer.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};

use super::{
    block::{
        Blocks,
        BLOCK_SIZE, //
    },
    operations::Operations,
    tag_set, //
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
    /// `ENOSPC`
    NoSpc = 3,
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

/// The most parts that a request can be divided into: the statuses of that many fit a word.
pub(crate) const MAX_PARTS: u32 = size_of::<u64>() as u32;

/// How many parts of a request have not ended, and how the others did: the data of a request that is
/// ended in parts.
pub(crate) struct PartCount {
    left: Atomic<u32>,
    /// How each part ended, as a [`BlkStatus`]: the first part's is the lowest byte.
    statuses: Atomic<u64>,
}

impl PartCount {
    /// Of a request that has no parts.
    pub(crate) const fn new() -> Self {
        Self {
            left: Atomic::new(0),
            statuses: Atomic::new(0),
        }
    }
}

impl<T: Operations<RequestData = PartCount>> Request<T> {
    /// Divides it into `count` parts, each of a block, in order: it ends when the last of them does.
    /// Without any it ends now, and with more than [`MAX_PARTS`] with an error.
    #[inline]
    pub(crate) fn into_parts(self, count: u32) -> Parts<T> {
        if count.wrapping_sub(1) >= MAX_PARTS {
            self.end(if count == 0 {
                BlkStatus::Ok
            } else {
                BlkStatus::IoErr
            });
            return Parts {
                request: NonNull::dangling(),
                next: 0,
                count: 0,
                _p: PhantomData,
            };
        }
        let request = ManuallyDrop::new(self).0;
        // SAFETY: By the type invariant the request is ours, and its data is initialised.
        let data = unsafe { &*tag_set::data_of::<T>(request.as_ptr()) };
        // The parts are handed on by other means, which order this.
        data.left.store(count, Relaxed);
        data.statuses.store(0, Relaxed);
        // INVARIANT: None has ended.
        Parts {
            request,
            next: 0,
            count,
            _p: PhantomData,
        }
    }

    /// Ends it, each block as its byte of `statuses` says: a bio then fails only if one of its own
    /// blocks has.
    #[cold]
    fn end_by_parts(self, mut statuses: u64) {
        let mut blocks = self.bytes() / BLOCK_SIZE as u32;
        let request = self.into_raw();
        // That of the request as a whole, which a flush takes: how the first part that failed did.
        let [whole, ..] = (statuses >> (statuses.trailing_zeros() & !7)).to_le_bytes();
        loop {
            let [status, ..] = statuses.to_le_bytes();
            let mut bytes = 0_u32;
            // What ended alike together: there is one message for it in the kernel's log.
            loop {
                bytes = bytes.wrapping_add(BLOCK_SIZE as u32);
                blocks = blocks.saturating_sub(1);
                statuses >>= 8;
                let [next, ..] = statuses.to_le_bytes();
                if next != status || blocks == 0 {
                    break;
                }
            }
            // SAFETY: By the type invariant the request is started and ours. The call ends the bios
            // that all bytes have ended of.
            if !unsafe { bindings::blk_update_request(request, status, bytes) } {
                break;
            }
        }
        // SAFETY: As above, and no bio is left; ownership returns to blk-mq here.
        unsafe { bindings::__blk_mq_end_request(request, whole) };
    }
}

/// Parts of a request that have not been handed out. Dropping them ends them with an error.
///
/// # Invariants
///
/// Unless `next` is `count`, which is at most [`MAX_PARTS`], `request` is a request as [`Request`]
/// has it, whose parts from `next` on are only here.
pub(crate) struct Parts<T: Operations<RequestData = PartCount>> {
    request: NonNull<bindings::request>,
    next: u32,
    count: u32,
    _p: PhantomData<T>,
}

impl<T: Operations<RequestData = PartCount>> Iterator for Parts<T> {
    type Item = RequestPart<T>;

    #[inline]
    fn next(&mut self) -> Option<RequestPart<T>> {
        let index = self.next;
        if index == self.count {
            return None;
        }
        self.next = index.wrapping_add(1);
        // INVARIANT: This part is no longer here.
        Some(RequestPart {
            request: self.request,
            index,
            _p: PhantomData,
        })
    }
}

impl<T: Operations<RequestData = PartCount>> Drop for Parts<T> {
    #[inline]
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// A part of a request that the driver owns: it ends it once, whenever and wherever it likes, and
/// may then no longer use what belongs to that part.
///
/// Dropping it ends it with an I/O error.
///
/// # Invariants
///
/// `request` is a request as [`Request`] has it, whose part `index` this is, below [`MAX_PARTS`], and
/// which does not end before this does.
pub(crate) struct RequestPart<T: Operations<RequestData = PartCount>> {
    request: NonNull<bindings::request>,
    index: u32,
    _p: PhantomData<T>,
}

// SAFETY: As for `Request`.
unsafe impl<T: Operations<RequestData = PartCount>> Send for RequestPart<T> {}
// SAFETY: `&RequestPart` allows nothing.
unsafe impl<T: Operations<RequestData = PartCount>> Sync for RequestPart<T> {}

impl<T: Operations<RequestData = PartCount>> RequestPart<T> {
    /// Ends it; the request ends with the last one, each part of its data as it ended itself. Any
    /// context, also with interrupts disabled.
    #[inline]
    pub(crate) fn end(self, status: BlkStatus) {
        ManuallyDrop::new(self).end_once(status);
    }

    /// To be called once.
    #[inline]
    fn end_once(&self, status: BlkStatus) {
        // SAFETY: By the type invariant the request is live, and its data is initialised.
        let data = unsafe { &*tag_set::data_of::<T>(self.request.as_ptr()) };
        if status != BlkStatus::Ok {
            // Into a byte that is zero: no other part has this index.
            let status = (status as u64).wrapping_shl(self.index.wrapping_mul(8));
            data.statuses.fetch_add(status, Relaxed);
        }
        // Full order: who ends the request sees what the others did before they ended theirs.
        if data.left.fetch_sub(1, Full) != 1 {
            return;
        }
        // INVARIANT: No part is left, so that the request is nobody else's.
        // SAFETY: By the type invariant it is started and the driver's.
        let request = unsafe { Request::<T>::from_raw(self.request.as_ptr()) };
        match data.statuses.load(Relaxed) {
            0 => request.end(BlkStatus::Ok),
            statuses => request.end_by_parts(statuses),
        }
    }
}

impl<T: Operations<RequestData = PartCount>> Drop for RequestPart<T> {
    fn drop(&mut self) {
        self.end_once(BlkStatus::IoErr);
    }
}
