// SPDX-License-Identifier: GPL-2.0

//! The pages that repair is copying: a small table that page-outs check; and how others wait for the moment
//! in which a copy is entered in the map.
//!
//! A copy does not lock its page. Repair notes the copy here before it reads the page's map entry.
//! A page-out claims the page in the map, then cancels the copy here, and only then takes a
//! version. So either repair sees that the page is being written, or the page-out sees the copy. A
//! copy that was not cancelled when it took its version has a lower one than any later page-out.

use super::ids::{Generation, PageIndex};
use super::page_map::Entry;
use super::storage::Storage;
use super::swap_device::SwapDevice;
use crate::sync::{Acquire, Atomic, Full, NoPreemption, Relaxed};

/// The most copies under way.
pub const COPIES: usize = 16;

/// Set in a cell whose copy was cancelled. The bits below are the page's index plus one.
const CANCELLED: u64 = 1 << 63;

/// The bits of `commit` that name the page.
const COMMIT_PAGE: u64 = (1 << 33) - 1;

/// The table. Only repair begins and ends copies; any page-out may cancel them.
pub struct PagesInRepair {
    /// Number of copies. The fast path reads nothing else when there are none.
    count: Atomic<u32>,
    cells: [Atomic<u64>; COPIES],
    /// In the low bits, the page of which a copy is being entered in the map, encoded as in a cell without
    /// CANCELLED, or 0; in the high bits, how many copies have been entered.
    commit: Atomic<u64>,
}

/// Lives while a copy is entered in the map, a commit; see [`PagesInRepair::guard_commit`]. Dropped after the
/// page has been unlocked.
pub(super) struct CommitGuard<'a> {
    copies: &'a PagesInRepair,
    _undisturbed: NoPreemption,
}

impl Drop for CommitGuard<'_> {
    fn drop(&mut self) {
        let count = self.copies.commit.load(Relaxed) & !COMMIT_PAGE;
        self.copies.commit.xchg(count, Full);
    }
}

/// A result of [`PagesInRepair::commit_seq`]. If it has changed, a commit has begun or ended since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommitSeq(u64);

impl CommitSeq {
    /// Whether a commit of `page` was under way.
    pub(super) fn is_of(self, page: PageIndex) -> bool {
        self.0 & COMMIT_PAGE == cell_of(page)
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
            commit: Atomic::<u64>::new(0),
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
    pub(super) fn guard_commit(&self, page: PageIndex) -> CommitGuard<'_> {
        let undisturbed = NoPreemption::new();
        // Only repair writes it.
        let begun = (self.commit.load(Relaxed) & !COMMIT_PAGE).wrapping_add(COMMIT_PAGE + 1);
        self.commit.xchg(begun | cell_of(page), Full);
        CommitGuard {
            copies: self,
            _undisturbed: undisturbed,
        }
    }

