// SPDX-License-Identifier: GPL-2.0

//! Repair: pages with fewer copies than wanted are copied to other servers, in the background, and
//! pages that the local disk should have and has not are brought there.
//!
//! One copy is a page-in into a page of our own, then a page-out of that to one server that has
//! not the page yet, or to the disk, both in a shard of repair's own. The page is not locked
//! meanwhile: it is noted in [`Copies`](super::copies), and a page-out that comes cancels the copy.
//! The copy has a version of its own, above all that were given out before, whose generation is that
//! of the page: so the map's one generation is right for all holders, and servers, and the mirror,
//! refuse the copy once they have seen a later page-out.
//!
//! Where to look is known by chunks of the map: the head of the queue is what page-outs have left
//! with too few copies; then comes everything, when a server has died, is to be removed or has lost
//! its pages; and when there is nothing of that, what lags on the disk. What cannot be copied now,
//! for want of somebody to copy it to or from, waits until that changes, or for a while.

mod backlog;
mod commit;
mod search;

use super::copies::COPIES;
use super::counters::RepairCounters;
use super::device::Device;
use super::free::DirtyChunks;
use super::ids::{PageIndex, SlotSet, Version};
use super::page_map::Entry;
use super::shard::{Completion, CopyOut, MirrorCopy, Outcome, Shard};
use super::storage::Storage;
use backlog::Backlog;
use search::Help;

/// Pages of the map that are looked at before others get their turn.
const SCAN_PAGES: u32 = 4096;
/// How soon it goes on then, if some of them could be copied.
const SCAN_PAUSE_NS: u64 = 100_000;
/// And if not.
const IDLE_PAUSE_NS: u64 = 1_000_000;
/// How many copies may be made up for, in nanoseconds of the rate.
const BURST_NS: u64 = 5_000_000;
/// Of the rate, and of the copies under way at a time, what is left of it while requests are under
/// way: one of so many. Where a page takes long, the rate alone would hold nothing back.
const YIELD: u64 = 4;
/// Of the copies under way at the most, those that may go to the disk: a slow one leaves room for
/// copies to servers.
const DISK_SHARE: [u64; 2] = [3, 4];
/// How soon the disk is tried again when its mirror had no room, at first.
const FIRST_ROOM_NS: u64 = 10_000_000;
/// And how late at the most: until then the page-outs that need the room have it.
const LAST_ROOM_NS: u64 = 640_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Where a copy is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// To a server that has not the page.
    Server,
    /// To the local disk.
    Disk,
}

/// One copy under way.
#[derive(Clone, Copy, Debug, Default)]
enum Job {
    #[default]
    Idle,
    /// The page comes in.
    Reading {
        page: PageIndex,
        entry: Entry,
        goal: Goal,
    },
    /// It goes out to a server.
    Writing {
        copy: CopyOut,
        entry: Entry,
        session: u64,
    },
    /// It goes to the disk.
    Mirroring { page: PageIndex, entry: Entry },
}

impl Job {
    fn goal(&self) -> Option<Goal> {
        match self {
            Self::Idle => None,
            Self::Reading { goal, .. } => Some(*goal),
            Self::Writing { .. } => Some(Goal::Server),
            Self::Mirroring { .. } => Some(Goal::Disk),
        }
    }
}

/// A page that has come in.
struct Come {
    page: PageIndex,
    entry: Entry,
    fill: Option<u64>,
}

/// All repair of a device. Its owner holds the lock of the shard that it uses around every call.
pub struct Repair<S: Storage> {
    /// Pages that may have too few copies on servers.
    short: Backlog<S::Words>,
    /// Pages that may not be on the local disk.
    out_of_sync: Backlog<S::Words>,
    jobs: [Job; COPIES],
    /// When the next copy may begin.
    next_copy_ns: u64,
    /// When the next one to the disk may, its mirror having had no room.
    room_ns: u64,
    /// How long it is left alone the next time that it has none.
    room_pause_ns: u64,
    /// How often servers had ceased to count when that was last looked at.
    losses: u32,
    /// Whether the disk took pages when it was last looked at.
    had_disk: bool,
    /// Whether requests were under way when somebody last looked.
    is_busy: bool,
    wake_ns: u64,
    counters: RepairCounters,
}

