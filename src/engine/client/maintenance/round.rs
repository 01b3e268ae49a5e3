// SPDX-License-Identifier: GPL-2.0

//! A round of the worker: what is due for the servers, and what follows from their frames.
//!
//! The shards report when they last received frames of each server. The cluster handles the control frames
//! that have arrived, and takes the copies to be freed. Only then is the low water raised, so that it is
//! above the versions of these frees: a page-out that arrives late cannot restore what a server was told to
//! free. Then the cluster does what is due, the shards and repair are notified of changes, and removals and
//! sweeps continue.

use core::ops::DerefMut;

use super::super::cluster::{Changes, Cluster, Outbox, Peer, Random};
use super::super::device::Device;
use super::super::free::{next_free, DirtyChunks, StaleCopy};
use super::super::ids::{PageIndex, ServerSlot, SlotSet, Version, SERVER_SLOTS};
use super::super::inbox::INBOX_FRAMES;
use super::super::repair::Repair;
use super::super::shard::Shard;
use super::super::storage::Storage;

/// How long freed pages are collected before a round begins that notifies servers.
pub const FREE_DELAY_NS: u64 = 2_000_000;
/// How often a round begins when nothing happens, to raise the low water.
const IDLE_NS: u64 = 1_000_000_000;
/// How soon the next round begins while there are pages to free.
const FREEING_NS: u64 = 2_000_000;
/// How soon it begins while there is something to repair: repair waits until no request is under way.
const REPAIR_NS: u64 = 20_000_000;
/// Parts of the map, of 1024 pages each, that are searched for freed pages in one round.
const CHUNKS: u32 = 256;
/// Copies to be freed that a shard passes on at a time.
const BATCH: usize = 16;

/// What is to be done next. Each step is carried out before the next is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call [`Round::look_at_shard`] with the shard of this number, under its lock.
    Look(usize),
    /// Pass received control frames to the cluster under its lock, at most so many: a flood must not delay
    /// the other steps.
    Frames(usize),
    /// Call [`Round::with_cluster`] under the cluster's lock.
    Cluster,
    /// Call [`Round::notify_shard`] with the shard of this number, under its lock, and carry out the shard's
    /// work.
    Notify(usize),
    /// Call [`Round::with_repair`] under the lock of repair's shard.
    Repair,
    /// Check the draining servers ([`super::removal`]), and call [`Round::look_again_in`] with when to check
    /// them again.
    Drain,
    /// Call [`Round::sweep`] without a lock.
    Sweep,
    /// The round is over.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The shards report when they last received frames of each server.
    Hear(usize),
    Frames,
    /// Orphans in the servers' inventories are found.
    Orphans,
    /// A shard passes on copies to be freed.
    Stale(usize),
    /// The cluster takes them.
    Free(usize),
    /// The map is searched for freed pages.
    Scan,
    /// The shards report their lowest versions that are not settled.
    Oldest(usize),
    /// The cluster does what is due.
    Due,
    /// The shards are notified of what has changed.
    Notify(usize),
    Repair,
    Drain,
    Sweep,
    /// The cluster learns that this slot has been swept.
    Swept(ServerSlot),
    Over,
}

/// The worker's rounds, one after the other.
pub struct Round {
    shards: usize,
    stage: Stage,
    /// When a frame of each server was last received on the data path.
    heard_ns: [u64; SERVER_SLOTS],
    /// Servers that could not be notified of all copies that they may drop.
    frees_lost: SlotSet,
    /// [`Device::frees_noted`] before the search for copies to be freed.
    noted: u32,
    /// Copies to be freed that the cluster has not taken yet.
    waiting: [StaleCopy; BATCH],
    waiting_len: usize,
    /// The position of the search for freed pages: the next page, and one past the last.
    scan: Option<(PageIndex, PageIndex)>,
    /// Pages that it has found and no shard has counted yet.
    freed: u64,
    /// Whether there may be more to free.
    is_freeing: bool,
    /// Whether all copies to free have been found.
    has_found_all: bool,
    /// The lowest version that may be under way.
    settled: Version,
    /// Whether requests are under way.
    is_busy: bool,
    changes: Changes,
    orphans_found: u64,
    /// The progress of each slot's sweep: the slot's bit is clear in all pages before this one.
    sweeps: [Option<u32>; SERVER_SLOTS],
    /// When the cluster needs the next round, by the clock.
    next_ns: u64,
    /// In how many nanoseconds the other activities need it.
    again_ns: u64,
}

