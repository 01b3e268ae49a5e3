// SPDX-License-Identifier: GPL-2.0

//! The rule whether the local disk may be detached: whether any page needs it.

use core::ops::Range;

use super::super::ids::{PageIndex, SlotSet};
use super::super::page_map::{Entry, PageMap};
use super::super::server_table::ServerTable;
use super::super::storage::{Storage, Words};
use super::super::swap_device::SwapDevice;

/// The rule for every page that the disk has. If it is still the same after the whole map has been counted,
/// the count is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskNeed {
    /// The servers whose copies count instead.
    others: SlotSet,
    /// [`ServerTable::changes_against`], read before `others` was determined.
    changes: u32,
}

impl DiskNeed {
    /// The rule in the current state of the servers, if only copies on `slots` count. A quiescing server does
    /// not count: it may not be needed only because of the disk.
    pub fn new(table: &ServerTable, slots: SlotSet) -> Self {
        let changes = table.changes_against();
        let others = table
            .valid()
            .without(table.lost())
            .without(table.quiescing())
            .intersection(slots);
        Self { others, changes }
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
    pub fn count<S: Storage>(&self, device: &SwapDevice<S>, pages: Range<u32>) -> u64 {
        let needing = pages
            .map(PageIndex)
            .filter(|&page| self.is_needed_by(device.load_settled(page)));
        // CAST: a part of the map has fewer than 2^32 pages.
        needing.count() as u64
    }
}

/// Clears the DISK bits of these pages, also of those that need the disk.
pub fn forget<W: Words>(map: &PageMap<W>, pages: Range<u32>) {
    for page in pages.map(PageIndex) {
        map.forget_disk(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::bench::{map, slot, table};
    use crate::engine::client::config::Config;
    use crate::engine::client::storage::heap::{words, Heap};

    use std::vec::Vec;

    /// A device whose pages are on the disk, and on these servers.
    fn device(pages: &[u32]) -> SwapDevice<Heap> {
        let mut device = SwapDevice::new(words(0), Config::new(2, 1, 30).unwrap(), 1);
        device.map = map(pages, true);
        device
    }

    fn on_disk(device: &SwapDevice<Heap>) -> Vec<bool> {
        let pages = (0..device.map.len() as u32).map(PageIndex);
        pages
            .map(|page| device.map.load(page).is_on_disk())
            .collect()
    }

    #[test]
    fn a_count_is_valid_until_a_server_or_a_copy_is_lost() {
        let table = table(2);
        let device = device(&[0b01, 0b11, 0b10]);
        let need = |slots: u32| DiskNeed::new(&table, SlotSet::from_bits(slots));
        let before = need(0b11);
        assert_eq!(before.count(&device, 0..3), 0);
        assert_eq!(need(0b10).count(&device, 0..3), 1);
        assert_eq!(need(0b11), before);
        table.note_missing(slot(0));
        assert_ne!(need(0b11), before);
        let before = need(0b11);
        table.set_lost(slot(1), true);
        table.set_lost(slot(1), false);
        assert_ne!(need(0b11), before);
        let before = need(0b11);
        table.close(slot(1));
        assert_ne!(need(0b11), before);
        assert_eq!(need(0b11).count(&device, 0..3), 1);
        forget(&device.map, 1..3);
        assert_eq!(on_disk(&device), [true, false, false]);
    }

    #[test]
    fn a_copy_on_a_server_that_is_dead_or_quiescing_does_not_count() {
        let table = table(2);
        let device = device(&[0b01, 0b10]);
        let count = || DiskNeed::new(&table, SlotSet::ALL).count(&device, 0..2);
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
        let device = device(&[0, 0]);
        assert_eq!(DiskNeed::new(&table, SlotSet::ALL).count(&device, 0..2), 2);
        device.map.begin_write(PageIndex(0)).unwrap();
        assert_eq!(DiskNeed::new(&table, SlotSet::ALL).count(&device, 0..2), 1);
    }

    #[test]
    fn a_page_that_is_locked_while_a_copy_is_entered_counts() {
        let (table, device) = (table(1), device(&[0]));
        let page = PageIndex(0);
        let (generation, none) = (device.map.load(page).generation(), SlotSet::EMPTY);
        let need = DiskNeed::new(&table, SlotSet::ALL);
        std::thread::scope(|scope| {
            let entering = scope.spawn(|| {
                for _ in 0..20_000 {
                    let _guard = device.copies.guard_commit(page);
                    assert!(device.map.begin_commit(page, generation).is_some());
                    // A page-out has cancelled the copy, and has failed.
                    device.map.end_commit(page, none, false, none);
                }
            });
            while !entering.is_finished() {
                assert_eq!(need.count(&device, 0..1), 1);
            }
        });
    }
}
