// SPDX-License-Identifier: GPL-2.0

//! The data of a request, in blocks of 4 KiB.
//!
//! A block is mostly one page. With O_DIRECT it may begin at any multiple of 512 bytes, so that
//! it spans two pages, or be gathered from pieces as short as 512 bytes, even of several bios.

use core::{
    iter::FusedIterator,
    ptr::NonNull, //
};

use kernel::bindings;

use crate::linux::helpers;

/// Bytes of a block, and of a page.
pub(crate) const BLOCK_SIZE: usize = 4096;

/// The same, as the block layer counts.
const BLOCK_LEN: u32 = BLOCK_SIZE as u32;

const PAGE_SHIFT: u32 = 12;
const PAGE_MASK: u32 = BLOCK_LEN - 1;

/// Where one block's bytes are. It is a small value, to be kept in the driver's own table.
///
/// # Invariants
///
/// The memory is that of a request which has not ended, or of an `OwnBlock` that is there. Nothing
/// in this type sees to that: who keeps a block must not touch it once the request has been ended,
/// nor while somebody else may end it. The engine does so by its receive claims.
#[derive(Clone, Copy)]
pub(crate) struct Block(Place);

#[derive(Clone, Copy)]
enum Place {
    /// All bytes follow one another in memory.
    Whole {
        /// The page of the first byte.
        page: NonNull<bindings::page>,
        /// The first byte's address in the kernel's linear map.
        data: NonNull<u8>,
    },
    /// The bytes are gathered from here on.
    Pieces(Cursor),
}

// SAFETY: A block is an address of memory that belongs to a request, not to a thread.
unsafe impl Send for Block {}
// SAFETY: As above; what `&Block` allows is governed by the type invariant.
unsafe impl Sync for Block {}

/// A position in the data of a request.
///
/// # Invariants
///
/// `bio` is a bio with data, `left` bytes of which, at least one, come from here on: the first
/// from entry `index` of its table, `done` bytes into that entry.
#[derive(Clone, Copy)]
struct Cursor {
    bio: NonNull<bindings::bio>,
    left: u32,
    index: u32,
    done: u32,
}

/// A run of bytes that follow one another in memory.
struct Run {
    /// The page of the first byte.
    page: NonNull<bindings::page>,
    /// The first byte's place in that page.
    offset: u32,
    /// How many bytes; they may go on into the next pages.
    len: u32,
}

impl Run {
    fn data(&self) -> NonNull<u8> {
        // SAFETY: The page is one of a bio, so it is in the linear map (the kernel is a 64-bit
        // one) and its address is not null, nor is one within it.
        unsafe { NonNull::new_unchecked(page_address(self.page).add(self.offset as usize)) }
    }
}

/// # Safety
///
/// `page` must be a page of memory.
#[inline]
unsafe fn page_address(page: NonNull<bindings::page>) -> *mut u8 {
    // SAFETY: By the requirements of this function.
    unsafe { helpers::page_address(page.as_ptr()) }.cast()
}

impl Cursor {
    /// Where `bio` begins.
    ///
    /// # Safety
    ///
    /// `bio` must be null, or a bio of a request that the driver owns.
    #[inline]
    unsafe fn new(bio: *mut bindings::bio) -> Option<Self> {
        let bio = NonNull::new(bio)?;
        // SAFETY: `bio` is live by the requirements of this function, and its iterator does not
        // change while the driver owns the request.
        let iter = unsafe { (*bio.as_ptr()).bi_iter };
        // INVARIANT: The iterator of a bio with data says just this.
        (iter.bi_size != 0).then_some(Self {
            bio,
            left: iter.bi_size,
            index: iter.bi_idx,
            done: iter.bi_offset,
        })
    }

    /// The bytes from here on that follow one another in memory.
    #[inline]
    fn run(&self) -> Run {
        // SAFETY: By the type invariant `index` is an entry of the bio's table.
        let vec = unsafe { &*(*self.bio.as_ptr()).bi_io_vec.add(self.index as usize) };
        let offset = vec.bv_offset.wrapping_add(self.done);
        Run {
            // SAFETY: The pages of one table entry are consecutive, in memory and so in the
            // array of `struct page`s, and `done` lies within the entry.
            page: unsafe {
                NonNull::new_unchecked(vec.bv_page.add((offset >> PAGE_SHIFT) as usize))
            },
            offset: offset & PAGE_MASK,
            len: vec.bv_len.wrapping_sub(self.done).min(self.left),
        }
    }

