// SPDX-License-Identifier: GPL-2.0

//! Detaching the local disk, unless it has the only copy of some page.
//!
//! First the disk is paused: no new page-out relies on it, and those that do are waited for. If every page
//! is on a server as well, the disk is no longer used, and each shard is notified: a page-out that waits for
//! a server no longer counts the disk. Then the servers are asked whether they still have their pages,
//! because one may have restarted unnoticed, and the pages are counted again. From here on only servers that
//! have answered count. If no page needs the disk, and no server was lost since the count began, the disk is
//! given up under the cluster's lock. Only after that are the DISK bits cleared from the map, part by part.
//! So a disk that is kept has all the pages that it had.

use core::ops::Range;

use super::super::cluster::{Cluster, Outbox, Random};
use super::super::config::NS_PER_S;
use super::super::ids::SlotSet;
use super::super::mirror::Mirror;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::detach_need::{self, DiskNeed};
use super::{ANSWER_NS, RECHECK_NS};

/// Why the disk is not detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetachError {
    /// No disk is attached.
    NotAttached,
    /// It has the only copies of this many pages.
    OnlyCopies(u64),
    /// It does not answer, and may still write to our memory.
    TimedOut,
    /// A disk is being attached or detached already.
    UnderWay,
    /// A signal arrived.
    Interrupted,
    /// The disk's I/O went on, or servers kept being lost, for too long.
    TookTooLong,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call [`Detach::with_mirror`] under the mirror's lock.
    Mirror,
    /// Call [`Detach::walk`] without a lock.
    Walk,
    /// Call [`Detach::with_cluster`] under the cluster's lock, then wake the worker.
    Cluster,
    /// Call [`Shard::disk_changed`](super::super::shard::Shard::disk_changed) of every shard, under its lock.
    Shards,
    /// Wait for this many nanoseconds. [`Detach::interrupt`] may be called then.
    Wait(u64),
    /// The last step was carried out: the result.
    Done(Result<(), DetachError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pause,
    /// The disk's writes are waited for.
    Quiet,
    /// The pages that need the disk are counted.
    Count,
    Begin,
    /// All I/O of the disk is waited for.
    Idle,
    Announce,
    /// The servers are asked whether they still have their pages. If the pages have been counted since, and
    /// no server was lost, the disk is given up.
    Ask,
    /// The pages that need the disk are counted once more.
    Recount,
    /// The disk is given up: the DISK bits are cleared from the map.
    Forget,
    /// The disk is kept.
    Keep(DetachError),
    Finish,
    Over(Result<(), DetachError>),
}

/// A disk that is being detached.
pub struct Detach {
    force: bool,
    stage: Stage,
    /// The last check of the mirror found I/O under way.
    waits: bool,
    /// Until when the disk, or the servers, are waited for; 0 after a signal.
    until_ns: u64,
    /// When the servers were first asked whether they have their pages, and how often the versions had jumped
    /// by then.
    asked: Option<(u64, u32)>,
    /// The rule by which the pages are counted once more.
    need: Option<DiskNeed>,
    /// The page that is checked next.
    next: u32,
    /// The number of pages before it that need the disk.
    needing: u64,
}

impl Detach {
    /// Begins to detach the disk; with `force` also if it has the only copy of some page.
    pub fn new(force: bool) -> Self {
        Self {
            force,
            stage: Stage::Pause,
            waits: false,
            until_ns: 0,
            asked: None,
            need: None,
            next: 0,
            needing: 0,
        }
    }

    /// Returns the next step. The caller carries it out before it calls this again.
    pub fn next_step(&mut self) -> Step {
        match self.stage {
            Stage::Quiet | Stage::Idle | Stage::Ask if core::mem::take(&mut self.waits) => {
                Step::Wait(RECHECK_NS)
            }
            Stage::Pause | Stage::Quiet | Stage::Begin | Stage::Idle => Step::Mirror,
            Stage::Keep(_) | Stage::Finish => Step::Mirror,
            Stage::Count | Stage::Recount | Stage::Forget => Step::Walk,
            Stage::Ask => Step::Cluster,
            Stage::Announce => {
                match self.force {
                    true => self.begin_walk(Stage::Forget),
                    false => self.stage = Stage::Ask,
                }
                Step::Shards
            }
            Stage::Over(result) => Step::Done(result),
        }
    }

    /// Whether the disk is gone.
    pub fn has_detached(&self) -> bool {
        self.stage == Stage::Over(Ok(()))
    }

    /// Whether the disk is given up: servers have its pages, or these are lost by force. The simulator's
    /// oracle then checks that.
    pub fn has_given_up(&self) -> bool {
        matches!(
            self.stage,
            Stage::Forget | Stage::Finish | Stage::Over(Ok(()))
        )
    }

    /// Stops waiting for the disk, or for servers.
    pub fn interrupt(&mut self) {
        if !mutated!(InterruptIgnored) {
            self.until_ns = 0;
        }
    }

    /// Why a wait is over before its aim is reached.
    fn why_over(&self) -> DetachError {
        match self.until_ns {
            0 => DetachError::Interrupted,
            _ => DetachError::TookTooLong,
        }
    }

