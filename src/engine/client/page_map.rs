// SPDX-License-Identifier: GPL-2.0

//! Where the newest version of each page is: 4 bytes a page.
//!
//! Entries change by compare-and-exchange only. `BUSY` is a page's lock: only the op that set it
//! gives the page a new version, and clears it at the end. Meanwhile others may clear replica bits
//! and set FREE_PENDING.

use super::ids::{Generation, PageIndex, SlotSet, Version, SERVER_SLOTS};
use super::storage::Words;
use crate::sync::{update, Acquire, Atomic, Full};

/// The map's entry of one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry(u32);

const _: () = assert!(core::mem::size_of::<Atomic<u32>>() == 4);

impl Entry {
    /// The page has been written, and not freed since.
    const WRITTEN: u32 = 1 << SERVER_SLOTS;
    /// The newest version is on the local disk.
    const DISK: u32 = 1 << 21;
    /// A page-out is under way, or the copy of repair is being entered.
    const BUSY: u32 = 1 << 22;
    /// The page is free, and servers have not been notified.
    const FREE_PENDING: u32 = 1 << 23;
    const GENERATION_SHIFT: u32 = 24;

    /// Servers that hold the newest version.
    pub fn replicas(self) -> SlotSet {
        SlotSet::from_bits(self.0)
    }

    /// Whether the page has contents: it was written, and not freed since.
    pub fn is_written(self) -> bool {
        self.0 & Self::WRITTEN != 0 && self.0 & Self::FREE_PENDING == 0
    }

    /// Whether a page-out or a background copy is under way.
    pub fn is_busy(self) -> bool {
        self.0 & Self::BUSY != 0
    }

    /// Whether the page is free and servers have not been notified.
    pub fn is_free_pending(self) -> bool {
        self.0 & Self::FREE_PENDING != 0
    }

    /// Whether the newest version is on the local disk.
    pub fn is_on_disk(self) -> bool {
        self.0 & Self::DISK != 0
    }

    /// The low bits of the newest version.
    pub fn generation(self) -> Generation {
        // CAST: the shift leaves 8 bits.
        Generation((self.0 >> Self::GENERATION_SHIFT) as u8)
    }

    fn without_replicas(self, slots: SlotSet) -> Self {
        Self(self.0 & !slots.bits())
    }
}

/// The map of a device: one entry a page, in storage of the caller.
pub struct PageMap<S> {
    entries: S,
}

impl<S: Words> PageMap<S> {
    /// A map over `entries`, which are all zero: no page written.
    pub fn new(entries: S) -> Self {
        Self { entries }
    }

