// SPDX-License-Identifier: GPL-2.0

//! Repair: copies pages with too few copies to other servers in the background, and copies pages to
//! the local disk that should be there and are not.
//!
//! A copy is a page-in into a page of the module's own, then a page-out of that to one server that does
//! not hold the page, or to the disk. Both run in repair's own shard. The page is not locked meanwhile:
//! it is noted in [`PagesInRepair`](super::pages_in_repair), and a page-out of it cancels the copy. The copy
//! has its own version, above all given out before, with the generation of the page. So the generation in
//! the map is right for all holders, and servers and the mirror refuse the copy after a later page-out.
//!
//! Work is kept by chunks of the map. First come the pages that page-outs left with too few copies;
//! then all pages, when a server is lost, draining, or has lost its pages; then pages out of sync
//! on the disk. A page that cannot be copied now, for lack of a source or a target, waits until
//! that changes, or for a while.

mod backlog;
mod commit;
mod copy;
mod need;
mod pace;

use super::counters::RepairCounters;
use super::dirty_chunks::DirtyChunks;
use super::ids::PageIndex;
use super::pages_in_repair::COPIES;
use super::shard::Shard;
use super::storage::Storage;
use super::swap_device::SwapDevice;
use backlog::Backlog;
use copy::Job;

/// How long repair first waits before it tries the disk again when the mirror had no room.
const FIRST_ROOM_NS: u64 = 10_000_000;
/// The longest such wait. Meanwhile page-outs can use the room.
const LAST_ROOM_NS: u64 = 640_000_000;
/// How long copies to servers wait while a session with a restarted server is opened: it is empty, so most of
/// them should go there. This is enough for a HELLO that is lost three times.
const OPENING_NS: u64 = 200_000_000;

/// The target of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// A server that does not hold the page.
    Server,
    /// The local disk.
    Disk,
}

/// The repair of a device. Its owner holds the lock of repair's shard during every call.
pub struct Repair<S: Storage> {
    /// Pages that may have too few copies on servers.
    short: Backlog<S::Words>,
    /// Pages that may not be on the local disk.
    out_of_sync: Backlog<S::Words>,
    jobs: [Job; COPIES],
    /// When the next copy may begin.
    next_copy_ns: u64,
    /// When the next copy to the disk may begin, after the mirror had no room.
    room_ns: u64,
    /// How long the next such pause will be.
    room_pause_ns: u64,
    /// The last seen count of servers that ceased to count.
    losses: u32,
    /// Until when copies to servers wait while sessions are being opened.
    opening_until_ns: u64,
    /// Whether the disk accepted pages when last checked.
    had_disk: bool,
    /// Whether requests were under way when last checked.
    is_busy: bool,
    wake_ns: u64,
    counters: RepairCounters,
}

impl<S: Storage> Repair<S> {
    /// Nothing to repair. `words` are zeros, each as many as [`words_for`](super::dirty_chunks::words_for)
    /// returns.
    pub fn new(words: [S::Words; 4]) -> Self {
        let [first, second, third, fourth] = words;
        Self {
            short: Backlog::new([first, second]),
            out_of_sync: Backlog::new([third, fourth]),
            jobs: [Job::Idle; COPIES],
            next_copy_ns: 0,
            room_ns: 0,
            room_pause_ns: FIRST_ROOM_NS,
            losses: 0,
            opening_until_ns: 0,
            had_disk: false,
            is_busy: false,
            wake_ns: u64::MAX,
            counters: RepairCounters::default(),
        }
    }

    /// The counters.
    pub fn counters(&self) -> &RepairCounters {
        &self.counters
    }

    /// Parts of the map still to be checked, plus copies to servers under way. 0 if every page that
    /// can have its copies has them.
    pub fn left(&self, device: &SwapDevice<S>) -> u64 {
        let degraded = device.degraded().map_or(0, DirtyChunks::count);
        self.short
            .count()
            .saturating_add(degraded)
            .saturating_add(self.under_way(Goal::Server))
    }

    /// As [`Self::left`], of pages to be copied to the local disk that repair knows of.
    pub(super) fn left_for_disk(&self) -> u64 {
        self.out_of_sync
            .count()
            .saturating_add(self.under_way(Goal::Disk))
    }

    fn under_way(&self, goal: Goal) -> u64 {
        let jobs = self.jobs.iter().filter(|job| job.goal() == Some(goal));
        // CAST: at most [`COPIES`].
        jobs.count() as u64
    }

    /// When to call [`Self::handle_timeout`] next; `u64::MAX` for never. An earlier call does no harm.
    pub fn next_timeout_ns(&self) -> u64 {
        self.wake_ns
    }

    /// Servers have appeared, gone, been lost or returned: retries what had to wait. If some no
    /// longer count, checks all pages.
    pub fn servers_changed(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        let losses = device.servers.losses();
        if core::mem::replace(&mut self.losses, losses) != losses {
            self.look_at_everything(device);
            // As long without a pause follows, however often servers restart.
            if now_ns >= self.opening_until_ns.saturating_add(OPENING_NS) {
                self.opening_until_ns = now_ns.saturating_add(OPENING_NS);
            }
        }
        self.short.retry(now_ns);
        self.out_of_sync.retry(now_ns);
        self.wake_ns = now_ns;
    }

    /// Checks all pages, because some may have lost a copy.
    pub fn look_at_everything(&mut self, device: &SwapDevice<S>) {
        self.short.mark_all(device.map.len());
    }

    fn backlog(&mut self, goal: Goal) -> &mut Backlog<S::Words> {
        match goal {
            Goal::Server => &mut self.short,
            Goal::Disk => &mut self.out_of_sync,
        }
    }

    /// Does what is due at this time.
    pub fn handle_timeout(&mut self, now_ns: u64, shard: &mut Shard<S>, device: &SwapDevice<S>) {
        if now_ns >= self.wake_ns {
            self.begin_copies(now_ns, None, shard, device);
        }
    }

    /// Retries what waited for the disk as soon as it accepts pages again.
    fn look_at_disk(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        let state = device.disk.load();
        let has_disk = state.is_wanted() && state.is_usable();
        if has_disk && !self.had_disk {
            self.out_of_sync.retry(now_ns);
            self.room_ns = now_ns;
            self.room_pause_ns = FIRST_ROOM_NS;
        }
        self.had_disk = has_disk;
    }

    /// Checks the page again later.
    fn put_off(&mut self, page: PageIndex, goal: Goal) {
        let backlog = self.backlog(goal);
        backlog.put_off(page);
        let retry_ns = backlog.retry_ns();
        self.wake_ns = self.wake_ns.min(retry_ns);
    }
}

#[cfg(test)]
mod tests;
