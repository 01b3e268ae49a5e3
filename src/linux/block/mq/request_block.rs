// SPDX-License-Identifier: GPL-2.0

//! The blocks of a request, each of which keeps the request from ending.
//!
//! What is here could be removed with [`RequestBlock`], which says when.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    sync::atomic::{
        Full,
        Relaxed, //
    },
};

use super::{
    operations::Operations,
    request::{
        wrapper_of,
        Op,
        Request,
        RequestDataWrapper, //
    },
};
use crate::linux::block::{
    place::{
        Place,
        Places, //
    },
    Block,
    BlockWriter, //
};

/// A block of a request that the driver owns. The request stays until all its blocks have been
/// dropped; then [`Operations::end_rq`] ends it. A block may be dropped in any context.
///
/// A clone is another reference to the same block, for a context that uses the block while another may
/// drop its own reference.
///
/// Could be removed in a release after 7.3, once the kernel crate's `ARef<Request>` lends the request's
/// data.
///
/// # Invariants
///
/// - `request` is a request as described for [`Request`], but with shared ownership: `refs` of its
///   [`RequestDataWrapper`] counts the blocks that refer to it, including this one and those that a
///   [`RequestBlocks`] has not returned yet.
/// - `place` is one of its blocks. It may be written to if `is_read`.
///
/// # Examples
///
/// ```ignore
/// fn read_as_zeros<T: Operations>(block: RequestBlock<T>) -> bool {
///     let Some(writer) = block.writer() else {
///         return false;
///     };
///     writer.fill(0);
///     // The request may end here.
///     true
/// }
/// ```
pub(crate) struct RequestBlock<T: Operations> {
    request: NonNull<bindings::request>,
    place: Place,
    is_read: bool,
    _p: PhantomData<T>,
}

// SAFETY: As for `Request`.
unsafe impl<T: Operations> Send for RequestBlock<T> {}
// SAFETY: As for `Request` and `Block`.
unsafe impl<T: Operations> Sync for RequestBlock<T> {}

impl<T: Operations> RequestBlock<T> {
    /// The driver's data, beside the request.
    #[inline]
    pub(crate) fn data(&self) -> &T::RequestData {
        // SAFETY: By the type invariant it is initialised, and stays until the request has ended.
        unsafe { &(*wrapper_of::<T>(self.request.as_ptr())).data }
    }

    /// Its bytes, for reading.
    #[inline]
    pub(crate) fn block(&self) -> Block<'_> {
        // SAFETY: By the type invariant the request does not end while `self` is borrowed.
        unsafe { Block::new(self.place) }
    }

    /// Its bytes, for reading and writing. `None` if the request is a write: its pages may be shared,
    /// such as the page of zeros.
    #[inline]
    pub(crate) fn writer(&self) -> Option<BlockWriter<'_>> {
        // SAFETY: As for `block`; it is a read's, which is to be filled.
        self.is_read
            .then(|| unsafe { BlockWriter::new(self.place) })
    }
}

impl<T: Operations> Clone for RequestBlock<T> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant it is initialised.
        let wrapper = unsafe { &*wrapper_of::<T>(self.request.as_ptr()) };
        // `Relaxed`, as in `refcount_inc`: the caller has a reference.
        wrapper.refs.fetch_add(1, Relaxed);
        // INVARIANT: Counted just now.
        Self { ..*self }
    }
}

impl<T: Operations> Drop for RequestBlock<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this one is counted, and is not used after this.
        unsafe { put::<T>(self.request, 1) };
    }
}

/// Drops `count` references to a request.
///
/// # Safety
///
/// - They must be counted in its `refs`, and must not be used after this.
#[inline]
unsafe fn put<T: Operations>(request: NonNull<bindings::request>, count: u64) {
    // SAFETY: By the requirements of this function the request is live until the count is dropped.
    let wrapper: &RequestDataWrapper<T> = unsafe { &*wrapper_of(request.as_ptr()) };
    // Fully ordered: the context that ends the request sees all that others did before they dropped
    // their references.
    if wrapper.refs.fetch_sub(count, Full) == count {
        // SAFETY: Nothing refers to it any more, so it is ours.
        T::end_rq(unsafe { Request::from_raw(request) });
    }
}

/// Iterates over the blocks of a request. Dropping it drops those that it has not returned.
///
/// The [module](super) has an example.
///
/// # Invariants
///
/// Unless no block is left, `request` is as a [`RequestBlock`] has it, and `places` are places of
/// its blocks, for each of which one reference is counted.
pub(super) struct RequestBlocks<T: Operations> {
    request: NonNull<bindings::request>,
    places: Places,
    is_read: bool,
    _p: PhantomData<T>,
}

impl<T: Operations> RequestBlocks<T> {
    #[inline]
    pub(super) fn new(request: Request<T>) -> Self {
        let is_read = request.op() == Op::Read;
        // SAFETY: By the invariants of `RequestBlocks` the request does not end while a place is left.
        let places = unsafe { request.places() };
        let count = places.len() as u64;
        let request = request.into_raw();
        // SAFETY: By the invariant of `Request` it is ours, and its data is initialised.
        let wrapper: &RequestDataWrapper<T> = unsafe { &*wrapper_of(request.as_ptr()) };
        // `Relaxed`: no other context has a reference yet.
        wrapper.refs.store(count, Relaxed);
        if count == 0 {
            // SAFETY: It is ours, as above, and nothing refers to it.
            T::end_rq(unsafe { Request::from_raw(request) });
        }
        // INVARIANT: Counted above.
        Self {
            request,
            places,
            is_read,
            _p: PhantomData,
        }
    }
}

impl<T: Operations> Iterator for RequestBlocks<T> {
    type Item = RequestBlock<T>;

    #[inline]
    fn next(&mut self) -> Option<RequestBlock<T>> {
        let place = self.places.next()?;
        // INVARIANT: The reference of this place is the block's now.
        Some(RequestBlock {
            request: self.request,
            place,
            is_read: self.is_read,
            _p: PhantomData,
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl<T: Operations> ExactSizeIterator for RequestBlocks<T> {}

impl<T: Operations> Drop for RequestBlocks<T> {
    #[inline]
    fn drop(&mut self) {
        let left = self.places.len() as u64;
        if left != 0 {
            // SAFETY: By the type invariant so many are counted, and go with `self`.
            unsafe { put::<T>(self.request, left) };
        }
    }
}
