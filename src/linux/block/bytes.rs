// SPDX-License-Identifier: GPL-2.0

//! The bytes of blocks as long as a page: reading and filling them.

use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::bindings;

use super::place::{
    page_address,
    Place,
    BLOCK_LEN,
    BLOCK_SIZE,
    OFFSET_MASK, //
};
use crate::linux::{
    helpers,
    mm::copy::{
        copy,
        fill, //
    }, //
};

/// The bytes of one block, for reading during `'a`. It borrows the request or the page that they
/// belong to ([`RequestBlock::block`], [`Page::block`]).
///
/// # Invariants
///
/// - `place` is that of a block. Its memory belongs to the request, which does not end, or to the page during
///   `'a`.
/// - Others may write to it meanwhile: a user (O_DIRECT), a device, another CPU with a
///   [`BlockWriter`]. So there is no reference to a byte, bytes are accessed only as
///   [`mm::copy`](crate::linux::mm::copy) says, and nothing relies on a byte not changing. Bytes have no
///   invalid values: two concurrent writes leave a mixture of both.
///
/// Could be removed in a release after 7.3, once the kernel crate has `bio` and its iterators
/// (`bio_for_each_segment`).
///
/// # Examples
///
/// ```ignore
/// fn checksum(block: Block<'_>) -> u32 {
///     match block.same_fill() {
///         Some(0) => 0,
///         _ => block.crc32c(),
///     }
/// }
/// ```
///
/// [`RequestBlock::block`]: crate::linux::block::mq::RequestBlock::block
/// [`Page::block`]: super::Page::block
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    place: Place,
    _p: PhantomData<&'a ()>,
}

// SAFETY: A block is an address of memory that belongs to no thread.
unsafe impl Send for Block<'_> {}
// SAFETY: As above; the type invariant says what concurrent accesses come to.
unsafe impl Sync for Block<'_> {}

/// Bytes of a block that lie in one page.
///
/// # Invariants
///
/// - `page` is a page of a block, and is there during `'a`.
/// - The `len` bytes from `offset` on, at least one, lie within the page.
#[derive(Clone, Copy)]
pub(in crate::linux) struct Span<'a> {
    page: NonNull<bindings::page>,
    offset: u32,
    len: u32,
    _p: PhantomData<&'a ()>,
}

impl Span<'_> {
    /// The page, where in it the bytes begin, and how many they are: at least one.
    #[inline]
    pub(in crate::linux) fn parts(&self) -> (*mut bindings::page, u32, u32) {
        (self.page.as_ptr(), self.offset, self.len)
    }

    /// The first byte's address.
    pub(in crate::linux) fn data(&self) -> *const u8 {
        // SAFETY: By the type invariants `page` is a page of memory, and `offset` lies within it.
        unsafe { page_address(self.page).add(self.offset as usize) }
    }
}

/// Iterates over a part of a block, page by page.
///
/// # Invariants
///
/// - Unless `left` is 0, the place of `block` is at a byte of a block that [`Block::new`] was called for, and
///   at least `left` bytes of that block come from there on.
/// - The invariants of [`Block`] hold for these bytes.
pub(in crate::linux) struct Spans<'a> {
    block: Block<'a>,
    left: u32,
}

impl<'a> Iterator for Spans<'a> {
    type Item = Span<'a>;

