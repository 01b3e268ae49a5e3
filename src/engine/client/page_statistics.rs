// SPDX-License-Identifier: GPL-2.0

//! How many pages there are and how many copies they have: a count over the whole map, for status
//! output.

use super::ids::{PageIndex, SlotSet, SERVER_SLOTS};
use super::page_map::{Entry, PageMap};
use super::storage::Words;

/// Numbers of pages. They are not a snapshot: pages are written while they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageStatistics {
    /// Pages that have contents.
    pub written: u64,
    /// Written pages whose newest version is on fewer servers than wanted.
    pub degraded: u64,
    /// Written pages of which every copy is lost.
    pub lost: u64,
    /// Written pages whose newest version is on the local disk.
    pub on_disk: u64,
    /// Pages whose newest version is on each server.
    pub held: [u64; SERVER_SLOTS],
}

/// The criteria of the count.
#[derive(Clone, Copy, Debug)]
pub struct Standard {
    /// Servers that may still hold what they were sent.
    pub valid: SlotSet,
    /// Servers whose copies count.
    pub counting: SlotSet,
    /// Copies wanted of a page.
    pub replicas: usize,
    /// Whether there is a local disk.
    pub disk: bool,
}

impl PageStatistics {
    /// Counts the pages from `first` to before `end`.
    pub fn take<W: Words>(&mut self, map: &PageMap<W>, first: u32, end: u32, standard: &Standard) {
        for page in first..end {
            self.count(map.load(PageIndex(page)), standard);
        }
    }

    fn count(&mut self, entry: Entry, standard: &Standard) {
        if !entry.is_written() {
            return;
        }
        let holders = entry.replicas().intersection(standard.valid);
        let counting = holders.intersection(standard.counting).len();
        let add = |count: &mut u64, is_one: bool| *count = count.wrapping_add(u64::from(is_one));
        add(&mut self.written, true);
        let on_disk = standard.disk && entry.is_on_disk();
        add(&mut self.on_disk, on_disk);
        // A server that is being written to is not a holder meanwhile.
        if !entry.is_busy() {
            add(&mut self.degraded, counting < standard.replicas);
            add(&mut self.lost, holders.is_empty() && !on_disk);
        }
        for slot in holders.iter() {
            if let Some(held) = self.held.get_mut(slot.index()) {
                add(held, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::heap::words;
    use super::*;
    use crate::engine::client::ids::Version;

    #[test]
    fn pages_are_counted_by_how_they_are_kept() {
        let map = PageMap::new(words(6));
        for (page, replicas) in [
            (0, 0b0011),
            (1, 0b0001),
            (2, 0b1000),
            (4, 0b0110),
            (5, 0b0011),
        ] {
            let page = PageIndex(page);
            let begun = map.begin_write(page).unwrap();
            map.finish_write(page, begun, Version(1), SlotSet::from_bits(replicas), false);
        }
        map.set_free_pending(PageIndex(5));
        let standard = Standard {
            valid: SlotSet::from_bits(0b0111),
            counting: SlotSet::from_bits(0b0011),
            replicas: 2,
            disk: false,
        };
        let mut statistics = PageStatistics::default();
        statistics.take(&map, 0, 2, &standard);
        statistics.take(&map, 2, 6, &standard);
        assert_eq!(
            (statistics.written, statistics.degraded, statistics.lost),
            (4, 3, 1)
        );
        assert_eq!(statistics.on_disk, 0);
        assert_eq!(statistics.held[..4], [2, 2, 1, 0]);
    }
}
