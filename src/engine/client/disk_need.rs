// SPDX-License-Identifier: GPL-2.0

//! Whether any page needs the local disk that is being detached.

use core::ops::Range;

use super::ids::{PageIndex, SlotSet};
use super::page_map::{Entry, PageMap};
use super::server_table::ServerTable;
use super::storage::Words;

/// The rule for every page that the disk has. It is valid until a server is lost: create one for each part
/// of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskNeed {
    /// The servers whose copies count instead.
    others: SlotSet,
}

impl DiskNeed {
    /// The rule for the current state of the servers. A quiescing server does not count: it may not be needed
    /// only because of the disk.
    pub fn new(table: &ServerTable) -> Self {
        let others = table
            .valid()
            .without(table.lost())
            .without(table.quiescing());
        Self { others }
    }

    /// Pages that are being paged out do not count, because their old contents are obsolete.
    fn is_needed_by(&self, entry: Entry) -> bool {
        !mutated!(DetachedWithOnlyCopy)
            && entry.is_written()
            && !entry.is_busy()
            && entry.is_on_disk()
            && entry.replicas().intersection(self.others).is_empty()
    }

    /// How many of `pages` are on the disk and on no server that counts.
    pub fn count<W: Words>(&self, map: &PageMap<W>, pages: Range<u32>) -> u64 {
        let needing = pages
            .map(PageIndex)
            .filter(|&page| self.is_needed_by(map.load(page)));
        // CAST: a part of the map has fewer than 2^32 pages.
        needing.count() as u64
    }

    /// Clears the DISK bits of these pages. If some of them need the disk, changes nothing and returns their
    /// number. The caller created this under the cluster's lock, and still holds it, so that no server is
    /// lost in between.
    pub fn forget<W: Words>(&self, map: &PageMap<W>, pages: Range<u32>) -> Result<(), u64> {
        match self.count(map, pages.clone()) {
            0 => {
                forget(map, pages);
                Ok(())
            }
            needing => Err(needing),
        }
    }
}

/// Clears the DISK bits of these pages, even of those that need the disk.
pub fn forget<W: Words>(map: &PageMap<W>, pages: Range<u32>) {
    for page in pages.map(PageIndex) {
        map.forget_disk(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::bench::{map, slot, table};
    use crate::sync::Atomic;

    use std::vec::Vec;

    fn on_disk(map: &PageMap<Vec<Atomic<u32>>>) -> Vec<bool> {
        let pages = (0..map.len() as u32).map(PageIndex);
        pages.map(|page| map.load(page).is_on_disk()).collect()
    }

    #[test]
    fn a_server_that_restarts_between_two_parts_costs_the_disk_no_page() {
        let table = table(2);
        let map = map(&[0b01, 0b11, 0b10, 0b11], true);
        assert_eq!(DiskNeed::new(&table).count(&map, 0..4), 0);
        assert_eq!(DiskNeed::new(&table).forget(&map, 0..2), Ok(()));
        table.close(slot(1));
        assert_eq!(DiskNeed::new(&table).forget(&map, 2..4), Err(1));
        assert_eq!(on_disk(&map), [false, false, true, true]);
        assert_eq!(DiskNeed::new(&table).count(&map, 0..4), 1);
        // With force.
        forget(&map, 2..4);
        assert_eq!(on_disk(&map), [false; 4]);
    }

    #[test]
    fn a_copy_on_a_server_that_is_dead_or_quiescing_does_not_count() {
        let table = table(2);
        let map = map(&[0b01, 0b10], true);
        let count = || DiskNeed::new(&table).count(&map, 0..2);
        table.set_lost(slot(0), true);
        assert_eq!(count(), 1);
        table.set_draining(slot(1), true);
        assert_eq!(count(), 1);
        table.set_quiescing(slot(1), true);
        assert_eq!(count(), 2);
    }

    #[test]
    fn what_a_page_was_that_is_being_written_does_not_count() {
        let table = table(2);
        let map = map(&[0, 0], true);
        assert_eq!(DiskNeed::new(&table).count(&map, 0..2), 2);
        map.begin_write(PageIndex(0)).unwrap();
        assert_eq!(DiskNeed::new(&table).count(&map, 0..2), 1);
    }
}