    /// Goes on by the `len` bytes of [`Self::run`] or fewer; `None` at the end of the request.
    #[inline]
    fn advance(mut self, len: u32) -> Option<Self> {
        self.left = self.left.wrapping_sub(len);
        if self.left == 0 {
            // SAFETY: The bio is live, and the next one of the same request is so as well.
            return unsafe { Self::new((*self.bio.as_ptr()).bi_next) };
        }
        self.done = self.done.wrapping_add(len);
        // SAFETY: By the type invariant `index` is an entry of the bio's table.
        let vec = unsafe { &*(*self.bio.as_ptr()).bi_io_vec.add(self.index as usize) };
        if self.done >= vec.bv_len {
            // INVARIANT: Bytes are left, so the bio has a next entry.
            self.index = self.index.wrapping_add(1);
            self.done = 0;
        }
        Some(self)
    }
}

/// The blocks of a request, in order.
pub(crate) struct Blocks {
    cursor: Option<Cursor>,
    left: u32,
}

impl Blocks {
    /// No blocks.
    pub(super) fn empty() -> Self {
        Self {
            cursor: None,
            left: 0,
        }
    }

    /// The blocks of the request whose first bio is `bio`.
    ///
    /// # Safety
    ///
    /// The driver must own the request, and it must have at least `count` blocks of data.
    #[inline]
    pub(super) unsafe fn new(bio: *mut bindings::bio, count: u32) -> Self {
        Self {
            // SAFETY: By the requirements of this function.
            cursor: unsafe { Cursor::new(bio) },
            left: count,
        }
    }
}

impl Iterator for Blocks {
    type Item = Block;

    #[inline]
    fn next(&mut self) -> Option<Block> {
        self.left = self.left.checked_sub(1)?;
        let cursor = self.cursor?;
        let run = cursor.run();
        if run.len >= BLOCK_LEN {
            if self.left != 0 {
                self.cursor = cursor.advance(BLOCK_LEN);
            }
            return Some(Block(Place::Whole {
                page: run.page,
                data: run.data(),
            }));
        }
        let mut skip = BLOCK_LEN;
        while let Some(at) = self.cursor.filter(|_| skip != 0) {
            let len = at.run().len.min(skip);
            skip = skip.wrapping_sub(len);
            self.cursor = at.advance(len);
        }
        Some(Block(Place::Pieces(cursor)))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Blocks {}
impl FusedIterator for Blocks {}

/// Bytes of a block that lie in one page.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    page: NonNull<bindings::page>,
    offset: u32,
    len: u32,
}

impl Span {
    /// The page.
    pub(in crate::linux) fn page(&self) -> NonNull<bindings::page> {
        self.page
    }

    /// Where the bytes begin in the page.
    pub(in crate::linux) fn offset(&self) -> u32 {
        self.offset
    }

    /// Number of bytes, at least one.
    pub(in crate::linux) fn len(&self) -> u32 {
        self.len
    }

    /// The first byte's address.
    pub(in crate::linux) fn data(&self) -> *const u8 {
        // SAFETY: The page is one of a request's, and `offset` is less than its size.
        unsafe { page_address(self.page).add(self.offset as usize) }
    }
}

/// Iterates over a part of a block, page by page.
pub(crate) struct Spans {
    place: Place,
    left: u32,
}

impl Iterator for Spans {
    type Item = Span;

    #[inline]
    fn next(&mut self) -> Option<Span> {
        if self.left == 0 {
            return None;
        }
        let (page, offset, run) = match self.place {
            Place::Whole { page, data } => {
                // CAST: Masked to the page's size.
                (page, data.as_ptr() as u32 & PAGE_MASK, self.left)
            }
            Place::Pieces(cursor) => {
                let run = cursor.run();
                (run.page, run.offset, run.len)
            }
        };
        let len = run.min(self.left).min(BLOCK_LEN.wrapping_sub(offset));
        self.left = self.left.wrapping_sub(len);
        if self.left != 0 {
            match &mut self.place {
                Place::Whole { page, data } => {
                    // SAFETY: Bytes of the block are left, so the next page belongs to it, and
                    // is the next in the array of `struct page`s and in the linear map.
                    unsafe {
                        *page = page.add(1);
                        *data = data.add(len as usize);
                    }
                }
                Place::Pieces(cursor) => *cursor = cursor.advance(len)?,
            }
        }
        Some(Span { page, offset, len })
    }
}

impl Block {
    /// A block that is a page.
    ///
    /// # Safety
    ///
    /// `page` must be a page of order 0, which is there for as long as the block is used.
    pub(super) unsafe fn of_page(page: NonNull<bindings::page>) -> Self {
        // SAFETY: It is a page by the requirements of this function, and in the linear map, so that
        // its address is not null.
        let data = unsafe { NonNull::new_unchecked(page_address(page)) };
        // INVARIANT: By the requirements of this function.
        Self(Place::Whole { page, data })
    }

