// SPDX-License-Identifier: GPL-2.0

//! Enters copies in the map, and removes them.

use super::super::ids::{PageIndex, ServerSlot, SlotSet, Version};
use super::super::page_map::Entry;
use super::super::shard::{CopyOut, Shard};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::Repair;

impl<S: Storage> Repair<S> {
    /// The page has enough copies without those of `slots`.
    pub(super) fn drop_copies(
        &mut self,
        page: PageIndex,
        entry: Entry,
        slots: SlotSet,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) {
        // Taken before the entry is changed, so that a later page-out has a higher one.
        let below = device.take_version();
        if device.map.drop_replicas(page, entry, slots) {
            self.forget_copies(page, slots, below, shard, device);
        }
    }

    /// The map no longer names `slots` as holders of versions of the page below `below`.
    fn forget_copies(
        &mut self,
        page: PageIndex,
        slots: SlotSet,
        below: Version,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) {
        // CAST: at most the number of slots.
        let count = slots.len() as u64;
        self.counters.copies_dropped = self.counters.copies_dropped.wrapping_add(count);
        // A suspected server is asked for its inventory when it returns.
        shard.note_stale_copy(page, slots.intersection(device.servers.usable()), below);
    }

    /// The copy has arrived: enters it in the map, unless the page was written or freed meanwhile.
    pub(super) fn commit(
        &mut self,
        index: usize,
        copy: &CopyOut,
        slot: ServerSlot,
        entry: Entry,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) -> bool {
        let page = copy.page;
        if !device.versions().enter(shard.number(), copy.version) {
            // The versions have jumped: the copy is made again.
            return false;
        }
        let guard = device.copies.guard_commit(page);
        let Some(begun) = device.map.begin_commit(page, entry.generation()) else {
            return false;
        };
        // No page-out can begin now. One that has ended since has cancelled the copy.
        let is_cancelled = device.copies.is_cancelled(index) && !mutated!(CopyCancelIgnored);
        let add = match is_cancelled {
            true => SlotSet::EMPTY,
            false => SlotSet::one(slot),
        };
        let counting = device.servers.counting();
        let holders = begun.replicas().union(add);
        let is_whole = device.is_replicated(holders, counting);
        let remove = match is_whole {
            true => holders.without(counting).without(add),
            false => SlotSet::EMPTY,
        };
        let below = Version(copy.version.0.saturating_add(1));
        let is_freed = device.map.end_commit(page, add, false, remove);
        drop(guard);
        if is_freed {
            Self::free(page, shard, device);
        }
        if is_cancelled {
            return false;
        }
        device.copies.end(index);
        self.short.note_progress();
        self.counters.pages_repaired = self.counters.pages_repaired.wrapping_add(1);
        if !remove.is_empty() {
            self.forget_copies(page, remove, below, shard, device);
        }
        if !is_whole {
            device.note_degraded(page);
        }
        true
    }

    /// The page is on the disk: enters that in the map, unless the page was written or freed
    /// meanwhile, or the disk is being detached.
    pub(super) fn commit_to_disk(
        &mut self,
        index: usize,
        page: PageIndex,
        entry: Entry,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) -> bool {
        let guard = device.copies.guard_commit(page);
        if device.map.begin_commit(page, entry.generation()).is_none() {
            return false;
        }
        // As above. The DISK bits are cleared after this shard was notified that there is no disk.
        let is_true = !device.copies.is_cancelled(index) && device.disk.load().is_attached();
        let none = SlotSet::EMPTY;
        let is_freed = device.map.end_commit(page, none, is_true, none);
        drop(guard);
        if is_freed {
            Self::free(page, shard, device);
        }
        if !is_true {
            return false;
        }
        device.copies.end(index);
        self.out_of_sync.note_progress();
        self.counters.pages_mirrored = self.counters.pages_mirrored.wrapping_add(1);
        true
    }

    /// The page was freed while it was locked for a moment, so the search for freed pages has
    /// skipped it.
    fn free(page: PageIndex, shard: &mut Shard<S>, device: &SwapDevice<S>) {
        let freed = device.map.take_free(page, || device.take_version());
        if let Some((slots, below)) = freed {
            shard.note_stale_copy(page, slots, below);
            shard.count_freed(1);
        }
    }
}
