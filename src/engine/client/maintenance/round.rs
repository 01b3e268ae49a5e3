// SPDX-License-Identifier: GPL-2.0

//! A round of the worker: what is due for the servers, and what follows from their frames.
//!
//! The cluster handles the control frames that have arrived, and takes the copies to be freed. Only then is
//! the low water raised (`low_water.rs`), so that it is above the versions of these frees: a page-out that
//! arrives late cannot restore what a server was told to free. Then the cluster does what is due, the shards
//! and repair are notified of changes, and removals and sweeps continue.
//!
//! If the versions have jumped since the last round, the shards first restart what is under way with an
//! earlier version, and the cluster asks what the servers hold.
//!
//! While the machine hibernates, no copies to be freed are searched for or passed on, and no server is
//! removed. Repair rests as well ([`Repair::begin_copies`]).

pub mod copies_to_free;
mod low_water;

use super::super::cluster::{Changes, Cluster, Outbox, Random};
use super::super::dirty_chunks::DirtyChunks;
use super::super::ids::{BySlot, PageIndex, ServerSlot, SlotSet};
use super::super::inbox::INBOX_FRAMES;
use super::super::newest_versions::Forgetting;
use super::super::repair::Repair;
use super::super::shard::Shard;
use super::super::stale_copy::StaleCopy;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::event_log::{Event, EventLog};
use copies_to_free::{CopiesToFree, BATCH};
use low_water::LowWater;

/// How often a round begins when nothing happens, to raise the low water.
const IDLE_NS: u64 = 1_000_000_000;
/// How soon the next round begins while there are pages to free.
const FREEING_NS: u64 = 2_000_000;
/// How soon it begins while there is something to repair: repair yields to requests that are under way.
const REPAIR_NS: u64 = 20_000_000;

/// What is to be done next. Each step is carried out before the next is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make another key, and put it where pages are sealed; then call [`SwapDevice::begin_key`]. Without
    /// memory the last key stays until a later round.
    TakeKey,
    /// Allocate so many zero words without waiting, and pass them to
    /// [`Versions::give_room`](super::super::versions::Versions::give_room). Without memory there is still as
    /// much room as before.
    Allocate(usize),
    /// Under the cluster's lock, pass at most so many received control frames to it, because a flood must not
    /// delay the other steps. Then call [`Round::with_cluster`].
    Cluster(usize),
    /// Call [`Round::with_shard`] with the shard of this number, under its lock.
    Inspect(usize),
    /// The same, and carry out the shard's work.
    Notify(usize),
    /// Call [`Round::report`] without a lock.
    Report,
    /// Call [`Round::with_repair`] under the lock of repair's shard.
    Repair,
    /// Check the draining servers ([`super::removal`]), and call [`Round::look_again_at`] with when to check
    /// them again.
    Drain,
    /// Call [`Round::sweep`] without a lock.
    Sweep,
    /// The round is over.
    Done,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// Another key is due.
    Key,
    /// There is soon no room to record another jump of the versions.
    Room(usize),
    /// The versions have jumped: a shard restarts what is under way with an earlier one.
    Jumped(usize),
    /// A shard passes on copies to be freed.
    Stale(usize),
    /// The cluster takes them, those in the servers' inventories, and those of freed pages in the map.
    Free,
    /// The shards report their lowest versions that are not settled.
    Oldest(usize),
    /// The cluster does what is due.
    Due,
    /// The shards are notified of what has changed.
    Notify(usize),
    Report,
    Repair,
    Drain,
    Sweep,
    /// The cluster learns that this slot has been swept.
    Swept(ServerSlot),
    #[default]
    Over,
}

/// The worker's rounds, one after the other.
#[derive(Default)]
pub struct Round {
    shards: usize,
    stage: Stage,
    /// How many jumps of the versions the shards have been notified of.
    jumps: u32,
    /// How many words are wanted to record jumps, if there is soon no room.
    wanted_words: Option<usize>,
    /// Whether the versions have jumped before this round.
    has_jumped: bool,
    /// Whether received frames have been passed to the cluster in this round.
    has_taken_frames: bool,
    /// When a frame of each server was last received on the data path.
    heard_ns: BySlot<u64>,
    /// Servers that could not be notified of all copies that they may drop.
    frees_lost: SlotSet,
    /// [`SwapDevice::frees_noted`] before the search for copies to be freed.
    noted: u32,
    to_free: CopiesToFree,
    /// Whether all copies to be freed have been found; `None` without a search.
    found_all: Option<bool>,
    low_water: LowWater,
    /// Whether requests are under way.
    is_busy: bool,
    /// Page-outs that have been refused for lack of room, in all shards.
    no_space: u64,
    log: EventLog,
    /// Whether the machine hibernates.
    rests: bool,
    /// What has changed among the servers: complete when shards are notified.
    pub changes: Changes,
    /// Number of orphans found in servers' inventories, in all rounds.
    pub orphans_found: u64,
    /// Slots to be swept.
    to_sweep: SlotSet,
    /// The slot that is being swept. Its bit is clear in all pages before this one.
    sweep: Option<(ServerSlot, u32)>,
    /// Whether what is known of the newest versions is to be forgotten, and how far that is.
    forgets: bool,
    forgetting: Option<Forgetting>,
    next_ns: u64,
}

