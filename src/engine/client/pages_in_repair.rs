// SPDX-License-Identifier: GPL-2.0

//! The pages that repair is copying: a small table that page-outs check.
//!
//! A copy does not lock its page. Repair notes the copy here before it reads the page's map entry.
//! A page-out claims the page in the map, then cancels the copy here, and only then takes a
//! version. So either repair sees that the page is being written, or the page-out sees the copy. A
//! copy that was not cancelled when it took its version has a lower one than any later page-out.

use super::ids::PageIndex;
use crate::sync::{Acquire, Atomic, Full, NoPreemption, Relaxed};

/// The most copies under way.
pub const COPIES: usize = 16;

/// Set in a cell whose copy was cancelled. The bits below are the page's index plus one.
const CANCELLED: u64 = 1 << 63;

/// The bits of `entering` that name the page.
const MOMENT_PAGE: u64 = (1 << 33) - 1;

/// The table. Only repair begins and ends copies; any page-out may cancel them.
pub struct PagesInRepair {
    /// Number of copies. The fast path reads nothing else when there are none.
    count: Atomic<u32>,
    cells: [Atomic<u64>; COPIES],
    /// In the low bits, the page of which a copy is being entered in the map, encoded as in a cell without
    /// CANCELLED, or 0; in the high bits, how many copies have been entered.
    entering: Atomic<u64>,
}

/// The moment in which a copy is entered in the map; see [`PagesInRepair::enter`]. Dropped after the page
/// has been unlocked.
pub(super) struct Entering<'a> {
    copies: &'a PagesInRepair,
    _undisturbed: NoPreemption,
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        let moments = self.copies.entering.load(Relaxed) & !MOMENT_PAGE;
        self.copies.entering.xchg(moments, Full);
    }
}

/// A result of [`PagesInRepair::moment`]. If it has changed, a moment has begun or ended since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Moment {
    /// Whether it is a moment of `page`.
    pub(super) fn is_of(self, page: PageIndex) -> bool {
        self.0 & MOMENT_PAGE == cell_of(page)
    }
}

fn cell_of(page: PageIndex) -> u64 {
    u64::from(page.0).wrapping_add(1)
}

impl Default for PagesInRepair {
    /// No copies.
    fn default() -> Self {
        Self {
            count: Atomic::<u32>::new(0),
            cells: [const { Atomic::<u64>::new(0) }; COPIES],
            entering: Atomic::<u64>::new(0),
        }
    }
}

impl PagesInRepair {
    /// Copy number `index` is of `page` from now on. The caller reads the page's map entry afterwards.
    pub(super) fn begin(&self, index: usize, page: PageIndex) {
        if let Some(cell) = self.cells.get(index) {
            cell.xchg(cell_of(page), Full);
            self.count.fetch_add(1, Full);
        }
    }

    /// Copy number `index` has ended, and its page's entry is final.
    pub(super) fn end(&self, index: usize) {
        if let Some(cell) = self.cells.get(index) {
            if cell.xchg(0, Full) != 0 {
                self.count.fetch_sub(1, Full);
            }
        }
    }

    /// Whether a page-out of its page has begun since copy number `index` began.
    pub(super) fn is_cancelled(&self, index: usize) -> bool {
        self.cells
            .get(index)
            .is_none_or(|cell| cell.load(Acquire) & CANCELLED != 0)
    }

    /// A page-out of `page` begins. It has claimed the page, and has no version yet.
    pub(super) fn cancel(&self, page: PageIndex) {
        if self.count.load(Acquire) == 0 {
            return;
        }
        let wanted = cell_of(page);
        for cell in &self.cells {
            if cell.load(Acquire) == wanted {
                // The copy may have ended meanwhile, and another begun.
                let _ = cell.cmpxchg(wanted, wanted | CANCELLED, Full);
            }
        }
    }

    /// While the result lives, the page's lock in the map is held for a moment only: the caller is
    /// not preempted, does not wait, takes no lock, and accesses no other page.
    pub(super) fn enter(&self, page: PageIndex) -> Entering<'_> {
        let undisturbed = NoPreemption::new();
        // Only repair writes it.
        let begun = (self.entering.load(Relaxed) & !MOMENT_PAGE).wrapping_add(MOMENT_PAGE + 1);
        self.entering.xchg(begun | cell_of(page), Full);
        Entering {
            copies: self,
            _undisturbed: undisturbed,
        }
    }

    /// The current moment.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.entering.load(Acquire))
    }

    /// Whether `page` is being copied, cancelled or not.
    pub fn contains(&self, page: PageIndex) -> bool {
        self.count.load(Acquire) != 0
            && self
                .cells
                .iter()
                .any(|cell| cell.load(Acquire) & !CANCELLED == cell_of(page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_out_cancels_the_copy_of_its_page_only() {
        let copies = PagesInRepair::default();
        copies.begin(0, PageIndex(0));
        copies.begin(3, PageIndex(7));
        copies.cancel(PageIndex(7));
        copies.cancel(PageIndex(8));
        assert!(copies.is_cancelled(3));
        assert!(!copies.is_cancelled(0));
        assert!(copies.contains(PageIndex(7)) && copies.contains(PageIndex(0)));
        copies.end(3);
        assert!(!copies.contains(PageIndex(7)));
        copies.begin(3, PageIndex(8));
        assert!(!copies.is_cancelled(3));
        copies.end(3);
        let before = copies.moment();
        let entering = copies.enter(PageIndex(0));
        let moment = copies.moment();
        assert!(moment.is_of(PageIndex(0)) && !moment.is_of(PageIndex(1)));
        drop(entering);
        assert!(!copies.moment().is_of(PageIndex(0)));
        assert_ne!(copies.moment(), before);
        copies.end(0);
        copies.end(0);
        assert!(!copies.contains(PageIndex(0)));
    }
}
