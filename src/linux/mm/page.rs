// SPDX-License-Identifier: GPL-2.0

//! Pages of memory of our own, that I/O is done with.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    alloc::RAW_MAY_FAIL,
    copy::copy, //
};
use crate::linux::{
    block::mq::{
        Block,
        BLOCK_SIZE, //
    },
    helpers, //
};

/// A page of 4 KiB. Dropping it gives up our reference; a bio under way has one of its own.
///
/// Its bytes are memory that a device may write to as well: who reads them while somebody writes
/// gets a mixture. When they may be touched is for the owner to say.
///
/// # Invariants
///
/// `page` is a page of order 0 that we hold a reference to, and `data` its address.
pub(crate) struct IoPage {
    page: NonNull<bindings::page>,
    data: NonNull<u8>,
}

// SAFETY: A page is memory that belongs to no thread.
unsafe impl Send for IoPage {}
// SAFETY: As above; concurrent copies mix bytes, which have no invalid values.
unsafe impl Sync for IoPage {}

impl IoPage {
    /// Allocates one, of undefined contents. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements.
        let page = unsafe { bindings::alloc_pages(RAW_MAY_FAIL, 0) };
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

    /// Takes the bytes of `block`.
    #[inline]
    pub(crate) fn copy_from(&self, block: &Block) {
        let mut to = self.data.as_ptr();
        block.for_each_run(0, BLOCK_SIZE as u16, |from, len| {
            // SAFETY: The run is memory of a request, by the block's invariant; all runs together
            // are a page long, so that `to` stays in our page, which is nobody else's.
            unsafe {
                copy(from, to, len);
                to = to.add(len);
            }
            true
        });
    }

    /// Gives its bytes to `block`.
    #[inline]
    pub(crate) fn copy_to(&self, block: &Block) {
        let mut from = self.data.as_ptr().cast_const();
        block.for_each_run(0, BLOCK_SIZE as u16, |to, len| {
            // SAFETY: As in `copy_from`.
            unsafe {
                copy(from, to, len);
                from = from.add(len);
            }
            true
        });
    }

    /// Fills it with a 64-bit value.
    pub(crate) fn fill(&self, value: u64) {
        let words = self.data.as_ptr().cast::<u64>();
        for index in 0..BLOCK_SIZE / size_of::<u64>() {
            // SAFETY: The word lies in our page, which is aligned.
            unsafe { words.add(index).write(value) };
        }
    }

    /// CRC32C of all bytes: all ones first, inverted at the end.
    #[inline]
    pub(crate) fn crc32c(&self) -> u32 {
        // SAFETY: The page is ours. It is passed as an address, not as a slice, for a device may
        // change it meanwhile.
        !unsafe { helpers::crc32c(!0, self.data.as_ptr().cast(), BLOCK_SIZE) }
    }
}

impl Drop for IoPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours, and it is not used after this.
        unsafe { helpers::put_page(self.page.as_ptr()) };
    }
}