impl Round {
    /// For so many shards, repair's included. No round is under way.
    pub fn new(shards: usize) -> Self {
        Self {
            shards,
            ..Self::default()
        }
    }

    /// A round begins.
    pub fn begin<S: Storage>(&mut self, device: &SwapDevice<S>) {
        let versions = device.versions();
        let jumps = versions.jumps();
        self.has_jumped = core::mem::replace(&mut self.jumps, jumps) != jumps;
        self.wanted_words = versions.wanted_words();
        self.stage = match device.wants_key() {
            true => Stage::Key,
            false => self.first(),
        };
        self.forgets = device.must_forget_newest();
        self.has_taken_frames = false;
        self.heard_ns = BySlot::default();
        self.found_all = None;
        self.is_busy = false;
        self.no_space = 0;
        self.changes = Changes::default();
    }

    /// The first stage of every round, once another key has been taken.
    fn first(&mut self) -> Stage {
        match (self.wanted_words.take(), self.has_jumped) {
            (Some(words), _) => Stage::Room(words),
            (None, true) => Stage::Jumped(0),
            (None, false) => Stage::Stale(0),
        }
    }

    /// What is to be done next.
    pub fn next_step(&mut self) -> Step {
        match self.stage {
            Stage::Key => {
                self.stage = self.first();
                Step::TakeKey
            }
            Stage::Room(words) => {
                self.stage = self.first();
                Step::Allocate(words)
            }
            Stage::Stale(shard) | Stage::Oldest(shard) => Step::Inspect(shard),
            // Also if the shards have more copies than are passed on at a time.
            Stage::Free => match core::mem::replace(&mut self.has_taken_frames, true) {
                true => Step::Cluster(0),
                false => Step::Cluster(INBOX_FRAMES),
            },
            Stage::Due | Stage::Swept(_) => Step::Cluster(0),
            Stage::Jumped(shard) | Stage::Notify(shard) => Step::Notify(shard),
            Stage::Report => {
                self.stage = Stage::Repair;
                Step::Report
            }
            Stage::Repair => {
                self.stage = match self.rests {
                    true => Stage::Sweep,
                    false => Stage::Drain,
                };
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

    /// Whether a slot has to be swept, or the newest versions are to be forgotten.
    pub fn is_sweeping(&self) -> bool {
        !self.to_sweep.is_empty() || self.forgets
    }

    /// When the next round is due: at once if received frames have not been passed to the cluster
    /// (`has_frames`).
    pub fn next_ns(&self, has_frames: bool) -> u64 {
        match has_frames {
            true => 0,
            false => self.next_ns,
        }
    }

    /// Another round is due then.
    pub fn look_again_at(&mut self, next_ns: u64) {
        self.next_ns = self.next_ns.min(next_ns);
    }

    /// The stage after that of a shard.
    fn after(&self, shard: usize, stage: fn(usize) -> Stage, then: Stage) -> Stage {
        let next = shard.saturating_add(1);
        match next < self.shards {
            true => stage(next),
            false => then,
        }
    }

    /// Does what is next with a shard.
    pub fn with_shard<S: Storage>(
        &mut self,
        now_ns: u64,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) {
        match self.stage {
            Stage::Jumped(number) => {
                shard.versions_jumped(now_ns, device);
                self.stage = self.after(number, Stage::Jumped, Stage::Stale(0));
            }
            Stage::Stale(number) => {
                if number == 0 {
                    self.noted = device.frees_noted();
                }
                self.to_free.take_from(shard);
                self.stage = self.after(number, Stage::Stale, Stage::Free);
            }
            Stage::Oldest(number) => {
                for slot in SlotSet::ALL.iter() {
                    self.heard_ns[slot] = self.heard_ns[slot].max(shard.heard_ns(slot));
                }
                self.frees_lost = self.frees_lost.union(shard.take_frees_lost());
                shard.count_freed(core::mem::take(&mut self.to_free.found));
                self.low_water.look_at(shard);
                self.is_busy |= shard.has_requests();
                let no_space = shard.counters().pages_out_no_space;
                self.no_space = self.no_space.wrapping_add(no_space);
                self.stage = self.after(number, Stage::Oldest, Stage::Due);
                if self.stage == Stage::Due {
                    self.low_water.raise(device);
                }
            }
            Stage::Notify(number) => {
                for slot in self.changes.opened.iter() {
                    shard.reset_path(slot);
                }
                if self.changes.servers_changed {
                    shard.servers_changed(now_ns, device);
                }
                shard.unpark(now_ns, None, device);
                self.stage = self.after(number, Stage::Notify, Stage::Report);
            }
            _ => {}
        }
    }

    /// Does what is next with the cluster.
    pub fn with_cluster<S: Storage, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<S, R>,
        outbox: &mut impl Outbox,
        device: &SwapDevice<S>,
        chunks: &DirtyChunks<S::Words>,
    ) {
        match self.stage {
            Stage::Free => {
                if mutated!(LowWaterBeforeFrees) {
                    self.low_water.begin(device);
                }
                // Read under the lock: once the machine's notice has had the lock, nothing more is freed.
                self.rests = device.is_hibernating() && !mutated!(FreedWhileHibernating);
                if !self.rests {
                    let found = cluster.free_orphans(now_ns, device);
                    self.orphans_found = self.orphans_found.saturating_add(found);
                    let mut free = |copy: &StaleCopy| cluster.free(now_ns, copy);
                    self.found_all = Some(match self.to_free.pass_on(&mut free) {
                        // The shards may have more.
                        Some(BATCH) => {
                            self.stage = Stage::Stale(0);
                            return;
                        }
                        Some(_) => self.to_free.search(device, chunks, free),
                        None => false,
                    });
                }
                if !mutated!(LowWaterBeforeFrees) {
                    self.low_water.begin(device);
                }
                self.stage = Stage::Oldest(0);
            }
            Stage::Due => {
                if self.has_jumped {
                    cluster.look_for_orphans(now_ns);
                }
                cluster.ask_what_they_have(now_ns, core::mem::take(&mut self.frees_lost));
                cluster.set_io_timeout_ns(device.io_timeout_ns());
                cluster.set_low_water(device.low_water());
                let heard_ns = |slot| self.heard_ns[slot];
                cluster.handle_timeout(now_ns, &device.servers, heard_ns, outbox);
                if self.found_all == Some(true) {
                    device.set_frees_notified(self.noted);
                }
                let most_ns = match self.found_all {
                    Some(false) => FREEING_NS,
                    _ => IDLE_NS,
                };
                self.next_ns = cluster
                    .next_timeout_ns()
                    .min(now_ns.saturating_add(most_ns));
                self.changes = cluster.take_changes();
                self.to_sweep = self.to_sweep.union(self.changes.to_sweep);
                if let Some((high, reporter)) = self.changes.high_water {
                    device.note_high_water(reporter, high);
                }
                self.stage = Stage::Notify(0);
            }
            Stage::Swept(slot) => {
                cluster.swept(now_ns, slot);
                self.stage = Stage::Over;
            }
            _ => {}
        }
    }

    /// Passes what has happened to `log`.
    pub fn report<S: Storage>(
        &mut self,
        now_ns: u64,
        device: &SwapDevice<S>,
        mut log: impl FnMut(Event),
    ) {
        let (changes, has_jumped, no_space) = (&self.changes, self.has_jumped, self.no_space);
        self.log
            .update(now_ns, device, changes, has_jumped, no_space, &mut log);
    }

    /// Begins copies.
    pub fn with_repair<S: Storage>(
        &mut self,
        now_ns: u64,
        repair: &mut Repair<S>,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) {
        if self.changes.servers_changed {
            repair.servers_changed(now_ns, device);
        }
        repair.begin_copies(now_ns, Some(self.is_busy), shard, device);
        if repair.next_timeout_ns() != u64::MAX {
            self.look_again_at(now_ns.saturating_add(REPAIR_NS));
        }
    }

    /// Clears the bit of a slot that is being swept in `pages` more of the map, or forgets the newest
    /// versions of as many pages.
    pub fn sweep<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) {
        self.stage = Stage::Over;
        // At once, for what is left to sweep, or for what the cluster does with a clean slot.
        self.next_ns = 0;
        let first = self.to_sweep.iter().next().map(|slot| (slot, 0));
        let Some((slot, next)) = self.sweep.take().or(first) else {
            if self.forgets {
                self.forgetting = device.forget_newest(self.forgetting.take(), pages);
            }
            return;
        };
        // CAST: a map has fewer than 2^32 pages.
        let len = device.map.len() as u32;
        let end = next.saturating_add(pages).min(len);
        for page in next..end {
            device.map.forget(PageIndex(page), SlotSet::one(slot));
        }
        if end < len {
            self.sweep = Some((slot, end));
        } else {
            self.to_sweep.remove(slot);
            self.stage = Stage::Swept(slot);
        }
    }
}

#[cfg(test)]
mod tests;
