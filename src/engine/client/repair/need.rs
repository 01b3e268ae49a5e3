// SPDX-License-Identifier: GPL-2.0

//! Which page needs a copy next, and whether it can be copied now.

use super::super::ids::{PageIndex, SlotSet};
use super::super::page_map::Entry;
use super::super::shard::Shard;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::pace::DISK_SHARE;
use super::{Goal, Repair};

/// What a page needs from servers.
enum Need {
    Nothing,
    /// The copies on these servers, which do not count, can be dropped.
    Fewer(SlotSet),
    /// One more copy.
    Copy,
}

/// Whether a page can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copyable {
    /// Now.
    Now,
    /// Maybe later.
    Later,
    /// Never: every copy is lost.
    Never,
}

impl<S: Storage> Repair<S> {
    /// What the page needs from servers.
    fn need(entry: Entry, device: &SwapDevice<S>) -> Need {
        if !entry.is_written() || entry.is_busy() {
            // The op that writes it makes its copies.
            return Need::Nothing;
        }
        let counting = device.servers.counting();
        if !device.is_replicated(entry.replicas(), counting) {
            return Need::Copy;
        }
        let more = entry.replicas().without(counting);
        match more.is_empty() {
            true => Need::Nothing,
            false => Need::Fewer(more),
        }
    }

    /// Whether the page is to be copied to the goal.
    pub(super) fn is_wanted(entry: Entry, goal: Goal, device: &SwapDevice<S>) -> bool {
        match goal {
            Goal::Server => matches!(Self::need(entry, device), Need::Copy),
            Goal::Disk => entry.is_written() && !entry.is_busy() && !entry.is_on_disk(),
        }
    }

    /// The next page that needs a copy, and its goal. Checks at most `budget` pages of the map.
    pub(super) fn next_page(
        &mut self,
        now_ns: u64,
        budget: &mut u32,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) -> Option<(PageIndex, Goal)> {
        let usable = device.servers.usable().len();
        if now_ns < self.opening_until_ns && !device.servers.opening().is_empty() {
            self.wake_ns = self.wake_ns.min(self.opening_until_ns);
        } else if usable >= 2 || (usable == 1 && device.disk.load().is_attached()) {
            // A source and a target are needed. Repair is notified when there are.
            while let Some((page, entry)) =
                self.short
                    .next(now_ns, budget, device.degraded(), &device.map)
            {
                match Self::need(entry, device) {
                    Need::Nothing => {}
                    Need::Fewer(slots) => self.drop_copies(page, entry, slots, shard, device),
                    Need::Copy => return Some((page, Goal::Server)),
                }
            }
            self.wake_for(Goal::Server, now_ns);
        }
        if usable == 0 || !self.had_disk || *budget == 0 {
            return None;
        }
        let [share, of] = DISK_SHARE;
        if self.under_way(Goal::Disk).saturating_mul(of) >= self.most().saturating_mul(share) {
            return None;
        }
        if now_ns < self.room_ns {
            self.wake_ns = self.wake_ns.min(self.room_ns);
            return None;
        }
        while let Some((page, entry)) =
            self.out_of_sync
                .next(now_ns, budget, device.out_of_sync(), &device.map)
        {
            if Self::is_wanted(entry, Goal::Disk, device) {
                return Some((page, Goal::Disk));
            }
        }
        self.wake_for(Goal::Disk, now_ns);
        None
    }

    /// Wakes repair in time for pages that were put off.
    fn wake_for(&mut self, goal: Goal, now_ns: u64) {
        let retry_ns = self.backlog(goal).retry_ns();
        if now_ns < retry_ns {
            self.wake_ns = self.wake_ns.min(retry_ns);
        }
    }

    /// Whether the page can be copied. A page that is only on its way to the disk is noted by the
    /// mirror when it is there.
    pub(super) fn copyable(
        now_ns: u64,
        entry: Entry,
        goal: Goal,
        shard: &Shard<S>,
        device: &SwapDevice<S>,
    ) -> Copyable {
        let holders = entry.replicas().intersection(device.servers.valid());
        let disk = device.disk.load();
        let is_on_disk = entry.is_on_disk() && disk.is_attached();
        // A disk that is being detached may stay.
        let may_be_on_disk = entry.is_on_disk() && disk.is_tracked();
        if holders.is_empty() && !may_be_on_disk {
            return Copyable::Never;
        }
        let has_source = is_on_disk || !holders.intersection(device.servers.usable()).is_empty();
        let targets = || shard.copy_targets(now_ns, entry, device);
        let has_target = goal == Goal::Disk || !targets().is_empty();
        match has_source && has_target {
            true => Copyable::Now,
            false => Copyable::Later,
        }
    }
}