    /// Number of pages.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no page.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn cell(&self, page: PageIndex) -> Option<&Atomic<u32>> {
        self.entries.get(page.0 as usize)
    }

    /// The entry of `page`; a page past the end was never written.
    pub fn load(&self, page: PageIndex) -> Entry {
        Entry(self.cell(page).map_or(0, |cell| cell.load(Acquire)))
    }

    /// Replaces an entry by the result of `change`, unless that is `None`. Returns the old entry.
    fn update(
        &self,
        page: PageIndex,
        mut change: impl FnMut(Entry) -> Option<Entry>,
    ) -> Option<Entry> {
        update(self.cell(page)?, |old| Some(change(Entry(old))?.0)).map(Entry)
    }

    /// Takes the page's lock for a page-out. Returns the old entry; `None` if another op is writing the
    /// page. The caller must clear a server's bit with [`Self::forget`] before it sends to that server.
    pub fn begin_write(&self, page: PageIndex) -> Option<Entry> {
        self.update(page, |entry| {
            (!entry.is_busy()).then_some(Entry(entry.0 | Entry::BUSY))
        })
    }

    /// `slots` no longer count as holders of the page.
    pub fn forget(&self, page: PageIndex, slots: SlotSet) {
        self.update(page, |entry| {
            (!entry.replicas().intersection(slots).is_empty())
                .then(|| entry.without_replicas(slots))
        });
    }

    /// The local disk may no longer hold the newest version.
    pub fn forget_disk(&self, page: PageIndex) {
        self.update(page, |entry| {
            entry.is_on_disk().then_some(Entry(entry.0 & !Entry::DISK))
        });
    }

    /// The local disk holds the version with this generation, and has held no other since that one
    /// was the newest. Returns whether it still is and the page is not being written.
    pub fn mark_on_disk(&self, page: PageIndex, generation: Generation) -> bool {
        self.update(page, |entry| {
            let is_generation = entry.generation() == generation || mutated!(DiskBitByOlderWrite);
            let is_it = entry.is_written() && !entry.is_busy() && is_generation;
            is_it.then_some(Entry(entry.0 | Entry::DISK))
        })
        .is_some()
    }

    /// The page-out is complete: only `replicas`, and the local disk if `on_disk`, hold the newest
    /// version. A page freed before the page-out began is no longer free. Returns whether it was
    /// freed meanwhile. Then the caller must [`Self::take_free`] it, because the search for freed
    /// pages has skipped it.
    pub fn finish_write(
        &self,
        page: PageIndex,
        begun: Entry,
        version: Version,
        replicas: SlotSet,
        on_disk: bool,
    ) -> bool {
        let before = self.update(page, |entry| {
            // A page freed while it was written stays freed; one freed before does not.
            let freed = if begun.is_free_pending() {
                0
            } else {
                entry.0 & Entry::FREE_PENDING
            };
            let generation = u32::from(version.generation().0) << Entry::GENERATION_SHIFT;
            let replicas = match mutated!(StaleReplicaKept) {
                true => replicas.union(begun.replicas()),
                false => replicas,
            };
            let disk = if on_disk { Entry::DISK } else { 0 };
            Some(Entry(
                generation | Entry::WRITTEN | freed | disk | replicas.bits(),
            ))
        });
        !begun.is_free_pending() && before.is_some_and(Entry::is_free_pending)
    }

    /// The page-out has failed. What is left of the older version stays. Returns whether the page
    /// is free, as for [`Self::finish_write`].
    pub fn abandon_write(&self, page: PageIndex) -> bool {
        self.update(page, |entry| Some(Entry(entry.0 & !Entry::BUSY)))
            .is_some_and(Entry::is_free_pending)
    }

    /// Takes the page's lock for the moment in which a background copy becomes a replica. Returns
    /// the old entry; `None` if the page is being written, is free, or has another generation.
    pub(super) fn begin_commit(&self, page: PageIndex, generation: Generation) -> Option<Entry> {
        self.update(page, |entry| {
            let fits = entry.is_written() && !entry.is_busy() && entry.generation() == generation;
            fits.then_some(Entry(entry.0 | Entry::BUSY))
        })
    }

    /// Ends [`Self::begin_commit`]: adds the replicas `add`, and the local disk if `now_on_disk`, and drops
    /// the replicas `remove`. Returns whether the page is free, as for [`Self::finish_write`].
    pub(super) fn end_commit(
        &self,
        page: PageIndex,
        add: SlotSet,
        now_on_disk: bool,
        remove: SlotSet,
    ) -> bool {
        let disk = if now_on_disk { Entry::DISK } else { 0 };
        self.update(page, |entry| {
            let kept = entry.without_replicas(remove);
            Some(Entry((kept.0 | add.bits() | disk) & !Entry::BUSY))
        })
        .is_some_and(Entry::is_free_pending)
    }

    /// Removes `slots`, which do not hold the page or need not keep it. Fails if the entry is no
    /// longer `entry`, as returned by [`Self::load`], or is busy. Returns whether it succeeded.
    pub(super) fn drop_replicas(&self, page: PageIndex, entry: Entry, slots: SlotSet) -> bool {
        !entry.is_busy()
            && self.cell(page).is_some_and(|cell| {
                let fewer = entry.without_replicas(slots);
                cell.cmpxchg(entry.0, fewer.0, Full).is_ok()
            })
    }

    /// Frees the page's contents. Returns whether there were any.
    pub fn set_free_pending(&self, page: PageIndex) -> bool {
        self.update(page, |entry| {
            let wanted = entry.0 & (Entry::WRITTEN | Entry::BUSY) != 0 && !entry.is_free_pending();
            wanted.then_some(Entry(entry.0 | Entry::FREE_PENDING))
        })
        .is_some()
    }

    /// Makes a page that is free and not being written one that was never written. Returns the
    /// servers that may hold it, and a version above theirs: `take_version` returns one above all
    /// that were given out.
    pub fn take_free(
        &self,
        page: PageIndex,
        mut take_version: impl FnMut() -> Version,
    ) -> Option<(SlotSet, Version)> {
        let is_free = |entry: Entry| entry.is_free_pending() && !entry.is_busy();
        let cell = self.cell(page)?;
        while is_free(Entry(cell.load(Acquire))) {
            // Taken before the entry is changed, so that a later page-out has a higher one.
            let below = take_version();
            let entry = Entry(cell.load(Acquire));
            // If the exchange fails, a bit of the entry may have been cleared: try again, because
            // no other caller will.
            if is_free(entry) && cell.cmpxchg(entry.0, 0, Full).is_ok() {
                return Some((entry.replicas(), below));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::ids::ServerSlot;

    use std::vec::Vec;

    fn map(pages: usize) -> PageMap<Vec<Atomic<u32>>> {
        PageMap::new((0..pages).map(|_| Atomic::<u32>::new(0)).collect())
    }

    fn slots(numbers: &[usize]) -> SlotSet {
        let mut set = SlotSet::EMPTY;
        for &number in numbers {
            set.insert(ServerSlot::new(number).unwrap());
        }
        set
    }

    const PAGE: PageIndex = PageIndex(3);

    #[test]
    fn a_page_is_written_by_one_at_a_time() {
        let map = map(8);
        assert!(!map.load(PAGE).is_written());
        let begun = map.begin_write(PAGE).unwrap();
        assert_eq!(map.begin_write(PAGE), None);
        map.finish_write(PAGE, begun, Version(0x1234), slots(&[0, 19]), false);
        let entry = map.load(PAGE);
        assert!(entry.is_written() && !entry.is_busy());
        assert_eq!(entry.replicas(), slots(&[0, 19]));
        assert_eq!(entry.generation(), Generation(0x34));
        assert!(map.begin_write(PAGE).is_some());
    }

    #[test]
    fn a_failed_write_leaves_servers_not_written_to() {
        let map = map(8);
        let begun = map.begin_write(PAGE).unwrap();
        map.finish_write(PAGE, begun, Version(7), slots(&[1, 2]), false);
        map.begin_write(PAGE).unwrap();
        map.forget(PAGE, slots(&[2, 5]));
        map.abandon_write(PAGE);
        let entry = map.load(PAGE);
        assert_eq!(entry.replicas(), slots(&[1]));
        assert_eq!(entry.generation(), Generation(7));
        assert!(entry.is_written());
    }

    #[test]
    fn freeing_and_writing_in_every_order() {
        let map = map(8);
        assert!(!map.set_free_pending(PAGE), "never written");
        let begun = map.begin_write(PAGE).unwrap();
        map.finish_write(PAGE, begun, Version(1), slots(&[0]), false);
        assert!(map.set_free_pending(PAGE));
        assert!(!map.load(PAGE).is_written());

        // Written again before servers were notified.
        let begun = map.begin_write(PAGE).unwrap();
        assert_eq!(map.take_free(PAGE, || Version(3)), None, "being written");
        assert!(!map.finish_write(PAGE, begun, Version(2), slots(&[0]), false));
        assert!(map.load(PAGE).is_written());

        // Freed while it is being written.
        let begun = map.begin_write(PAGE).unwrap();
        assert!(map.set_free_pending(PAGE));
        assert!(map.finish_write(PAGE, begun, Version(3), slots(&[4]), false));
        assert!(!map.load(PAGE).is_written());
        assert_eq!(
            map.take_free(PAGE, || Version(4)),
            Some((slots(&[4]), Version(4)))
        );
        assert_eq!(map.load(PAGE), Entry::default());
        assert_eq!(map.take_free(PAGE, || Version(5)), None, "taken");
    }

    #[test]
    fn a_page_that_changes_while_it_is_freed_is_freed() {
        let map = map(8);
        let begun = map.begin_write(PAGE).unwrap();
        map.finish_write(PAGE, begun, Version(1), slots(&[0, 4]), false);
        map.set_free_pending(PAGE);
        // A slot is swept at that moment.
        let mut version = 1;
        let freed = map.take_free(PAGE, || {
            map.forget(PAGE, slots(&[0]));
            version += 1;
            Version(version)
        });
        assert_eq!(freed, Some((slots(&[4]), Version(version))));
        // It is written at that moment, so it is no longer free.
        map.set_free_pending(PAGE);
        let begun = map.begin_write(PAGE).unwrap();
        map.finish_write(PAGE, begun, Version(7), slots(&[1]), false);
        map.set_free_pending(PAGE);
        let freed = map.take_free(PAGE, || {
            let _ = map.begin_write(PAGE);
            Version(8)
        });
        assert_eq!(freed, None);
        assert!(map.load(PAGE).is_busy());
    }

    #[test]
    fn pages_past_the_end_change_nothing() {
        let map = map(1);
        assert_eq!(map.begin_write(PageIndex(1)), None);
        assert!(!map.set_free_pending(PageIndex(u32::MAX)));
        assert!(!map.load(PageIndex(9)).is_written());
    }
}