impl<S: Storage> Repair<S> {
    /// Nothing to repair. `words` are zeros, each as many as [`words_for`](super::free::words_for) says.
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
            had_disk: false,
            is_busy: false,
            wake_ns: u64::MAX,
            counters: RepairCounters::default(),
        }
    }

    /// What has been counted.
    pub fn counters(&self) -> &RepairCounters {
        &self.counters
    }

    /// Parts of the map that are still to be looked at, and copies to servers under way. 0 says that
    /// every page that can have its copies, has them.
    pub fn left(&self, device: &Device<S>) -> u64 {
        let degraded = device.degraded().map_or(0, DirtyChunks::count);
        self.short
            .count()
            .saturating_add(degraded)
            .saturating_add(self.under_way(Goal::Server))
    }

    /// As [`Self::left`], of pages to be brought to the local disk. 0 if it should not have them.
    pub fn out_of_sync_left(&self, device: &Device<S>) -> u64 {
        if !device.disk.load().is_wanted() {
            return 0;
        }
        let fresh = device.out_of_sync().map_or(0, DirtyChunks::count);
        self.out_of_sync
            .count()
            .saturating_add(fresh)
            .saturating_add(self.under_way(Goal::Disk))
    }

    fn under_way(&self, goal: Goal) -> u64 {
        let jobs = self.jobs.iter().filter(|job| job.goal() == Some(goal));
        // CAST: a few.
        jobs.count() as u64
    }

    /// When [`Self::drive`] is to be called next; `u64::MAX` for never. It may be called earlier.
    pub fn next_timeout_ns(&self) -> u64 {
        self.wake_ns
    }

    /// Servers have come, gone, died or come back: what had to wait is looked at again; and if some
    /// count no longer, everything is.
    pub fn servers_changed(&mut self, now_ns: u64, device: &Device<S>) {
        let losses = device.servers.losses();
        if core::mem::replace(&mut self.losses, losses) != losses {
            self.look_at_everything(device);
        }
        self.short.retry(now_ns);
        self.out_of_sync.retry(now_ns);
        self.wake_ns = now_ns;
    }

    /// Every page is looked at, for some may have lost a copy.
    pub fn look_at_everything(&mut self, device: &Device<S>) {
        self.short.mark_all(device.map.len());
    }

    fn backlog(&mut self, goal: Goal) -> &mut Backlog<S::Words> {
        match goal {
            Goal::Server => &mut self.short,
            Goal::Disk => &mut self.out_of_sync,
        }
    }

    /// Begins copies, as many as the rate allows. `is_busy` says whether requests are under way, to
    /// which repair yields; `None` if nobody has looked.
    pub fn drive(
        &mut self,
        now_ns: u64,
        is_busy: Option<bool>,
        shard: &mut Shard<S>,
        device: &Device<S>,
    ) {
        self.is_busy = is_busy.unwrap_or(self.is_busy);
        self.wake_ns = u64::MAX;
        self.look_at_disk(now_ns, device);
        let rate = u64::from(device.repair_pages_per_s());
        let Some(cost_ns) = NS_PER_S.checked_div(rate) else {
            return;
        };
        let cost_ns = match self.is_busy {
            true => cost_ns.saturating_mul(YIELD),
            false => cost_ns,
        };
        self.next_copy_ns = self.next_copy_ns.max(now_ns.saturating_sub(BURST_NS));
        let mut budget = SCAN_PAGES;
        let mut pause_ns = IDLE_PAUSE_NS;
        while let Some(index) = self.idle_job() {
            if self.next_copy_ns > now_ns {
                self.wake_ns = self.next_copy_ns;
                return;
            }
            let Some((page, goal)) = self.next_page(now_ns, &mut budget, shard, device) else {
                if budget == 0 {
                    self.wake_ns = now_ns.saturating_add(pause_ns);
                }
                return;
            };
            if self.begin(now_ns, index, page, goal, shard, device) {
                self.next_copy_ns = self.next_copy_ns.saturating_add(cost_ns);
                pause_ns = SCAN_PAUSE_NS;
            }
        }
    }

    /// Copies that may be under way.
    fn most(&self) -> u64 {
        // CAST: a few.
        match self.is_busy {
            true => COPIES as u64 / YIELD,
            false => COPIES as u64,
        }
    }

    /// A job for another copy, if there may be one more.
    fn idle_job(&self) -> Option<usize> {
        let under_way = self
            .under_way(Goal::Server)
            .saturating_add(self.under_way(Goal::Disk));
        if under_way >= self.most() {
            return None;
        }
        self.jobs.iter().position(|job| matches!(job, Job::Idle))
    }

    /// What waited for the disk is tried as soon as it takes pages again.
    fn look_at_disk(&mut self, now_ns: u64, device: &Device<S>) {
        let state = device.disk.load();
        let has_disk = state.is_wanted() && state.is_usable();
        if has_disk && !self.had_disk {
            self.out_of_sync.retry(now_ns);
            self.room_ns = now_ns;
            self.room_pause_ns = FIRST_ROOM_NS;
        }
        self.had_disk = has_disk;
    }

    /// The page is looked at again when there is hope.
    fn put_off(&mut self, page: PageIndex, goal: Goal) {
        let backlog = self.backlog(goal);
        backlog.put_off(page);
        let retry_ns = backlog.retry_ns();
        self.wake_ns = self.wake_ns.min(retry_ns);
    }

    /// Begins to copy a page. Returns whether that was possible.
    fn begin(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        goal: Goal,
        shard: &mut Shard<S>,
        device: &Device<S>,
    ) -> bool {
        if device.copies.contains(page) {
            // It may need more than the copy that is under way.
            self.put_off(page, goal);
            return false;
        }
        device.copies.begin(index, page);
        // Only now: a page-out that is not seen here, sees the copy.
        let entry = device.map.load(page);
        let help = match Self::is_wanted(entry, goal, device) {
            true => Self::help(entry, goal, device),
            false => Help::Never,
        };
        if help != Help::Now || shard.start_copy_in(now_ns, index, page, device).is_err() {
            device.copies.end(index);
            if help != Help::Never {
                self.put_off(page, goal);
            }
            return false;
        }
        if let Some(job) = self.jobs.get_mut(index) {
            *job = Job::Reading { page, entry, goal };
        }
        true
    }

    /// An op of repair's shard is over. Returns a page for which requests wait: tell every shard
    /// ([`Shard::unpark`]).
    pub fn completed(
        &mut self,
        now_ns: u64,
        completion: &Completion,
        shard: &mut Shard<S>,
        device: &Device<S>,
    ) -> Option<PageIndex> {
        let index = completion.op;
        let job = self.jobs.get_mut(index)?;
        let mut wake = None;
        match core::mem::take(job) {
            Job::Idle => {}
            Job::Reading { page, entry, goal } => {
                let come = match completion.outcome {
                    Outcome::Done => Some(None),
                    Outcome::Filled(value) => Some(Some(value)),
                    Outcome::Zeros | Outcome::Failed | Outcome::NoSpace => None,
                };
                let goes_on = come.is_some_and(|fill| {
                    let come = Come { page, entry, fill };
                    match goal {
                        Goal::Server => self.send_copy(now_ns, index, &come, shard, device),
                        Goal::Disk => self.mirror_copy(now_ns, index, &come, shard, device),
                    }
                });
                if !goes_on {
                    self.give_up(index, page, goal, device);
                }
            }
            Job::Writing {
                copy,
                entry,
                session,
            } => {
                let is_there = completion.outcome == Outcome::Done
                    && device.servers.is_current(copy.slot, session)
                    && !device.servers.quiescing().contains(copy.slot);
                let is_kept = is_there && self.commit(index, &copy, entry, shard, device);
                if is_there && device.has_parked() {
                    // The page was locked for a moment.
                    wake = Some(copy.page);
                }
                if !is_kept {
                    // It may have arrived, or arrive still.
                    let below = Version(copy.version.0.saturating_add(1));
                    shard.note_stale_copy(copy.page, SlotSet::one(copy.slot), below);
                    if device.servers.full().contains(copy.slot) {
                        // Another may have room.
                        self.end_in_vain(index, device);
                        self.short.put_back(copy.page);
                    } else {
                        self.give_up(index, copy.page, Goal::Server, device);
                    }
                }
            }
            Job::Mirroring { page, entry } => {
                if completion.outcome == Outcome::Done {
                    self.room_pause_ns = FIRST_ROOM_NS;
                    let is_kept = self.commit_to_disk(index, page, entry, shard, device);
                    if !is_kept {
                        self.give_up(index, page, Goal::Disk, device);
                    }
                    wake = device.has_parked().then_some(page);
                } else if shard.found_no_room(index) {
                    device.copies.end(index);
                    self.out_of_sync.put_back(page);
                    if now_ns >= self.room_ns {
                        let pause_ns = self.room_pause_ns;
                        self.room_ns = now_ns.saturating_add(pause_ns);
                        self.room_pause_ns = pause_ns.saturating_mul(2).min(LAST_ROOM_NS);
                    }
                } else if shard.found_no_use(index) {
                    device.copies.end(index);
                    self.put_off(page, Goal::Disk);
                } else {
                    self.give_up(index, page, Goal::Disk, device);
                }
            }
        }
        self.wake_ns = self.wake_ns.min(now_ns.max(self.next_copy_ns));
        wake
    }

    /// The page has come in: it goes out to another server. Returns whether it does.
    fn send_copy(
        &mut self,
        now_ns: u64,
        index: usize,
        come: &Come,
        shard: &mut Shard<S>,
        device: &Device<S>,
    ) -> bool {
        let &Come { page, entry, fill } = come;
        let Some(slot) = shard.emptiest(Self::targets(entry, device), device) else {
            return false;
        };
        let version = device.take_version_of(entry.generation());
        // Only now: a page-out that has cancelled the copy may have a lower version; one that
        // has not, will have a higher one, and no server takes the copy after that.
        if device.copies.is_cancelled(index) && !mutated!(CopyCancelIgnored) {
            return false;
        }
        let copy = CopyOut {
            page,
            version,
            slot,
            fill,
            crc: shard.copied_crc(index),
        };
        let session = device.servers.address(slot).session;
        if shard.start_copy_out(now_ns, index, &copy, device).is_err() {
            return false;
        }
        if let Some(job) = self.jobs.get_mut(index) {
            *job = Job::Writing {
                copy,
                entry,
                session,
            };
        }
        true
    }

    /// The page has come in: it goes to the disk. Returns whether it does.
    fn mirror_copy(
        &mut self,
        now_ns: u64,
        index: usize,
        come: &Come,
        shard: &mut Shard<S>,
        device: &Device<S>,
    ) -> bool {
        let &Come { page, entry, fill } = come;
        // The mirror looks at the map after that: a page-out that it does not see, has a higher one.
        let version = device.take_version_of(entry.generation());
        if device.copies.is_cancelled(index) {
            return false;
        }
        let copy = MirrorCopy {
            page,
            version,
            fill,
            crc: shard.copied_crc(index),
        };
        if shard.start_mirror(now_ns, index, &copy).is_err() {
            return false;
        }
        if let Some(job) = self.jobs.get_mut(index) {
            *job = Job::Mirroring { page, entry };
        }
        true
    }

    fn give_up(&mut self, index: usize, page: PageIndex, goal: Goal, device: &Device<S>) {
        self.end_in_vain(index, device);
        self.put_off(page, goal);
    }

    fn end_in_vain(&mut self, index: usize, device: &Device<S>) {
        let counter = match device.copies.is_cancelled(index) {
            true => &mut self.counters.repairs_cancelled,
            false => &mut self.counters.repairs_failed,
        };
        *counter = counter.wrapping_add(1);
        device.copies.end(index);
    }
}

#[cfg(test)]
mod tests;