    /// Carries out [`Step::Mirror`]. `is_notified`: whether all shards have received the mirror's events.
    pub fn with_mirror<S: Storage>(
        &mut self,
        now_ns: u64,
        mirror: &mut Mirror<S>,
        device: &SwapDevice<S>,
        is_notified: bool,
    ) {
        let is_stuck = mirror.is_stuck(now_ns);
        let is_timed_out = mirror.has_timed_out() || is_stuck;
        let is_settled = is_notified && !mirror.is_submitting();
        match self.stage {
            Stage::Pause if is_timed_out => self.stage = Stage::Over(Err(DetachError::TimedOut)),
            Stage::Pause => {
                mirror.pause(device);
                self.wait(now_ns, mirror, Stage::Quiet);
            }
            Stage::Quiet if is_settled && !mirror.is_writing() => match self.force {
                true => self.stage = Stage::Begin,
                false => self.begin_walk(Stage::Count),
            },
            Stage::Idle if is_settled && mirror.is_idle() => self.stage = Stage::Announce,
            Stage::Quiet | Stage::Idle => {
                self.waits = true;
                if is_stuck || now_ns >= self.until_ns {
                    self.stage = Stage::Keep(match is_timed_out {
                        true => DetachError::TimedOut,
                        false => self.why_over(),
                    });
                }
            }
            Stage::Begin => {
                mirror.begin_detach(now_ns, device);
                self.wait(now_ns, mirror, Stage::Idle);
            }
            Stage::Keep(error) => self.keep(mirror, device, error),
            Stage::Finish => match mirror.finish_detach(device) {
                Ok(()) => self.stage = Stage::Over(Ok(())),
                Err(_) => self.keep(mirror, device, DetachError::TookTooLong),
            },
            _ => {}
        }
    }

    /// Carries out [`Step::Cluster`].
    pub fn with_cluster<S: Storage, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<S, R>,
        outbox: &mut impl Outbox,
        device: &SwapDevice<S>,
    ) {
        if self.stage != Stage::Ask {
            return;
        }
        let jumps = device.versions().jumps();
        if self.asked.is_some_and(|(_, before)| before != jumps) {
            // The machine may have been rolled back since the servers answered.
            (self.asked, self.need) = (None, None);
        }
        let (since_ns, _) = *self.asked.get_or_insert_with(|| {
            self.until_ns = now_ns.saturating_add(ANSWER_NS);
            (now_ns, jumps)
        });
        let table = &device.servers;
        let confirmed = cluster.confirm(now_ns, since_ns, table, outbox);
        // Under the lock no server is lost.
        let need = Some(DiskNeed::new(table, confirmed.slots));
        if self.need == need {
            self.begin_walk(Stage::Forget);
        } else if now_ns >= self.until_ns {
            self.stage = Stage::Keep(self.why_over());
        } else if confirmed.is_complete {
            self.need = need;
            self.begin_walk(Stage::Recount);
        } else {
            self.waits = true;
        }
    }

    /// Uses the disk as before.
    fn keep<S: Storage>(
        &mut self,
        mirror: &mut Mirror<S>,
        device: &SwapDevice<S>,
        error: DetachError,
    ) {
        if !mirror.is_attached() {
            mirror.cancel_detach(device);
        }
        if error != DetachError::Interrupted || !mutated!(InterruptedDiskPaused) {
            mirror.resume(device);
        }
        self.stage = Stage::Over(Err(error));
    }

    fn wait<S: Storage>(&mut self, now_ns: u64, mirror: &Mirror<S>, stage: Stage) {
        let timeout_ns = mirror.config().disk_timeout_ns.saturating_add(NS_PER_S);
        self.until_ns = now_ns.saturating_add(timeout_ns);
        self.stage = stage;
    }

    fn begin_walk(&mut self, stage: Stage) {
        (self.stage, self.next, self.needing) = (stage, 0, 0);
    }

    /// Checks `pages` more of the map.
    pub fn walk<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) {
        // CAST: a map has fewer than 2^32 pages.
        let len = device.map.len() as u32;
        let end = self.next.saturating_add(pages).min(len);
        let part = self.next..end;
        self.next = end;
        self.look_at(device, part);
        if end >= len {
            self.end_walk();
        }
    }

    /// Counts or forgets the pages of a part.
    fn look_at<S: Storage>(&mut self, device: &SwapDevice<S>, part: Range<u32>) {
        if self.stage == Stage::Forget {
            detach_need::forget(&device.map, part);
            return;
        }
        let now = || DiskNeed::new(&device.servers, SlotSet::ALL);
        let found = self.need.unwrap_or_else(now).count(device, part);
        self.needing = self.needing.saturating_add(found);
    }

    /// The whole map has been checked.
    fn end_walk(&mut self) {
        self.stage = match self.stage {
            Stage::Forget => Stage::Finish,
            _ if self.needing != 0 => Stage::Keep(DetachError::OnlyCopies(self.needing)),
            Stage::Count => Stage::Begin,
            _ => Stage::Ask,
        };
    }
}

#[cfg(test)]
mod tests;
