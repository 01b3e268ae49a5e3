// SPDX-License-Identifier: GPL-2.0

//! Detaching the local disk, unless it has the only copy of some page.
//!
//! The disk is paused, so that no page-out begins to rely on it; those that do, end. If every page is on a
//! server as well, the disk is not used any more, and each shard is told: a page-out that waits for a server
//! no longer counts the disk. Pages are looked at again, for servers may have been lost since, and the DISK
//! bits are cleared from the map, part by part. If a page turns out to need the disk, the disk stays, and is
//! brought up to date.

use core::ops::Range;

use super::super::config::NS_PER_S;
use super::super::device::Device;
use super::super::mirror::Mirror;
use super::super::storage::Storage;
use super::disk_drain::{self, DiskDrain};

/// How often it is looked whether the disk has ended what it has.
const LOOK_NS: u64 = 2_000_000;

/// Why the disk is not detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetachError {
    /// There is none.
    NotAttached,
    /// It has the only copies of so many pages.
    OnlyCopies(u64),
    /// It does not answer, and may still write to our memory.
    Silent,
    /// A disk is being attached or detached already.
    UnderWay,
    /// A signal came, or it took too long.
    Interrupted,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call [`Detach::with_mirror`] under the mirror's lock.
    Mirror,
    /// Call [`Detach::walk`] without a lock.
    Walk,
    /// Call [`Detach::walk`] under the cluster's lock.
    Cluster,
    /// Call [`Shard::disk_changed`](super::super::shard::Shard::disk_changed) of every shard, under its lock.
    Shards,
    /// Wait for so many nanoseconds. [`Detach::interrupt`] may be called then.
    Wait(u64),
    /// It is over, and how it ended.
    Done(Result<(), DetachError>),
}

/// What the mirror does not know of its disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// The disk takes nothing, and cannot be let go of.
    pub is_stuck: bool,
    /// Nothing is being handed to the disk, and all shards know what the mirror has to say.
    pub is_settled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pause,
    /// The writes that the disk has end.
    Quiet,
    /// Pages that need the disk are counted, to find out whether it may go.
    Count,
    Begin,
    /// Everything that the disk has ends.
    Idle,
    Announce,
    /// The same once more, after every page-out has heard of it.
    Recount,
    /// The DISK bits are cleared.
    Forget,
    /// A page needed the disk: how many do, in the whole map.
    CountNeeding,
    /// The disk stays.
    Keep(DetachError),
    Finish,
    Over(Result<(), DetachError>),
}

/// A disk that is being detached.
pub struct Detach {
    force: bool,
    stage: Stage,
    /// The mirror takes part: from when it is paused until the disk stays or is gone.
    is_under_way: bool,
    /// The mirror has just been looked at in vain.
    waits: bool,
    /// How long the disk is waited for.
    until_ns: u64,
    /// The page that is looked at next.
    next: u32,
    /// How many before that need the disk.
    needing: u64,
}

impl Detach {
    /// The disk is to be detached; with `force` also if it has the only copy of some page.
    pub fn new(force: bool) -> Self {
        Self {
            force,
            stage: Stage::Pause,
            is_under_way: false,
            waits: false,
            until_ns: 0,
            next: 0,
            needing: 0,
        }
    }

    /// What is to be done next. The step has been carried out when this is called again.
    pub fn next_step(&mut self) -> Step {
        match self.stage {
            Stage::Quiet | Stage::Idle if core::mem::take(&mut self.waits) => Step::Wait(LOOK_NS),
            Stage::Pause | Stage::Quiet | Stage::Begin | Stage::Idle => Step::Mirror,
            Stage::Keep(_) | Stage::Finish => Step::Mirror,
            Stage::Count | Stage::Recount | Stage::CountNeeding => Step::Walk,
            Stage::Forget if self.force => Step::Walk,
            // A server may have been lost since the pages were counted; under the lock none is.
            Stage::Forget => Step::Cluster,
            Stage::Announce => {
                self.begin_walk(Stage::Recount);
                Step::Shards
            }
            Stage::Over(result) => Step::Done(result),
        }
    }

    /// Whether the disk is being detached: not before it is paused, nor when it stays or is gone.
    pub fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Whether the disk is gone.
    pub fn has_detached(&self) -> bool {
        self.stage == Stage::Over(Ok(()))
    }