impl Round {
    /// For so many shards, repair's included. No round is under way.
    pub fn new(shards: usize) -> Self {
        Self {
            shards,
            stage: Stage::Over,
            heard_ns: [0; SERVER_SLOTS],
            frees_lost: SlotSet::EMPTY,
            noted: 0,
            waiting: [StaleCopy::default(); BATCH],
            waiting_len: 0,
            scan: None,
            freed: 0,
            is_freeing: false,
            has_found_all: false,
            settled: Version(0),
            is_busy: false,
            changes: Changes::default(),
            orphans_found: 0,
            sweeps: [None; SERVER_SLOTS],
            next_ns: u64::MAX,
            again_ns: u64::MAX,
        }
    }

    /// A round begins.
    pub fn begin(&mut self) {
        self.stage = Stage::Hear(0);
        self.changes = Changes::default();
        self.heard_ns = [0; SERVER_SLOTS];
        self.is_freeing = false;
        self.has_found_all = false;
        self.is_busy = false;
        self.again_ns = u64::MAX;
    }

    /// What is to be done next.
    pub fn next_step(&mut self) -> Step {
        match self.stage {
            Stage::Hear(shard) | Stage::Stale(shard) | Stage::Oldest(shard) => Step::Look(shard),
            Stage::Frames => {
                self.stage = Stage::Orphans;
                Step::Frames(INBOX_FRAMES)
            }
            Stage::Orphans | Stage::Free(_) | Stage::Scan | Stage::Due | Stage::Swept(_) => {
                Step::Cluster
            }
            Stage::Notify(shard) => Step::Notify(shard),
            Stage::Repair => {
                self.stage = Stage::Drain;
                Step::Repair
            }
            Stage::Drain => {
                self.stage = Stage::Sweep;
                Step::Drain
            }
            Stage::Sweep if self.is_sweeping() => Step::Sweep,
            Stage::Sweep | Stage::Over => Step::Done,
        }
    }

    /// What has changed among the servers in this round: complete when shards are notified.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Whether shards have still to be notified of a change, or a slot has to be swept.
    pub fn has_pending_changes(&self) -> bool {
        let is_notified = matches!(self.stage, Stage::Drain | Stage::Sweep | Stage::Over);
        let has_changed = self.changes.servers_changed || !self.changes.opened.is_empty();
        self.is_sweeping() || (has_changed && !is_notified)
    }

    /// Number of orphans found in servers' inventories, in all rounds.
    pub fn orphans_found(&self) -> u64 {
        self.orphans_found
    }

    /// Whether a slot has to be swept.
    pub fn is_sweeping(&self) -> bool {
        self.sweeps.iter().any(Option::is_some)
    }

    /// When the next round is due, at `now_ns`.
    pub fn next_ns(&self, now_ns: u64) -> u64 {
        self.next_ns.min(now_ns.saturating_add(self.again_ns))
    }

    /// Another round is wanted in so many nanoseconds.
    pub fn look_again_in(&mut self, again_ns: u64) {
        self.again_ns = self.again_ns.min(again_ns);
    }

    /// The stage after that of a shard.
    fn after(&self, shard: usize, stage: fn(usize) -> Stage, then: Stage) -> Stage {
        let next = shard.saturating_add(1);
        match next < self.shards {
            true => stage(next),
            false => then,
        }
    }