    #[inline]
    fn next(&mut self) -> Option<Span<'a>> {
        if self.left == 0 {
            return None;
        }
        let (page, offset, run) = match self.block.place {
            Place::Whole { page, data } => {
                // CAST: Masked to the page's size.
                (page, data.as_ptr() as u32 & OFFSET_MASK, self.left)
            }
            Place::Pieces(cursor) => {
                // SAFETY: By the type invariants the request has not ended.
                let run = unsafe { cursor.run() };
                (run.page, run.offset, run.len)
            }
        };
        let len = run.min(self.left).min(BLOCK_LEN.wrapping_sub(offset));
        // INVARIANT: The place is advanced by `len` bytes as well, if any are left.
        self.left = self.left.wrapping_sub(len);
        if self.left != 0 {
            match &mut self.block.place {
                Place::Whole { page, data } => {
                    // SAFETY: By the type invariants `left` bytes of the block follow, so the next page
                    // belongs to it, and is the next in the array of `struct page`s and in the linear map.
                    unsafe {
                        *page = page.add(1);
                        *data = data.add(len as usize);
                    }
                }
                // SAFETY: By the type invariants the request has not ended. `len` is at most the run's
                // length.
                Place::Pieces(cursor) => *cursor = unsafe { cursor.advance(len) }?,
            }
        }
        // INVARIANT: By the type invariants; `len` is at most what the page has from `offset` on.
        Some(Span {
            page,
            offset,
            len,
            _p: PhantomData,
        })
    }
}

impl<'a> Block<'a> {
    /// The block at `place`.
    ///
    /// # Safety
    ///
    /// - `place` must be that of a block, and its memory must be there during `'a`. If it is a request's, the
    ///   request must not end before.
    /// - It must be memory that may be read, though others may write to it meanwhile.
    #[inline]
    pub(in crate::linux) unsafe fn new(place: Place) -> Self {
        // INVARIANT: By the requirements of this function.
        Self {
            place,
            _p: PhantomData,
        }
    }

    /// The address of the first byte, if all bytes follow one another in memory. Otherwise there are at least
    /// two runs.
    #[inline]
    pub(in crate::linux) fn whole(&self) -> Option<*mut u8> {
        match self.place {
            Place::Whole { data, .. } => Some(data.as_ptr()),
            Place::Pieces(_) => None,
        }
    }

    /// Calls `f` with address and length of each run of bytes from `offset` on, `len` bytes in
    /// all, until it returns false. Bytes outside of the block are left out.
    #[inline]
    pub(in crate::linux) fn for_each_run(
        &self,
        offset: u16,
        len: u16,
        mut f: impl FnMut(*mut u8, usize) -> bool,
    ) {
        let mut skip = u32::from(offset).min(BLOCK_LEN);
        let mut left = u32::from(len).min(BLOCK_LEN.wrapping_sub(skip));
        match self.place {
            Place::Whole { data, .. } => {
                // SAFETY: By the type invariants `data` is the first byte of a block; `skip` is at most its
                // size.
                f(unsafe { data.as_ptr().add(skip as usize) }, left as usize);
            }
            Place::Pieces(cursor) => {
                let mut next = Some(cursor);
                while let Some(at) = next.filter(|_| left != 0) {
                    // SAFETY: By the type invariant the request has not ended.
                    let run = unsafe { at.run() };
                    // SAFETY: As above.
                    next = unsafe { at.advance(run.len) };
                    let unwanted = run.len.min(skip);
                    skip = skip.wrapping_sub(unwanted);
                    let len = run.len.wrapping_sub(unwanted).min(left);
                    if len == 0 {
                        continue;
                    }
                    left = left.wrapping_sub(len);
                    // SAFETY: `unwanted` is less than the length of the run, which is memory of the block.
                    let data = unsafe { run.data().as_ptr().add(unwanted as usize) };
                    if !f(data, len as usize) {
                        return;
                    }
                }
            }
        }
    }

