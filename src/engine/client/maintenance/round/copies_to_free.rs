// SPDX-License-Identifier: GPL-2.0

//! Copies to be freed, on their way to the cluster: those that shards pass on, and those of freed pages,
//! for which the map is searched. The cluster takes them while it has room.

use super::super::super::dirty_chunks::DirtyChunks;
use super::super::super::ids::{PageIndex, Version};
use super::super::super::page_map::PageMap;
use super::super::super::shard::Shard;
use super::super::super::stale_copy::StaleCopy;
use super::super::super::storage::{Storage, Words};
use super::super::super::swap_device::SwapDevice;

/// Parts of the map, of 1024 pages each, that are searched for freed pages in one round.
const CHUNKS: u32 = 256;
/// Copies to be freed that shards pass on at a time.
pub(super) const BATCH: usize = 32;

/// Copies to be freed that the cluster has not taken yet, and where the search for more continues.
#[derive(Default)]
pub(super) struct CopiesToFree {
    waiting: [StaleCopy; BATCH],
    len: usize,
    /// The position of the search for freed pages: the next page, and one past the last.
    scan: Option<(PageIndex, PageIndex)>,
    /// Pages that it has found and no shard has counted yet.
    pub(super) found: u64,
}

impl CopiesToFree {
    /// Takes a shard's copies while there is room.
    pub(super) fn take_from<S: Storage>(&mut self, shard: &mut Shard<S>) {
        while let Some(place) = self.waiting.get_mut(self.len) {
            let Some(copy) = shard.take_stale() else {
                break;
            };
            *place = copy;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Passes the copies that wait to `free`, until that returns false for lack of room. Returns how many
    /// there were if it has taken all.
    pub(super) fn pass_on(&mut self, mut free: impl FnMut(&StaleCopy) -> bool) -> Option<usize> {
        let copies = self.waiting.get(..self.len).unwrap_or(&[]);
        let refused = copies.iter().position(|copy| !free(copy));
        let taken = refused.unwrap_or(copies.len());
        // PANIC: never; at most as many were taken as there is room for.
        self.waiting.rotate_left(taken);
        self.len = self.len.saturating_sub(taken);
        refused.is_none().then_some(taken)
    }

    /// Searches the map for freed pages and passes them to `free` while that has room. Returns whether all
    /// have been found. No copy waits.
    pub(super) fn search<S: Storage>(
        &mut self,
        device: &SwapDevice<S>,
        chunks: &DirtyChunks<S::Words>,
        mut free: impl FnMut(&StaleCopy) -> bool,
    ) -> bool {
        let mut chunks_left = CHUNKS;
        loop {
            let (mut next, end) = match self.scan.take() {
                Some(scan) => scan,
                None if chunks_left == 0 => return false,
                None => match chunks.take() {
                    Some(chunk) => chunk,
                    None => return true,
                },
            };
            let found = next_free(&device.map, &mut next, end, || device.take_version());
            let Some(copy) = found else {
                chunks_left = chunks_left.saturating_sub(1);
                continue;
            };
            self.scan = Some((next, end));
            self.found = self.found.saturating_add(1);
            if !free(&copy) {
                if let Some(place) = self.waiting.first_mut() {
                    (*place, self.len) = (copy, 1);
                }
                return false;
            }
        }
    }
}

/// Searches a dirty chunk of `map` for freed pages, from `*next` to `end`. `take_version` returns a
/// version above all that were given out. `None` at the end of the chunk.
pub fn next_free<W: Words>(
    map: &PageMap<W>,
    next: &mut PageIndex,
    end: PageIndex,
    mut take_version: impl FnMut() -> Version,
) -> Option<StaleCopy> {
    while next.0 < end.0 {
        let page = *next;
        next.0 = next.0.saturating_add(1);
        if let Some((slots, below)) = map.take_free(page, &mut take_version) {
            if !slots.is_empty() {
                return Some(StaleCopy { page, slots, below });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::super::super::ids::SlotSet;
    use super::super::super::super::storage::heap::words;
    use super::*;

    #[test]
    fn freed_pages_are_taken_and_others_left() {
        let map = PageMap::new(words(1024));
        for page in [3, 4, 5] {
            let begun = map.begin_write(PageIndex(page)).unwrap();
            map.finish_write(
                PageIndex(page),
                begun,
                Version(7),
                SlotSet::from_bits(1 << page),
                false,
            );
        }
        map.set_free_pending(PageIndex(3));
        map.set_free_pending(PageIndex(5));
        map.begin_write(PageIndex(5)).unwrap();
        let (mut next, end) = (PageIndex(0), PageIndex(1024));
        let found = next_free(&map, &mut next, end, || Version(8)).unwrap();
        assert_eq!(found.page, PageIndex(3));
        assert_eq!(found.slots, SlotSet::from_bits(1 << 3));
        assert_eq!(next_free(&map, &mut next, end, || Version(9)), None);
        assert!(map.load(PageIndex(4)).is_written());
        assert!(map.load(PageIndex(5)).is_free_pending());
    }
}