    /// Takes from a shard what the current stage needs.
    pub fn look_at_shard<S: Storage>(&mut self, shard: &mut Shard<S>, device: &Device<S>) {
        match self.stage {
            Stage::Hear(number) => {
                for (slot, heard_ns) in SlotSet::ALL.iter().zip(&mut self.heard_ns) {
                    *heard_ns = shard.heard_ns(slot).max(*heard_ns);
                }
                self.frees_lost = self.frees_lost.union(shard.take_frees_lost());
                self.stage = self.after(number, Stage::Hear, Stage::Frames);
            }
            Stage::Stale(number) => {
                while let Some(place) = self.waiting.get_mut(self.waiting_len) {
                    let Some(copy) = shard.take_stale() else {
                        break;
                    };
                    *place = copy;
                    self.waiting_len = self.waiting_len.saturating_add(1);
                }
                self.stage = match self.waiting_len {
                    0 => self.after(number, Stage::Stale, Stage::Scan),
                    _ => Stage::Free(number),
                };
            }
            Stage::Oldest(number) => {
                if number == 0 {
                    shard.count_freed(core::mem::take(&mut self.freed));
                }
                let oldest = shard.oldest_version().unwrap_or(self.settled);
                self.settled = self.settled.min(oldest);
                self.is_busy |= shard.has_requests();
                self.stage = self.after(number, Stage::Oldest, Stage::Due);
                if self.stage == Stage::Due {
                    device.raise_low_water(self.settled);
                }
            }
            _ => {}
        }
    }

    /// Does what is next with the cluster. While `is_resting`, it searches for no copies to free.
    pub fn with_cluster<S: Storage, P: DerefMut<Target = [Peer]>, R: Random>(
        &mut self,
        now_ns: u64,
        is_resting: bool,
        cluster: &mut Cluster<P, R>,
        outbox: &mut impl Outbox,
        device: &Device<S>,
        chunks: &DirtyChunks<S::Words>,
    ) {
        match self.stage {
            Stage::Orphans => {
                cluster.ask_what_they_have(now_ns, core::mem::take(&mut self.frees_lost));
                self.noted = device.frees_noted();
                if is_resting {
                    self.settle(device);
                    return;
                }
                let found = cluster.free_orphans(now_ns, device);
                self.orphans_found = self.orphans_found.saturating_add(found);
                if mutated!(LowWaterBeforeFrees) {
                    self.settled = device.next_version();
                }
                self.stage = Stage::Stale(0);
            }
            Stage::Free(number) => {
                self.is_freeing = !is_resting && !self.free_waiting(now_ns, cluster);
                if is_resting || self.is_freeing {
                    self.settle(device);
                } else {
                    // It may have more.
                    self.stage = Stage::Stale(number);
                }
            }
            Stage::Scan => {
                if !is_resting {
                    self.is_freeing = self.free_scanned(now_ns, cluster, device, chunks);
                    self.has_found_all = !self.is_freeing;
                }
                self.settle(device);
            }
            Stage::Due => self.do_what_is_due(now_ns, cluster, outbox, device),
            Stage::Swept(slot) => {
                cluster.swept(now_ns, slot);
                self.again_ns = 0;
                self.stage = Stage::Over;
            }
            _ => {}
        }
    }

    /// All copies to be freed have versions. Versions that are taken from now on are not below this one.
    fn settle<S: Storage>(&mut self, device: &Device<S>) {
        if !mutated!(LowWaterBeforeFrees) {
            self.settled = device.next_version();
        }
        self.stage = Stage::Oldest(0);
    }

