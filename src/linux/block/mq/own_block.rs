// SPDX-License-Identifier: GPL-2.0

//! A page of our own, where a request's block would be.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*, //
};

use super::Block;
use crate::linux::{
    helpers,
    mm::alloc::RAW_MAY_FAIL, //
};

/// A page of memory of 4 KiB. Dropping it gives up our reference; a frame that is still on its way
/// has one of its own.
///
/// # Invariants
///
/// `page` is a page of order 0 that we hold a reference to.
pub(crate) struct OwnBlock {
    page: NonNull<bindings::page>,
}

// SAFETY: A page is memory that belongs to no thread.
unsafe impl Send for OwnBlock {}
// SAFETY: As above; nothing is reached through `&OwnBlock` but its address.
unsafe impl Sync for OwnBlock {}

impl OwnBlock {
    /// Allocates one, full of zeros. May sleep.
    pub(crate) fn new() -> Result<Self> {
        let flags = RAW_MAY_FAIL | bindings::__GFP_ZERO;
        // SAFETY: No requirements.
        let page = unsafe { bindings::alloc_pages(flags, 0) };
        // INVARIANT: Allocated just now.
        NonNull::new(page).map(|page| Self { page }).ok_or(ENOMEM)
    }

    /// The page as a block. The caller keeps `self` for as long as anybody may touch the block.
    pub(crate) fn block(&self) -> Block {
        // SAFETY: The page is live by the type invariant; the caller sees to the rest.
        unsafe { Block::of_page(self.page) }
    }
}

impl Drop for OwnBlock {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours, and it is not used after this.
        unsafe { helpers::put_page(self.page.as_ptr()) };
    }
}