    /// Calls `f` with address and length of each run of bytes from `offset` on, `len` bytes in
    /// all, until it returns false. What lies outside of the block is left out.
    #[inline]
    pub(in crate::linux) fn for_each_run(
        &self,
        offset: u16,
        len: u16,
        mut f: impl FnMut(*mut u8, usize) -> bool,
    ) {
        let mut skip = u32::from(offset).min(BLOCK_LEN);
        let mut left = u32::from(len).min(BLOCK_LEN.wrapping_sub(skip));
        match self.0 {
            Place::Whole { data, .. } => {
                // SAFETY: `skip` is at most the block's size.
                f(unsafe { data.as_ptr().add(skip as usize) }, left as usize);
            }
            Place::Pieces(cursor) => {
                let mut next = Some(cursor);
                while let Some(at) = next.filter(|_| left != 0) {
                    let mut run = at.run();
                    next = at.advance(run.len);
                    let unwanted = run.len.min(skip);
                    skip = skip.wrapping_sub(unwanted);
                    run.len = run.len.wrapping_sub(unwanted).min(left);
                    if run.len == 0 {
                        continue;
                    }
                    left = left.wrapping_sub(run.len);
                    // SAFETY: `unwanted` is less than the run's length.
                    let data = unsafe { run.data().as_ptr().add(unwanted as usize) };
                    if !f(data, run.len as usize) {
                        return;
                    }
                }
            }
        }
    }

    /// The part of `len` bytes from `offset` on, page by page. What lies outside of the block is
    /// left out.
    #[inline]
    pub(crate) fn spans(&self, offset: u16, len: u16) -> Spans {
        let skip = u32::from(offset).min(BLOCK_LEN);
        let left = u32::from(len).min(BLOCK_LEN.wrapping_sub(skip));
        let mut spans = Spans {
            place: self.0,
            left: skip,
        };
        match &mut spans.place {
            Place::Whole { page, data } => {
                // SAFETY: If bytes are left, the place is within the block: on this page or the
                // next, which both belong to it.
                unsafe {
                    let in_page = data.as_ptr() as u32 & PAGE_MASK;
                    if in_page.wrapping_add(skip) >= BLOCK_LEN && left != 0 {
                        *page = page.add(1);
                    }
                    *data = data.add(skip as usize);
                }
            }
            // Spends the iterator on what comes before.
            Place::Pieces(_) => {
                let mut skipped = skip;
                while skipped != 0 {
                    let Place::Pieces(cursor) = spans.place else {
                        break;
                    };
                    let len = cursor.run().len.min(skipped);
                    skipped = skipped.wrapping_sub(len);
                    match cursor.advance(len) {
                        Some(cursor) => spans.place = Place::Pieces(cursor),
                        None => {
                            return Spans {
                                place: self.0,
                                left: 0,
                            }
                        }
                    }
                }
            }
        }
        spans.left = left;
        spans
    }

    /// CRC32C of all bytes: all ones first, inverted at the end.
    #[inline]
    pub(crate) fn crc32c(&self) -> u32 {
        let mut state = !0;
        self.for_each_run(0, BLOCK_SIZE as u16, |data, len| {
            // SAFETY: The run is memory of the request, by the type invariant. It is passed as an
            // address, not as a slice, for a user may change it meanwhile (O_DIRECT).
            state = unsafe { helpers::crc32c(state, data.cast(), len) };
            true
        });
        !state
    }

    /// The 64-bit value that fills the block, if one does. (Pieces begin and end on 512 bytes;
    /// were a word to straddle two of them, the answer is no.)
    #[inline]
    pub(crate) fn same_fill(&self) -> Option<u64> {
        let mut fill = None;
        let mut same = true;
        self.for_each_run(0, BLOCK_SIZE as u16, |data, len| {
            let words = data.cast::<u64>();
            let count = len / size_of::<u64>();
            if !words.is_aligned() || len % size_of::<u64>() != 0 {
                same = false;
                return false;
            }
            // SAFETY: The run is memory of the request, by the type invariant, aligned and at
            // least a word long. Volatile, for a user may change it meanwhile.
            let first = *fill.get_or_insert_with(|| unsafe { words.read_volatile() });
            // SAFETY: As above, and the words lie within the run.
            same = (0..count).all(|i| unsafe { words.add(i).read_volatile() } == first);
            same
        });
        fill.filter(|_| same)
    }

    /// Fills the block with a 64-bit value.
    pub(crate) fn fill(&self, value: u64) {
        self.for_each_run(0, BLOCK_SIZE as u16, |data, len| {
            let words = data.cast::<u64>();
            for i in 0..len / size_of::<u64>() {
                // SAFETY: The run is memory of the request, by the type invariant, and the word
                // lies within it.
                unsafe { words.add(i).write_unaligned(value) };
            }
            true
        });
    }

    /// Fills the block with zeros.
    pub(crate) fn zero(&self) {
        self.for_each_run(0, BLOCK_SIZE as u16, |data, len| {
            // SAFETY: The run is memory of the request, by the type invariant.
            unsafe { data.write_bytes(0, len) };
            true
        });
    }
}
