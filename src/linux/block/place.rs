// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of a block are: raw addresses, which do not say how long the memory stays.
//!
//! Most blocks are one page. With O_DIRECT a block may begin at any multiple of 512 bytes and span two
//! pages, or consist of pieces as short as 512 bytes, of several bios.
//!
//! Could be removed in a release after 7.3, once the kernel crate has iterators over a request's data, as
//! `rq_for_each_bvec` is.

use core::ptr::NonNull;

use kernel::{
    bindings,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
};

use crate::linux::helpers;

/// Bytes of a block, and of a page. Lengths within a block are `u16`.
pub(in crate::linux) const BLOCK_SIZE: usize = PAGE_SIZE;
const _: () = assert!(BLOCK_SIZE <= u16::MAX as usize);

/// The same, as the block layer counts.
pub(in crate::linux) const BLOCK_LEN: u32 = BLOCK_SIZE as u32;

/// The part of an address, or of an offset, that lies within a page.
pub(in crate::linux) const OFFSET_MASK: u32 = BLOCK_LEN - 1;

/// Where one block's bytes are.
///
/// # Invariants
///
/// As long as the request has not ended, or the page has a reference, what the place refers to is memory in
/// the kernel's linear map:
///
/// - For [`Place::Whole`] at least one block from `data` on, which lies in `page`. The pages follow one
///   another in the array of `struct page`s as well.
/// - For [`Place::Pieces`] at least one block from the cursor on.
#[derive(Clone, Copy)]
pub(in crate::linux) enum Place {
    /// All bytes follow one another in memory.
    Whole {
        /// The page of the first byte.
        page: NonNull<bindings::page>,
        /// The first byte's address in the kernel's linear map.
        data: NonNull<u8>,
    },
    /// The bytes are in pieces, from here on.
    Pieces(Cursor),
}

/// A position in the data of a request.
///
/// # Invariants
///
/// As long as the request has not ended, `bio` is a bio with data, `left` bytes of which, at least
/// one, come from here on: the first from entry `index` of its table, `done` bytes into that entry.
#[derive(Clone, Copy)]
pub(in crate::linux) struct Cursor {
    bio: NonNull<bindings::bio>,
    left: u32,
    index: u32,
    done: u32,
}

/// A run of bytes that follow one another in memory.
///
/// # Invariants
///
/// As long as the request has not ended, `page` is a page of memory in the kernel's linear map, and the `len`
/// bytes from `offset` on belong to the request. `offset` lies within `page`.
pub(in crate::linux) struct Run {
    /// The page of the first byte.
    pub(in crate::linux) page: NonNull<bindings::page>,
    /// The first byte's place in that page.
    pub(in crate::linux) offset: u32,
    /// How many bytes; they may go on into the next pages.
    pub(in crate::linux) len: u32,
}

impl Run {
    /// The first byte's address.
    pub(in crate::linux) fn data(&self) -> NonNull<u8> {
        // SAFETY: By the type invariants the page is in the linear map, and `offset` lies within it. So the
        // address is not null.
        unsafe { NonNull::new_unchecked(page_address(self.page).add(self.offset as usize)) }
    }
}

/// # Safety
///
/// - `page` must be a page of memory.
#[inline]
pub(in crate::linux) unsafe fn page_address(page: NonNull<bindings::page>) -> *mut u8 {
    // SAFETY: By the requirements of this function.
    unsafe { helpers::page_address(page.as_ptr()) }.cast()
}

impl Cursor {
    /// Where `bio` begins.
    ///
    /// # Safety
    ///
    /// - `bio` must be null, or a bio of a request that the driver owns.
    #[inline]
    unsafe fn new(bio: *mut bindings::bio) -> Option<Self> {
        let bio = NonNull::new(bio)?;
        // SAFETY: `bio` is live by the requirements of this function, and its iterator does not
        // change while the driver owns the request.
        let iter = unsafe { (*bio.as_ptr()).bi_iter };
        // INVARIANT: `bi_size` bytes are left of a bio, from `bi_offset` of entry `bi_idx` on.
        (iter.bi_size != 0).then_some(Self {
            bio,
            left: iter.bi_size,
            index: iter.bi_idx,
            done: iter.bi_offset,
        })
    }

