// SPDX-License-Identifier: GPL-2.0

//! Repair: pages with fewer copies than wanted are copied to other servers, in the background.
//!
//! One copy is a page-in into a page of our own, then a page-out of that to one server that has
//! not the page yet, both in a shard of repair's own. The page is not locked meanwhile: it is noted
//! in [`Copies`](super::copies), and a page-out that comes cancels the copy. The copy has a version
//! of its own, above all that were given out before, whose generation is that of the page: so the
//! map's one generation is right for all holders, and servers refuse the copy once they have seen
//! a later page-out.
//!
//! Where to look is known by chunks of the map: the head of the queue is what page-outs have left
//! with too few copies; then comes everything, when a server has died, is to be removed or has lost
//! its pages. What cannot be copied now, for want of a server to copy it to or from, waits until
//! servers change, or for a while.

use core::ops::Deref;

use super::copies::COPIES;
use super::counters::RepairCounters;
use super::device::Device;
use super::free::DirtyChunks;
use super::ids::{PageIndex, SlotSet, Version};
use super::page_map::Entry;
use super::shard::{Completion, CopyOut, Outcome, Shard, Storage};
use crate::sync::Atomic;

/// Pages of the map that are looked at before others get their turn.
const SCAN_PAGES: u32 = 4096;
/// How soon it goes on then, if some of them could be copied.
const SCAN_PAUSE_NS: u64 = 100_000;
/// And if not.
const IDLE_PAUSE_NS: u64 = 1_000_000;
/// How many copies may be made up for, in nanoseconds of the rate.
const BURST_NS: u64 = 5_000_000;
/// Of the rate, what is left of it while requests are under way: one of so many.
const YIELD: u64 = 4;
/// How soon what could not be copied is tried again, if no server changes.
const FIRST_RETRY_NS: u64 = 1_000_000_000;
/// And how late at the most: all that waits has to be looked at each time.
const LAST_RETRY_NS: u64 = 8_000_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// One copy under way.
#[derive(Clone, Copy, Debug, Default)]
enum Job {
    #[default]
    Idle,
    /// The page comes in.
    Reading { page: PageIndex, entry: Entry },
    /// It goes out.
    Writing {
        copy: CopyOut,
        entry: Entry,
        incarnation: u64,
    },
}

/// A page that has come in.
struct Come {
    page: PageIndex,
    entry: Entry,
    fill: Option<u64>,
}

/// What a page needs.
enum Need {
    Nothing,
    /// Copies by these, who are not counted, are not needed.
    Fewer(SlotSet),
    /// One copy more.
    Copy,
}

/// All repair of a device. Its owner holds the lock of the shard that it uses around every call.
pub struct Repair<W> {
    /// Chunks to be looked at: now, and when it is worth it again. They take turns.
    chunks: [DirtyChunks<W>; 2],
    now: usize,
    /// What is being looked at: the next page, one past the last.
    scan: Option<(PageIndex, PageIndex)>,
    jobs: [Job; COPIES],
    /// When the next copy may begin.
    next_copy_ns: u64,
    retry_ns: u64,
    backoff_ns: u64,
    counting: SlotSet,
    /// Whether requests were under way when somebody last looked.
    is_busy: bool,
    wake_ns: u64,
    counters: RepairCounters,
}

impl<W: Deref<Target = [Atomic<u32>]>> Repair<W> {
    /// Nothing to repair. `words` are zeros, each as many as [`DirtyChunks::words_for`] says.
    pub fn new(words: [W; 2]) -> Self {
        Self {
            chunks: words.map(DirtyChunks::new),
            now: 0,
            scan: None,
            jobs: [Job::Idle; COPIES],
            next_copy_ns: 0,
            retry_ns: 0,
            backoff_ns: FIRST_RETRY_NS,
            counting: SlotSet::EMPTY,
            is_busy: false,
            wake_ns: u64::MAX,
            counters: RepairCounters::default(),
        }
    }

    /// What has been counted.
    pub fn counters(&self) -> &RepairCounters {
        &self.counters
    }