    /// Which commit is under way, if one is, and how many there have been.
    pub(super) fn commit_seq(&self) -> CommitSeq {
        CommitSeq(self.commit.load(Acquire))
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

impl<S: Storage> SwapDevice<S> {
    /// The entry of `page`. If the page is locked only while a copy of it is entered in the map, waits for
    /// the end of that commit, which another CPU spends without being preempted.
    pub(super) fn load_settled(&self, page: PageIndex) -> Entry {
        loop {
            let seq = self.copies.commit_seq();
            let entry = self.map.load(page);
            // No copy was being entered when the entry was read, if none was before and none has
            // begun since.
            let is_committing = seq.is_of(page) || self.copies.commit_seq() != seq;
            if !entry.is_busy() || !is_committing {
                return entry;
            }
            core::hint::spin_loop();
        }
    }

    /// As [`mark_on_disk`](super::page_map::PageMap::mark_on_disk) of the map, but waits while a copy of the
    /// page is entered in the map. Otherwise the disk would hold the page without its bit in the map.
    pub(super) fn mark_on_disk(&self, page: PageIndex, generation: Generation) -> bool {
        while !self.map.mark_on_disk(page, generation) {
            let entry = self.load_settled(page);
            let is_it = entry.is_written() && entry.generation() == generation;
            if !is_it || entry.is_busy() {
                return false;
            }
        }
        let holders = self.map.load(page).replicas();
        if !self.is_replicated(holders, self.servers.counting()) {
            // Repair may have found no copy to copy from before.
            self.note_degraded(page);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::super::ids::SlotSet;
    use super::super::storage::heap::{words, Heap};
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
        let before = copies.commit_seq();
        let guard = copies.guard_commit(PageIndex(0));
        let seq = copies.commit_seq();
        assert!(seq.is_of(PageIndex(0)) && !seq.is_of(PageIndex(1)));
        drop(guard);
        assert!(!copies.commit_seq().is_of(PageIndex(0)));
        assert_ne!(copies.commit_seq(), before);
        copies.end(0);
        copies.end(0);
        assert!(!copies.contains(PageIndex(0)));
    }

    #[test]
    fn the_disk_is_noted_while_copies_are_entered_in_the_map() {
        const PAGE: PageIndex = PageIndex(1);
        let device = SwapDevice::<Heap>::new(words(4), Config::new(2, 1, 30).unwrap(), 1);
        let begun = device.map.begin_write(PAGE).unwrap();
        let version = device.take_version();
        let (none, generation) = (SlotSet::EMPTY, version.generation());
        device.map.finish_write(PAGE, begun, version, none, false);
        std::thread::scope(|scope| {
            let entering = scope.spawn(|| {
                for _ in 0..20_000 {
                    let _guard = device.copies.guard_commit(PAGE);
                    assert!(device.map.begin_commit(PAGE, generation).is_some());
                    device.map.end_commit(PAGE, none, false, none);
                }
            });
            while !entering.is_finished() {
                device.map.forget_disk(PAGE);
                assert!(device.mark_on_disk(PAGE, generation));
                assert!(device.map.load(PAGE).is_on_disk());
            }
        });
        // It does not wait for a page-out.
        device.map.begin_write(PAGE).unwrap();
        assert!(!device.mark_on_disk(PAGE, generation));
    }

    /// What waits for a copy to be entered may be more urgent than what enters it, and run on the same CPU.
    /// If it could preempt that, neither would go on until the kernel takes the CPU from the urgent one. In
    /// the kernel this test would take minutes then, and no longer end in time.
    #[test]
    fn a_copy_is_entered_before_anything_more_urgent_runs() {
        #[cfg(MODULE)]
        use std::thread::run_on_first_cpu;
        #[cfg(not(MODULE))]
        fn run_on_first_cpu(_is_urgent: bool) {}

        const PAGE: PageIndex = PageIndex(1);
        const WAITS: u32 = 2000;
        let device = SwapDevice::<Heap>::new(words(4), Config::new(2, 1, 30).unwrap(), 1);
        let begun = device.map.begin_write(PAGE).unwrap();
        let version = device.take_version();
        let (none, generation) = (SlotSet::EMPTY, version.generation());
        device.map.finish_write(PAGE, begun, version, none, false);
        let waits = Atomic::<u32>::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                run_on_first_cpu(false);
                while waits.load(Acquire) < WAITS {
                    let _guard = device.copies.guard_commit(PAGE);
                    assert!(device.map.begin_commit(PAGE, generation).is_some());
                    device.map.end_commit(PAGE, none, false, none);
                }
            });
            scope.spawn(|| {
                run_on_first_cpu(true);
                for _ in 0..WAITS {
                    std::thread::sleep(core::time::Duration::from_micros(20));
                    device.map.forget_disk(PAGE);
                    assert!(device.mark_on_disk(PAGE, generation));
                    waits.fetch_add(1, Full);
                }
            });
        });
    }
}