    /// The part of `len` bytes from `offset` on, page by page. Bytes outside of the block are left
    /// out.
    #[inline]
    pub(in crate::linux) fn spans(&self, offset: u16, len: u16) -> Spans<'a> {
        let mut skip = u32::from(offset).min(BLOCK_LEN);
        let left = u32::from(len).min(BLOCK_LEN.wrapping_sub(skip));
        let mut block = *self;
        match &mut block.place {
            Place::Whole { page, data } => {
                // SAFETY: By the type invariants `data` is the first byte of a block, and `skip` is at most
                // its size. If `left` is not 0, the place stays within the block: on this page or the next,
                // which both belong to it.
                unsafe {
                    let in_page = data.as_ptr() as u32 & OFFSET_MASK;
                    if in_page.wrapping_add(skip) >= BLOCK_LEN && left != 0 {
                        *page = page.add(1);
                    }
                    *data = data.add(skip as usize);
                }
            }
            Place::Pieces(cursor) => {
                while skip != 0 {
                    // SAFETY: By the type invariant the request has not ended.
                    let len = unsafe { cursor.run() }.len.min(skip);
                    skip = skip.wrapping_sub(len);
                    // SAFETY: As above.
                    match unsafe { cursor.advance(len) } {
                        Some(next) => *cursor = next,
                        // INVARIANT: `left` is 0.
                        None => return Spans { block, left: 0 },
                    }
                }
            }
        }
        // INVARIANT: `skip` bytes were skipped, and `skip` and `left` together are at most the block's size.
        Spans { block, left }
    }

    /// CRC32C of all bytes: all ones first, inverted at the end.
    #[inline]
    pub(crate) fn crc32c(&self) -> u32 {
        let mut state = !0;
        self.for_each_run(0, BLOCK_SIZE as u16, |data, len| {
            // SAFETY: By the type invariants the run is memory of the block. It is passed as an address, not
            // as a slice, as `mm::copy` says.
            state = unsafe { helpers::crc32c(state, data.cast(), len) };
            true
        });
        !state
    }

    /// The 64-bit value that fills the block, if one does. `None` if a word straddles two pieces, which
    /// pieces of whole sectors do not have.
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
            // SAFETY: By the type invariants the run is memory of the block. It is aligned and at least a
            // word long. Volatile, as `mm::copy` says.
            let first = *fill.get_or_insert_with(|| unsafe { words.read_volatile() });
            // SAFETY: As above, and the words lie within the run.
            same = (0..count).all(|i| unsafe { words.add(i).read_volatile() } == first);
            same
        });
        fill.filter(|_| same)
    }
}

/// A block whose bytes may be written as well: a block of a request that reads, or an own page. Several
/// contexts may write to the same block at a time. Could be removed with [`Block`].
///
/// # Invariants
///
/// The memory of the block may be written to.
///
/// # Examples
///
/// ```ignore
/// fn read_as_zeros(block: &BlockWriter<'_>) -> bool {
///     block.fill(0);
///     block.same_fill() == Some(0)
/// }
/// ```
pub(crate) struct BlockWriter<'a>(Block<'a>);

impl BlockWriter<'_> {
    /// The block at `place`.
    ///
    /// # Safety
    ///
    /// - As for [`Block::new`].
    /// - It must be memory that may be written to.
    #[inline]
    pub(in crate::linux) unsafe fn new(place: Place) -> Self {
        // INVARIANT: By the requirements of this function.
        // SAFETY: By the requirements of this function.
        Self(unsafe { Block::new(place) })
    }

    /// Fills the block with a 64-bit value.
    pub(crate) fn fill(&self, value: u64) {
        self.for_each_run(0, BLOCK_SIZE as u16, |data, len| {
            // SAFETY: By the type invariants the run is memory of the block, which may be written to.
            unsafe { fill(data, value, len) };
            true
        });
    }

    /// Copies `bytes` into the block from `offset` on. Those that do not fit are left out.
    pub(crate) fn copy_from(&self, offset: u16, bytes: &[u8]) {
        // CAST: at most the length of a block.
        let len = bytes.len().min(BLOCK_SIZE) as u16;
        let mut rest = bytes;
        self.for_each_run(offset, len, |data, len| {
            let Some((these, others)) = rest.split_at_checked(len) else {
                return false;
            };
            // SAFETY: By the type invariants the run is memory of the block, which may be written to. `these`
            // are as many bytes, which may be read.
            unsafe { copy(these.as_ptr(), data, len) };
            rest = others;
            true
        });
    }
}

impl<'a> Deref for BlockWriter<'a> {
    type Target = Block<'a>;

    #[inline]
    fn deref(&self) -> &Block<'a> {
        &self.0
    }
}
