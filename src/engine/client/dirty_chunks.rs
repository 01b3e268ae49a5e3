// SPDX-License-Identifier: GPL-2.0

//! Dirty bitmaps over the page map. They bound a search: for freed pages, and for pages to be copied.

use super::ids::PageIndex;
use super::storage::Words;
use crate::sync::{update, Atomic, Full, Relaxed};

/// Pages of the map for each bit of [`DirtyChunks`].
pub const CHUNK_PAGES: u32 = 1024;

/// A dirty bitmap over the map, with a bit for each 1024 pages.
pub struct DirtyChunks<W> {
    words: W,
}

/// Words of a [`DirtyChunks`] for a map of `pages`.
pub fn words_for(pages: usize) -> usize {
    pages.div_ceil(CHUNK_PAGES as usize * 32)
}

impl<W: Words> DirtyChunks<W> {
    /// No dirty chunk; `words` are all zero.
    pub fn new(words: W) -> Self {
        Self { words }
    }

    /// Marks the page's chunk. Returns whether it was clean. Takes no lock and may be called in any
    /// context.
    pub fn mark(&self, page: PageIndex) -> bool {
        let chunk = page.0 / CHUNK_PAGES;
        let bit = 1 << (chunk % 32);
        let set = |old| (old & bit == 0).then_some(old | bit);
        let word = self.words.get((chunk / 32) as usize);
        word.is_some_and(|word| update(word, set).is_some())
    }

    /// Marks all chunks of a map of `pages` pages.
    pub fn mark_all(&self, pages: usize) {
        let mut left = pages.div_ceil(CHUNK_PAGES as usize);
        for word in self.words.iter() {
            let all = match left {
                // CAST: below 32.
                0..32 => 1_u32.wrapping_shl(left as u32).wrapping_sub(1),
                _ => u32::MAX,
            };
            if word.load(Relaxed) != all {
                word.xchg(all, Full);
            }
            left = left.saturating_sub(32);
        }
    }

    /// Number of dirty chunks.
    pub fn count(&self) -> u64 {
        let bits = |word: &Atomic<u32>| u64::from(word.load(Relaxed).count_ones());
        self.words.iter().map(bits).sum()
    }

    /// Takes the lowest dirty chunk: clears its bit, and returns its first page and one past its last.
    pub fn take(&self) -> Option<(PageIndex, PageIndex)> {
        for (index, word) in self.words.iter().enumerate() {
            let seen = word.load(Relaxed);
            if seen == 0 {
                continue;
            }
            let bit = seen & seen.wrapping_neg();
            update(word, |old| (old & bit != 0).then_some(old & !bit));
            // CAST: a map has fewer than 2^32 pages.
            let chunk = (index as u32) << 5 | bit.trailing_zeros();
            let start = chunk.saturating_mul(CHUNK_PAGES);
            let end = start.saturating_add(CHUNK_PAGES);
            return Some((PageIndex(start), PageIndex(end)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::heap::words;
    use super::*;

    #[test]
    fn dirty_chunks_are_found_once() {
        let chunks = DirtyChunks::new(words(words_for(100_000)));
        assert_eq!(chunks.take(), None);
        assert!(chunks.mark(PageIndex(99_999)));
        assert!(chunks.mark(PageIndex(5)));
        assert!(!chunks.mark(PageIndex(1023)));
        assert!(!chunks.mark(PageIndex(u32::MAX)), "past the end");
        assert_eq!(chunks.take(), Some((PageIndex(0), PageIndex(1024))));
        assert_eq!(chunks.take(), Some((PageIndex(99_328), PageIndex(100_352))));
        assert_eq!(chunks.take(), None);
    }

    #[test]
    fn all_chunks_are_marked_and_no_more() {
        for (pages, chunks) in [(1, 1), (1024, 1), (1025, 2), (32 * 1024, 32), (40_000, 40)] {
            let count = words_for(pages);
            let marked = DirtyChunks::new(words(count));
            marked.mark_all(pages);
            assert_eq!(marked.count(), chunks, "{pages} pages");
            marked.mark_all(pages);
            for _ in 0..chunks {
                let (first, _) = marked.take().unwrap();
                assert!((first.0 as usize) < pages);
            }
            assert_eq!(marked.take(), None);
        }
    }
}