    /// Passes the waiting copies to the cluster. Returns whether it has taken all.
    fn free_waiting<P: DerefMut<Target = [Peer]>, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<P, R>,
    ) -> bool {
        let copies = self.waiting.get(..self.waiting_len).unwrap_or(&[]);
        let taken = copies
            .iter()
            .position(|copy| !cluster.free(now_ns, copy))
            .unwrap_or(self.waiting_len);
        self.waiting_len = self.waiting_len.saturating_sub(taken);
        // PANIC: never; at most as many were taken as there is room for.
        self.waiting.rotate_left(taken);
        self.waiting_len == 0
    }

    /// Searches the map for freed pages and passes them to the cluster while it has room. Returns whether
    /// there may be more.
    fn free_scanned<S: Storage, P: DerefMut<Target = [Peer]>, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<P, R>,
        device: &Device<S>,
        chunks: &DirtyChunks<S::Words>,
    ) -> bool {
        let mut chunks_left = CHUNKS;
        loop {
            let (mut next, end) = match self.scan.take() {
                Some(scan) => scan,
                None => {
                    let Some(left) = chunks_left.checked_sub(1) else {
                        return true;
                    };
                    chunks_left = left;
                    let Some(chunk) = chunks.take(PageIndex(0)) else {
                        return false;
                    };
                    chunk
                }
            };
            let found = next_free(&device.map, &mut next, end, || device.take_version());
            let Some(copy) = found else {
                continue;
            };
            self.scan = Some((next, end));
            self.freed = self.freed.saturating_add(1);
            if !cluster.free(now_ns, &copy) {
                if let Some(place) = self.waiting.first_mut() {
                    (*place, self.waiting_len) = (copy, 1);
                }
                return true;
            }
        }
    }

    fn do_what_is_due<S: Storage, P: DerefMut<Target = [Peer]>, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<P, R>,
        outbox: &mut impl Outbox,
        device: &Device<S>,
    ) {
        cluster.set_io_timeout_ns(device.io_timeout_ns());
        cluster.set_low_water(device.low_water());
        let heard_ns = self.heard_ns;
        let heard = |slot: ServerSlot| heard_ns.get(slot.index()).copied().unwrap_or(0);
        cluster.handle_timeout(now_ns, &device.servers, heard, outbox);
        if self.has_found_all {
            device.set_frees_notified(self.noted);
        }
        let most_ns = match self.is_freeing {
            true => FREEING_NS,
            false => IDLE_NS,
        };
        self.next_ns = cluster
            .next_timeout_ns()
            .min(now_ns.saturating_add(most_ns));
        self.changes = cluster.take_changes();
        for slot in self.changes.to_sweep.iter() {
            if let Some(next) = self.sweeps.get_mut(slot.index()) {
                *next = Some(0);
            }
        }
        if let Some((high, witness)) = self.changes.high_water {
            device.note_high_water(witness, high);
        }
        self.stage = Stage::Notify(0);
    }

    /// Notifies a shard of what has changed.
    pub fn notify_shard<S: Storage>(
        &mut self,
        now_ns: u64,
        shard: &mut Shard<S>,
        device: &Device<S>,
    ) {
        let Stage::Notify(number) = self.stage else {
            return;
        };
        for slot in self.changes.opened.iter() {
            shard.reset_path(slot);
        }
        if self.changes.servers_changed {
            shard.servers_changed(now_ns, device);
        }
        if self.shards > 1 {
            shard.unpark(now_ns, None, device);
        }
        self.stage = self.after(number, Stage::Notify, Stage::Repair);
    }

    /// Begins copies.
    pub fn with_repair<S: Storage>(
        &mut self,
        now_ns: u64,
        repair: &mut Repair<S>,
        shard: &mut Shard<S>,
        device: &Device<S>,
    ) {
        if self.changes.servers_changed {
            repair.servers_changed(now_ns, device);
        }
        repair.drive(now_ns, Some(self.is_busy), shard, device);
        if repair.next_timeout_ns() != u64::MAX {
            self.look_again_in(REPAIR_NS);
        }
    }

    /// Clears the bit of a slot that is being swept in `pages` more of the map.
    pub fn sweep<S: Storage>(&mut self, device: &Device<S>, pages: u32) {
        self.stage = Stage::Over;
        let mut under_way = SlotSet::ALL.iter().zip(&mut self.sweeps);
        let Some((slot, next)) = under_way.find(|(_, next)| next.is_some()) else {
            return;
        };
        // CAST: a map has fewer than 2^32 pages.
        let len = device.map.len() as u32;
        let first = next.unwrap_or(0);
        let end = first.saturating_add(pages).min(len);
        for page in first..end {
            device.map.forget(PageIndex(page), SlotSet::one(slot));
        }
        *next = Some(end).filter(|end| *end < len);
        if next.is_none() {
            self.stage = Stage::Swept(slot);
        }
        self.again_ns = 0;
    }
}