    /// Parts of the map that are still to be looked at, and copies under way. 0 says that every
    /// page that can have its copies, has them.
    pub fn left<M>(&self, device: &Device<M>) -> u64
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let jobs = self.jobs.iter().filter(|job| !matches!(job, Job::Idle));
        let marked = self.chunks.iter().map(DirtyChunks::count).sum::<u64>();
        let degraded = device.degraded().map_or(0, DirtyChunks::count);
        // CAST: a few.
        marked
            .saturating_add(degraded)
            .saturating_add(jobs.count() as u64)
            .saturating_add(u64::from(self.scan.is_some()))
    }

    /// When [`Self::drive`] is to be called next; `u64::MAX` for never. It may be called earlier.
    pub fn next_timeout_ns(&self) -> u64 {
        self.wake_ns
    }

    /// Servers have come, gone, died or come back: what had to wait is looked at again; and if some
    /// count no longer, everything is.
    pub fn servers_changed<M>(&mut self, now_ns: u64, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let counting = device.servers.counting();
        if !self.counting.without(counting).is_empty() {
            self.look_at_everything(device);
        }
        self.counting = counting;
        self.backoff_ns = FIRST_RETRY_NS;
        self.retry_ns = now_ns;
        self.wake_ns = now_ns;
    }

    /// Every page is looked at, for some may have lost a copy.
    pub fn look_at_everything<M>(&mut self, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        if let Some(chunks) = self.chunks.get(self.now) {
            chunks.mark_all(device.map.len());
        }
    }

    /// Begins copies, as many as the rate allows. `is_busy` says whether requests are under way, to
    /// which repair yields; `None` if nobody has looked.
    pub fn drive<S, M>(
        &mut self,
        now_ns: u64,
        is_busy: Option<bool>,
        shard: &mut Shard<S>,
        device: &Device<M>,
    ) where
        S: Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        self.is_busy = is_busy.unwrap_or(self.is_busy);
        self.wake_ns = u64::MAX;
        let rate = u64::from(device.repair_pages_per_s());
        let Some(cost_ns) = NS_PER_S.checked_div(rate) else {
            return;
        };
        let cost_ns = match self.is_busy {
            true => cost_ns.saturating_mul(YIELD),
            false => cost_ns,
        };
        self.next_copy_ns = self.next_copy_ns.max(now_ns.saturating_sub(BURST_NS));
        if device.servers.usable().len() < 2 {
            // None to copy from and another to copy to. Somebody says when there are.
            return;
        }
        let mut budget = SCAN_PAGES;
        let mut pause_ns = IDLE_PAUSE_NS;
        while let Some(index) = self.idle_job() {
            if self.next_copy_ns > now_ns {
                self.wake_ns = self.next_copy_ns;
                return;
            }
            let Some(page) = self.next_page(now_ns, &mut budget, shard, device) else {
                if budget == 0 {
                    self.wake_ns = now_ns.saturating_add(pause_ns);
                }
                return;
            };
            if self.begin(now_ns, index, page, shard, device) {
                self.next_copy_ns = self.next_copy_ns.saturating_add(cost_ns);
                pause_ns = SCAN_PAUSE_NS;
            }
        }
    }

    fn idle_job(&self) -> Option<usize> {
        self.jobs.iter().position(|job| matches!(job, Job::Idle))
    }

    /// What the page needs.
    fn need<M>(entry: Entry, device: &Device<M>) -> Need
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        if !entry.is_written() || entry.is_busy() {
            // Whoever writes it, sees to its copies.
            return Need::Nothing;
        }
        let counting = device.servers.counting();
        if entry.replicas().intersection(counting).len() < device.replicas() {
            return Need::Copy;
        }
        let more = entry.replicas().without(counting);
        match more.is_empty() {
            true => Need::Nothing,
            false => Need::Fewer(more),
        }
    }

    /// The next page that needs a copy. `budget` pages of the map are looked at, at the most.
    fn next_page<S, M>(
        &mut self,
        now_ns: u64,
        budget: &mut u32,
        shard: &mut Shard<S>,
        device: &Device<M>,
    ) -> Option<PageIndex>
    where
        S: Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        loop {
            let (next, end) = match self.scan {
                Some(scan) => scan,
                None => self.next_chunk(now_ns, device)?,
            };
            let mut page = next;
            // CAST: a map has fewer than 2^32 pages.
            let end = PageIndex(end.0.min(device.map.len() as u32));
            while page.0 < end.0 {
                let Some(left) = budget.checked_sub(1) else {
                    self.scan = Some((page, end));
                    return None;
                };
                *budget = left;
                let this = page;
                page = PageIndex(page.0.saturating_add(1));
                let entry = device.map.load(this);
                match Self::need(entry, device) {
                    Need::Nothing => {}
                    Need::Fewer(slots) => self.drop_copies(this, entry, slots, shard, device),
                    Need::Copy => {
                        self.scan = Some((page, end));
                        return Some(this);
                    }
                }
            }
            self.scan = None;
        }
    }

    /// The next part of the map to be looked at.
    fn next_chunk<M>(&mut self, now_ns: u64, device: &Device<M>) -> Option<(PageIndex, PageIndex)>
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let first = PageIndex(0);
        if let Some(chunk) = device.degraded().and_then(|chunks| chunks.take(first)) {
            return Some(chunk);
        }
        if let Some(chunk) = self.chunks.get(self.now)?.take(first) {
            return Some(chunk);
        }
        let waiting = self.now ^ 1;
        if now_ns < self.retry_ns {
            self.wake_ns = self.wake_ns.min(self.retry_ns);
            return None;
        }
        let chunk = self.chunks.get(waiting)?.take(first)?;
        self.now = waiting;
        self.retry_ns = now_ns.saturating_add(self.backoff_ns);
        self.backoff_ns = self.backoff_ns.saturating_mul(2).min(LAST_RETRY_NS);
        Some(chunk)
    }

    /// The page is looked at again when there is hope.
    fn put_off(&mut self, page: PageIndex) {
        if let Some(chunks) = self.chunks.get(self.now ^ 1) {
            chunks.mark(page);
        }
        self.wake_ns = self.wake_ns.min(self.retry_ns);
    }

    /// A page has copies enough without those of `slots`.
    fn drop_copies<S, M>(
        &mut self,
        page: PageIndex,
        entry: Entry,
        slots: SlotSet,
        shard: &mut Shard<S>,
        device: &Device<M>,
    ) where
        S: Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        // Taken before the entry is changed: a page-out that comes after has a higher one.
        let below = device.take_version();
        if device.map.drop_replicas(page, entry, slots) {
            self.forget_copies(page, slots, below, shard, device);
        }
    }

    /// The map no longer names `slots` as holding versions of the page below `below`.
    fn forget_copies<S, M>(
        &mut self,
        page: PageIndex,
        slots: SlotSet,
        below: Version,
        shard: &mut Shard<S>,
        device: &Device<M>,
    ) where
        S: Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        // CAST: a few.
        let count = slots.len() as u64;
        self.counters.copies_dropped = self.counters.copies_dropped.wrapping_add(count);
        // Who is silent is asked what he has when he is back.
        shard.note_stale_copy(page, slots.intersection(device.servers.usable()), below);
    }

    /// Begins to copy a page. Returns whether that was possible.
    fn begin<S, M>(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        shard: &mut Shard<S>,
        device: &Device<M>,
    ) -> bool
    where
        S: Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        if device.copies.contains(page) {
            // It may need more than the copy that is under way.
            self.put_off(page);
            return false;
        }
        device.copies.begin(index, page);
        // Only now: a page-out that is not seen here, sees the copy.
        let entry = device.map.load(page);
        let is_possible = matches!(Self::need(entry, device), Need::Copy)
            && !Self::sources(entry, device).is_empty()
            && !Self::targets(entry, device).is_empty();
        if !is_possible || shard.start_copy_in(now_ns, index, page, device).is_err() {
            device.copies.end(index);
            self.put_off(page);
            return false;
        }
        if let Some(job) = self.jobs.get_mut(index) {
            *job = Job::Reading { page, entry };
        }
        true
    }

    /// Who can be asked for the page.
    fn sources<M>(entry: Entry, device: &Device<M>) -> SlotSet
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let servers = &device.servers;
        entry
            .replicas()
            .intersection(servers.valid())
            .intersection(servers.usable())
    }

    /// Who can take a copy of the page.
    fn targets<M>(entry: Entry, device: &Device<M>) -> SlotSet
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let servers = &device.servers;
        servers
            .placeable()
            .intersection(servers.counting())
            .without(entry.replicas())
    }

    /// An op of repair's shard is over. Returns a page for which requests wait: tell every shard
    /// ([`Shard::unpark`]).
    pub fn completed<S, M>(
        &mut self,
        now_ns: u64,
        completion: &Completion,
        shard: &mut Shard<S>,
        device: &Device<M>,
    ) -> Option<PageIndex>
    where
        S: Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        let index = completion.op;
        let job = self.jobs.get_mut(index)?;
        let mut wake = None;
        match core::mem::take(job) {
            Job::Idle => {}
            Job::Reading { page, entry } => {
                let come = match completion.outcome {
                    Outcome::Done => Some(None),
                    Outcome::Filled(value) => Some(Some(value)),
                    Outcome::Zeros | Outcome::Failed => None,
                };
                let is_sent = come.is_some_and(|fill| {
                    let come = Come { page, entry, fill };
                    self.send_copy(now_ns, index, &come, shard, device)
                });
                if !is_sent {
                    self.give_up(index, page, device);
                }
            }
            Job::Writing {
                copy,
                entry,
                incarnation,
            } => {
                let is_there = completion.outcome == Outcome::Done
                    && device.servers.is_current(copy.slot, incarnation)
                    && !device.servers.closing().contains(copy.slot);
                let is_kept = is_there && self.commit(index, &copy, entry, shard, device);
                if is_there && device.has_parked() {
                    // The page was locked for a moment.
                    wake = Some(copy.page);
                }
                if !is_kept {
                    // It may have arrived, or arrive still.
                    let below = Version(copy.version.0.saturating_add(1));
                    shard.note_stale_copy(copy.page, SlotSet::one(copy.slot), below);
                    self.give_up(index, copy.page, device);
                }
            }
        }
        self.wake_ns = self.wake_ns.min(now_ns.max(self.next_copy_ns));
        wake
    }

    /// The page has come in: it goes out to another server. Returns whether it does.
    fn send_copy<S, M>(
        &mut self,
        now_ns: u64,
        index: usize,
        come: &Come,
        shard: &mut Shard<S>,
        device: &Device<M>,
    ) -> bool
    where
        S: Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        let &Come { page, entry, fill } = come;
        let Some(slot) = shard.emptiest(Self::targets(entry, device), device) else {
            return false;
        };
        let version = device.take_version_of(entry.generation());
        // Only now: a page-out that has cancelled the copy may have a lower version; one that
        // has not, will have a higher one, and no server takes the copy after that.
        if device.copies.is_cancelled(index) {
            return false;
        }
        let copy = CopyOut {
            page,
            version,
            slot,
            fill,
            crc: shard.copied_crc(index),
        };
        let incarnation = device.servers.address(slot).incarnation;
        if shard.start_copy_out(now_ns, index, &copy, device).is_err() {
            return false;
        }
        if let Some(job) = self.jobs.get_mut(index) {
            *job = Job::Writing {
                copy,
                entry,
                incarnation,
            };
        }
        true
    }

    /// The copy is there: the map says so, unless the page has been written or freed meanwhile.
    fn commit<S, M>(
        &mut self,
        index: usize,
        copy: &CopyOut,
        entry: Entry,
        shard: &mut Shard<S>,
        device: &Device<M>,
    ) -> bool
    where
        S: Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        let page = copy.page;
        device.copies.enter(page);
        let Some(begun) = device.map.begin_commit(page, entry.generation()) else {
            device.copies.entered();
            return false;
        };
        // No page-out can begin now. One that has ended since, has cancelled the copy.
        let is_cancelled = device.copies.is_cancelled(index);
        let add = match is_cancelled {
            true => SlotSet::EMPTY,
            false => SlotSet::one(copy.slot),
        };
        let counting = device.servers.counting();
        let holders = begun.replicas().union(add);
        let is_whole = holders.intersection(counting).len() >= device.replicas();
        let remove = match is_whole {
            true => holders.without(counting).without(add),
            false => SlotSet::EMPTY,
        };
        let below = Version(copy.version.0.saturating_add(1));
        let is_freed = device.map.end_commit(page, add, remove);
        device.copies.entered();
        if is_freed {
            // Whoever looked for pages to be freed has passed over it.
            let below = device.take_version();
            let entry = device.map.load(page);
            if let Some(slots) = device.map.take_free(page, entry) {
                shard.note_stale_copy(page, slots, below);
                shard.count_freed(1);
            }
        }
        if is_cancelled {
            return false;
        }
        device.copies.end(index);
        self.backoff_ns = FIRST_RETRY_NS;
        self.counters.pages_repaired = self.counters.pages_repaired.wrapping_add(1);
        if !remove.is_empty() {
            self.forget_copies(page, remove, below, shard, device);
        }
        if !is_whole {
            device.note_degraded(page);
        }
        true
    }

    fn give_up<M>(&mut self, index: usize, page: PageIndex, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let counter = match device.copies.is_cancelled(index) {
            true => &mut self.counters.repairs_cancelled,
            false => &mut self.counters.repairs_failed,
        };
        *counter = counter.wrapping_add(1);
        device.copies.end(index);
        self.put_off(page);
    }
}

#[cfg(test)]
mod tests;
