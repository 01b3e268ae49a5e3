// SPDX-License-Identifier: GPL-2.0

//! Which parts of the map repair has still to look at, for one kind of need: now, or when there is
//! hope again.

use super::super::free::DirtyChunks;
use super::super::ids::PageIndex;
use super::super::page_map::{Entry, PageMap};
use super::super::storage::Words;

/// How soon what could not be copied is tried again, if nothing changes.
const FIRST_RETRY_NS: u64 = 1_000_000_000;
/// And how late at the most: all that waits has to be looked at each time.
const LAST_RETRY_NS: u64 = 8_000_000_000;

/// Chunks to be looked at: now, and when it is worth it again. They take turns.
pub(super) struct Backlog<W> {
    chunks: [DirtyChunks<W>; 2],
    now: usize,
    /// What is being looked at: the next page, one past the last.
    scan: Option<(PageIndex, PageIndex)>,
    retry_ns: u64,
    backoff_ns: u64,
}

impl<W: Words> Backlog<W> {
    /// Nothing to be looked at. `words` are zeros.
    pub(super) fn new(words: [W; 2]) -> Self {
        Self {
            chunks: words.map(DirtyChunks::new),
            now: 0,
            scan: None,
            retry_ns: 0,
            backoff_ns: FIRST_RETRY_NS,
        }
    }

    /// Parts of the map that are to be looked at, now or later.
    pub(super) fn count(&self) -> u64 {
        let marked = self.chunks.iter().map(DirtyChunks::count).sum::<u64>();
        marked.saturating_add(u64::from(self.scan.is_some()))
    }

    /// Every page of a map of `pages` is to be looked at.
    pub(super) fn mark_all(&mut self, pages: usize) {
        if let Some(chunks) = self.chunks.get(self.now) {
            chunks.mark_all(pages);
        }
    }

    /// What had to wait is worth a look.
    pub(super) fn retry(&mut self, now_ns: u64) {
        self.backoff_ns = FIRST_RETRY_NS;
        self.retry_ns = now_ns;
    }

    /// A page of it has been copied: others may be soon.
    pub(super) fn note_progress(&mut self) {
        self.backoff_ns = FIRST_RETRY_NS;
    }

    /// When what waits is looked at again.
    pub(super) fn retry_ns(&self) -> u64 {
        self.retry_ns
    }

    /// The page is looked at again when there is hope.
    pub(super) fn put_off(&mut self, page: PageIndex) {
        if let Some(chunks) = self.chunks.get(self.now ^ 1) {
            chunks.mark(page);
        }
    }

    /// The page is looked at again soon.
    pub(super) fn put_back(&mut self, page: PageIndex) {
        if let Some(chunks) = self.chunks.get(self.now) {
            chunks.mark(page);
        }
    }

    /// The next page to be looked at, and its entry; what is in `fresh` comes first. `budget` says
    /// how many may be; when it is 0 there may be more.
    pub(super) fn next(
        &mut self,
        now_ns: u64,
        budget: &mut u32,
        fresh: Option<&DirtyChunks<W>>,
        map: &PageMap<W>,
    ) -> Option<(PageIndex, Entry)> {
        let (page, end) = match self.scan {
            Some(scan) => scan,
            None => self.next_chunk(now_ns, fresh)?,
        };
        let Some(left) = budget.checked_sub(1) else {
            self.scan = Some((page, end));
            return None;
        };
        *budget = left;
        let next = PageIndex(page.0.saturating_add(1));
        // CAST: a map has fewer than 2^32 pages.
        let is_last = next.0 >= end.0.min(map.len() as u32);
        self.scan = (!is_last).then_some((next, end));
        Some((page, map.load(page)))
    }

    /// The next part of the map to be looked at.
    fn next_chunk(
        &mut self,
        now_ns: u64,
        fresh: Option<&DirtyChunks<W>>,
    ) -> Option<(PageIndex, PageIndex)> {
        let first = PageIndex(0);
        if let Some(chunk) = fresh.and_then(|chunks| chunks.take(first)) {
            return Some(chunk);
        }
        if let Some(chunk) = self.chunks.get(self.now)?.take(first) {
            return Some(chunk);
        }
        if now_ns < self.retry_ns {
            return None;
        }
        let waiting = self.now ^ 1;
        let chunk = self.chunks.get(waiting)?.take(first)?;
        self.now = waiting;
        self.retry_ns = now_ns.saturating_add(self.backoff_ns);
        self.backoff_ns = self.backoff_ns.saturating_mul(2).min(LAST_RETRY_NS);
        Some(chunk)
    }
}