    /// The disk is waited for no longer.
    pub fn interrupt(&mut self) {
        self.until_ns = 0;
    }

    /// Does what is next with the mirror.
    pub fn with_mirror<S: Storage>(
        &mut self,
        now_ns: u64,
        mirror: &mut Mirror<S>,
        device: &Device<S>,
        surroundings: Surroundings,
    ) {
        let is_silent = mirror.has_abandoned() || surroundings.is_stuck;
        match self.stage {
            Stage::Pause if is_silent => self.stage = Stage::Over(Err(DetachError::Silent)),
            Stage::Pause => {
                mirror.pause(device);
                self.is_under_way = true;
                self.wait(now_ns, mirror, Stage::Quiet);
            }
            Stage::Quiet if surroundings.is_settled && !mirror.is_writing() => {
                self.begin_walk(Stage::Count);
            }
            Stage::Idle if surroundings.is_settled && mirror.is_idle() => {
                self.stage = Stage::Announce;
            }
            Stage::Quiet | Stage::Idle => {
                self.waits = true;
                if surroundings.is_stuck || now_ns >= self.until_ns {
                    self.stage = Stage::Keep(match is_silent {
                        true => DetachError::Silent,
                        false => DetachError::Interrupted,
                    });
                }
            }
            Stage::Begin => {
                mirror.begin_detach(device);
                self.wait(now_ns, mirror, Stage::Idle);
            }
            Stage::Keep(error) => self.keep(mirror, device, error),
            Stage::Finish => match mirror.finish_detach(device) {
                Ok(()) => {
                    self.is_under_way = false;
                    self.stage = Stage::Over(Ok(()));
                }
                Err(_) => self.keep(mirror, device, DetachError::Interrupted),
            },
            _ => {}
        }
    }

    /// The disk is used as before. It lacks what has been forgotten, and is brought up to date.
    fn keep<S: Storage>(&mut self, mirror: &mut Mirror<S>, device: &Device<S>, error: DetachError) {
        if !mirror.is_attached() {
            mirror.cancel_detach(device);
        }
        mirror.resume(device);
        self.is_under_way = false;
        self.stage = Stage::Over(Err(error));
    }

    fn wait<S: Storage>(&mut self, now_ns: u64, mirror: &Mirror<S>, stage: Stage) {
        let timeout_ns = mirror.config().io_timeout_ns.saturating_add(NS_PER_S);
        self.until_ns = now_ns.saturating_add(timeout_ns);
        self.stage = stage;
    }

    fn begin_walk(&mut self, stage: Stage) {
        (self.stage, self.next, self.needing) = (stage, 0, 0);
    }

    /// Looks at `pages` more of the map.
    pub fn walk<S: Storage>(&mut self, device: &Device<S>, pages: u32) {
        // CAST: a map has fewer than 2^32 pages.
        let len = device.map.len() as u32;
        let end = self.next.saturating_add(pages).min(len);
        let part = self.next..end;
        self.next = end;
        if !self.look_at(device, part) {
            self.begin_walk(Stage::CountNeeding);
        } else if end >= len {
            self.end_walk();
        }
    }

    /// Counts or forgets the pages of a part. Returns false if nothing was forgotten, since a page turned out
    /// to need the disk.
    fn look_at<S: Storage>(&mut self, device: &Device<S>, part: Range<u32>) -> bool {
        let drain = DiskDrain::new(&device.servers);
        match (self.stage, self.force) {
            (Stage::Forget, true) => disk_drain::forget(&device.map, part),
            (Stage::Forget, false) => return drain.forget(&device.map, part).is_ok(),
            (Stage::CountNeeding, _) | (_, false) => {
                let found = drain.count(&device.map, part);
                self.needing = self.needing.saturating_add(found);
            }
            (_, true) => {}
        }
        true
    }

    /// The whole map has been looked at.
    fn end_walk(&mut self) {
        let needing = self.needing;
        match self.stage {
            Stage::Forget => self.stage = Stage::Finish,
            // A page that needed the disk may need it no longer; its bit is cleared the next time.
            Stage::CountNeeding => {
                self.stage = Stage::Keep(DetachError::OnlyCopies(needing.max(1)))
            }
            _ if needing != 0 => self.stage = Stage::Keep(DetachError::OnlyCopies(needing)),
            Stage::Count => self.stage = Stage::Begin,
            _ => self.begin_walk(Stage::Forget),
        }
    }
}
