// SPDX-License-Identifier: GPL-2.0

//! Which parts of the map repair still has to check for one goal, now or later.

use super::super::dirty_chunks::DirtyChunks;
use super::super::ids::PageIndex;
use super::super::page_map::{Entry, PageMap};
use super::super::storage::Words;

/// How soon a page that could not be copied is tried again, if nothing changes.
const FIRST_RETRY_NS: u64 = 1_000_000_000;
/// The longest such wait: each time all waiting pages must be checked.
const LAST_RETRY_NS: u64 = 8_000_000_000;

/// Chunks to be checked: now, and later. The two swap roles.
pub(super) struct Backlog<W> {
    now: DirtyChunks<W>,
    later: DirtyChunks<W>,
    /// The chunk being checked: the next page, and one past the last.
    scan: Option<(PageIndex, PageIndex)>,
    retry_ns: u64,
    backoff_ns: u64,
}

impl<W: Words> Backlog<W> {
    /// Nothing to be checked. `words` are zeros.
    pub(super) fn new(words: [W; 2]) -> Self {
        let [now, later] = words.map(DirtyChunks::new);
        Self {
            now,
            later,
            scan: None,
            retry_ns: 0,
            backoff_ns: FIRST_RETRY_NS,
        }
    }

    /// Parts of the map to be checked, now or later.
    pub(super) fn count(&self) -> u64 {
        let marked = self.now.count().saturating_add(self.later.count());
        marked.saturating_add(u64::from(self.scan.is_some()))
    }

    /// Marks all pages of a map of `pages` pages.
    pub(super) fn mark_all(&mut self, pages: usize) {
        self.now.mark_all(pages);
    }

    /// Retries what had to wait.
    pub(super) fn retry(&mut self, now_ns: u64) {
        self.backoff_ns = FIRST_RETRY_NS;
        self.retry_ns = now_ns;
    }

    /// A page has been copied: others may follow.
    pub(super) fn note_progress(&mut self) {
        self.backoff_ns = FIRST_RETRY_NS;
    }

    /// When waiting pages are checked again.
    pub(super) fn retry_ns(&self) -> u64 {
        self.retry_ns
    }

    /// Checks the page again later.
    pub(super) fn put_off(&mut self, page: PageIndex) {
        self.later.mark(page);
    }

    /// Checks the page again soon.
    pub(super) fn put_back(&mut self, page: PageIndex) {
        self.now.mark(page);
    }

    /// The next page to be checked, and its entry. Chunks in `fresh` come first. `budget` limits
    /// the pages; when it reaches 0 there may be more.
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

    /// The next part of the map to be checked.
    fn next_chunk(
        &mut self,
        now_ns: u64,
        fresh: Option<&DirtyChunks<W>>,
    ) -> Option<(PageIndex, PageIndex)> {
        let fresh = fresh.and_then(DirtyChunks::take);
        if let Some(chunk) = fresh.or_else(|| self.now.take()) {
            return Some(chunk);
        }
        if now_ns < self.retry_ns {
            return None;
        }
        let chunk = self.later.take()?;
        core::mem::swap(&mut self.now, &mut self.later);
        self.retry_ns = now_ns.saturating_add(self.backoff_ns);
        self.backoff_ns = self.backoff_ns.saturating_mul(2).min(LAST_RETRY_NS);
        Some(chunk)
    }
}
