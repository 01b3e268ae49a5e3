// SPDX-License-Identifier: GPL-2.0

//! Own pages of memory, for I/O.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    place::{
        Place,
        BLOCK_SIZE, //
    },
    Block,
    BlockWriter, //
};
use crate::linux::{
    helpers,
    mm::{
        alloc::RAW_MAY_FAIL,
        copy::copy, //
    },
};

/// A page of 4 KiB. Dropping it gives up one reference; a bio or a frame under way has one of its
/// own.
///
/// Could be removed in a release after 7.3, once the kernel crate's `Page` can be shared with a device, and
/// lent to a bio and an skb, which needs a reference count: it owns its page alone.
///
/// # Invariants
///
/// - `page` is a page of order 0, to which the value owns a reference. `data` is its address in the linear
///   map.
/// - Its bytes may be written to, by others too and at any time; the invariants of [`Block`] say what
///   follows.
///
/// # Examples
///
/// ```ignore
/// fn keep(block: &Block<'_>) -> Result<Page> {
///     let page = Page::new()?;
///     page.copy_from(block);
///     if page.block().crc32c() != block.crc32c() {
///         return Err(EAGAIN);
///     }
///     Ok(page)
/// }
/// ```
pub(crate) struct Page {
    page: NonNull<bindings::page>,
    data: NonNull<u8>,
}

// SAFETY: A page is memory that belongs to no thread.
unsafe impl Send for Page {}
// SAFETY: As above; the invariant of `Block` says what concurrent accesses come to.
unsafe impl Sync for Page {}

impl Page {
    /// Allocates one, full of zeros. May sleep.
    pub(crate) fn new() -> Result<Self> {
        let flags = RAW_MAY_FAIL | bindings::__GFP_ZERO;
        // SAFETY: The function has no requirements.
        let page = unsafe { bindings::alloc_pages(flags, 0) };
        let page = NonNull::new(page).ok_or(ENOMEM)?;
        // SAFETY: The page is live, and its memory is in the linear map.
        let data = unsafe { helpers::page_address(page.as_ptr()) };
        // INVARIANT: Allocated above.
        Ok(Self {
            page,
            data: NonNull::new(data.cast()).ok_or(ENOMEM)?,
        })
    }

    /// The page, for kernel functions.
    pub(in crate::linux) fn as_ptr(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    /// Its address in the linear map.
    #[inline]
    pub(in crate::linux) fn data(&self) -> NonNull<u8> {
        self.data
    }

    #[inline]
    fn place(&self) -> Place {
        // INVARIANT: By the type invariants `data` is the address of a page, which is as long as a block.
        Place::Whole {
            page: self.page,
            data: self.data,
        }
    }

    /// Its bytes, for reading.
    #[inline]
    pub(crate) fn block(&self) -> Block<'_> {
        // SAFETY: By the type invariants the page is there as long as `self` is borrowed.
        unsafe { Block::new(self.place()) }
    }

    /// Its bytes, for reading and writing.
    #[inline]
    pub(crate) fn writer(&self) -> BlockWriter<'_> {
        // SAFETY: As for `block`. The page was allocated here, and by the type invariants may be written to.
        unsafe { BlockWriter::new(self.place()) }
    }

    /// Takes the bytes of `block`.
    #[inline]
    pub(crate) fn copy_from(&self, block: &Block<'_>) {
        let mut to = self.data.as_ptr();
        block.for_each_run(0, BLOCK_SIZE as u16, |from, len| {
            // SAFETY: The run is memory of a block; all runs together are a page long, so that
            // `to` stays in the page. `mm::copy` says why others may write to both meanwhile.
            unsafe {
                copy(from, to, len);
                to = to.add(len);
            }
            true
        });
    }

    /// Gives its bytes to `block`.
    #[inline]
    pub(crate) fn copy_to(&self, block: &BlockWriter<'_>) {
        let mut from = self.data.as_ptr().cast_const();
        block.for_each_run(0, BLOCK_SIZE as u16, |to, len| {
            // SAFETY: As in `copy_from`; a writer's memory may be written to.
            unsafe {
                copy(from, to, len);
                from = from.add(len);
            }
            true
        });
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours, and it is not used after this.
        unsafe { helpers::put_page(self.page.as_ptr()) };
    }
}