    /// The entry of the bio's table that it is at.
    ///
    /// # Safety
    ///
    /// - The request must not have ended.
    #[inline]
    unsafe fn entry(&self) -> bindings::bio_vec {
        // SAFETY: By the requirements of this function and the type invariants the bio is live, and `index`
        // is an entry of its table.
        unsafe { *(*self.bio.as_ptr()).bi_io_vec.add(self.index as usize) }
    }

    /// The bytes from here on that follow one another in memory.
    ///
    /// # Safety
    ///
    /// - The request must not have ended.
    #[inline]
    pub(in crate::linux) unsafe fn run(&self) -> Run {
        // SAFETY: By the requirements of this function.
        let vec = unsafe { self.entry() };
        let offset = vec.bv_offset.wrapping_add(self.done);
        // INVARIANT: The rest of a table entry is memory of the request. Each page of a 64-bit kernel is in
        // the linear map.
        Run {
            // SAFETY: The pages of one table entry are consecutive, in memory and so in the
            // array of `struct page`s. By the type invariants `done` lies within the entry.
            page: unsafe { NonNull::new_unchecked(vec.bv_page.add(offset as usize >> PAGE_SHIFT)) },
            offset: offset & OFFSET_MASK,
            len: vec.bv_len.wrapping_sub(self.done).min(self.left),
        }
    }

    /// Advances by `len` bytes, all of [`Self::run`] or fewer; `None` at the end of the request.
    ///
    /// # Safety
    ///
    /// - The request must not have ended.
    #[inline]
    pub(in crate::linux) unsafe fn advance(mut self, len: u32) -> Option<Self> {
        self.left = self.left.wrapping_sub(len);
        if self.left == 0 {
            // SAFETY: By the requirements of this function and the type invariants the bio is live. The next
            // one is null or belongs to the same request.
            return unsafe { Self::new((*self.bio.as_ptr()).bi_next) };
        }
        self.done = self.done.wrapping_add(len);
        // SAFETY: By the requirements of this function.
        if self.done >= unsafe { self.entry() }.bv_len {
            // INVARIANT: Bytes of the bio are left, so it has a next entry.
            self.index = self.index.wrapping_add(1);
            self.done = 0;
        }
        Some(self)
    }
}

/// The places of a request's blocks, in order.
///
/// # Invariants
///
/// As long as the request has not ended, it has at least `left` blocks of data from `cursor` on.
pub(in crate::linux) struct Places {
    cursor: Option<Cursor>,
    left: u32,
}

impl Places {
    /// Those of the request whose first bio is `bio`.
    ///
    /// # Safety
    ///
    /// - `bio` must be null, or the first bio of a request that the driver owns.
    /// - The request must have at least `count` blocks of data.
    /// - The result may be iterated over only as long as the request has not ended. Once it has returned all
    ///   places, it does not access the request.
    #[inline]
    pub(in crate::linux) unsafe fn new(bio: *mut bindings::bio, count: u32) -> Self {
        // INVARIANT: By the requirements of this function.
        Self {
            // SAFETY: By the requirements of this function.
            cursor: unsafe { Cursor::new(bio) },
            left: count,
        }
    }
}

impl Iterator for Places {
    type Item = Place;

    #[inline]
    fn next(&mut self) -> Option<Place> {
        let cursor = self.cursor?;
        self.left = self.left.checked_sub(1)?;
        // SAFETY: The caller of `new` has promised that the request has not ended; this holds for all calls
        // below.
        let run = unsafe { cursor.run() };
        if run.len >= BLOCK_LEN {
            if self.left != 0 {
                // SAFETY: As above.
                self.cursor = unsafe { cursor.advance(BLOCK_LEN) };
            }
            // INVARIANT: By the invariants of `Run`; it has at least the bytes of a block.
            return Some(Place::Whole {
                page: run.page,
                data: run.data(),
            });
        }
        let mut skip = BLOCK_LEN;
        while let Some(at) = self.cursor.filter(|_| skip != 0) {
            // SAFETY: As above.
            let len = unsafe { at.run() }.len.min(skip);
            skip = skip.wrapping_sub(len);
            // SAFETY: As above.
            self.cursor = unsafe { at.advance(len) };
        }
        // INVARIANT: By the type invariants of `Places` a block was left from the cursor on.
        Some(Place::Pieces(cursor))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Places {}
