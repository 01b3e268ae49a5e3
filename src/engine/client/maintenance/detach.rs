// SPDX-License-Identifier: GPL-2.0

//! Detaching the local disk, unless it has the only copy of some page.
//!
//! First the disk is paused: no new page-out relies on it, and those that do are waited for. If every page
//! is on a server as well, the disk is no longer used, and each shard is notified: a page-out that waits for
//! a server no longer counts the disk. The pages are then checked again, because servers may have been lost
//! meanwhile, and the DISK bits are cleared from the map, part by part. If a page turns out to need the
//! disk, the disk is kept, and the pages that it lacks are written to it.
//!
//! When the module is unloaded, only the I/O of the disk is waited for.

use core::ops::Range;

use super::super::config::NS_PER_S;
use super::super::disk_need::{self, DiskNeed};
use super::super::mirror::Mirror;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;

/// The time between two checks whether the disk's I/O has ended.
const LOOK_NS: u64 = 2_000_000;

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
    /// A signal arrived, or it took too long.
    Interrupted,
}

/// The next step.
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
    /// The pages are counted once more, after every page-out has been notified.
    Recount,
    /// The DISK bits are cleared from the map.
    Forget,
    /// A page needed the disk: the pages that need it are counted in the whole map.
    CountNeeding,
    /// The disk is kept.
    Keep(DetachError),
    Finish,
    Over(Result<(), DetachError>),
}

/// A disk that is being detached.
pub struct Detach {
    force: bool,
    /// Whether the module is being unloaded.
    is_last: bool,
    stage: Stage,
    /// The last check of the mirror found I/O under way.
    waits: bool,
    /// Until when the disk is waited for.
    until_ns: u64,
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
            is_last: false,
            stage: Stage::Pause,
            waits: false,
            until_ns: 0,
            next: 0,
            needing: 0,
        }
    }

    /// The module is being unloaded, and no request is under way. The disk's I/O is waited for. If it does
    /// not end in time, the disk is abandoned, and the result is [`DetachError::TimedOut`].
    pub fn for_unload() -> Self {
        Self {
            is_last: true,
            stage: Stage::Begin,
            ..Self::new(true)
        }
    }

    /// Returns the next step. The caller carries it out before it calls this again.
    pub fn next_step(&mut self) -> Step {
        match self.stage {
            Stage::Quiet | Stage::Idle if core::mem::take(&mut self.waits) => Step::Wait(LOOK_NS),
            Stage::Pause | Stage::Quiet | Stage::Begin | Stage::Idle => Step::Mirror,
            Stage::Keep(_) | Stage::Finish => Step::Mirror,
            Stage::Count | Stage::Recount | Stage::CountNeeding => Step::Walk,
            Stage::Forget if self.force => Step::Walk,
            // A server may have been lost since the pages were counted. Under the lock none is lost.
            Stage::Forget => Step::Cluster,
            Stage::Announce => {
                self.begin_walk(Stage::Recount);
                Step::Shards
            }
            Stage::Over(result) => Step::Done(result),
        }
    }

    /// Whether the disk is gone.
    pub fn has_detached(&self) -> bool {
        self.stage == Stage::Over(Ok(()))
    }

    /// Stops waiting for the disk, unless the module is being unloaded.
    pub fn interrupt(&mut self) {
        if !self.is_last {
            self.until_ns = 0;
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
            Stage::Quiet if is_settled && !mirror.is_writing() => {
                self.begin_walk(Stage::Count);
            }
            Stage::Idle if is_settled && mirror.is_idle() => {
                self.stage = match self.is_last {
                    true => Stage::Over(Ok(())),
                    false => Stage::Announce,
                };
            }
            Stage::Idle if self.is_last => {
                self.waits = true;
                if now_ns >= self.until_ns {
                    self.stage = Stage::Over(Err(DetachError::TimedOut));
                }
            }
            Stage::Quiet | Stage::Idle => {
                self.waits = true;
                if is_stuck || now_ns >= self.until_ns {
                    self.stage = Stage::Keep(match is_timed_out {
                        true => DetachError::TimedOut,
                        false => DetachError::Interrupted,
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
                Err(_) => self.keep(mirror, device, DetachError::Interrupted),
            },
            _ => {}
        }
    }

    /// Uses the disk as before. The pages whose DISK bits were cleared are written to it again.
    fn keep<S: Storage>(
        &mut self,
        mirror: &mut Mirror<S>,
        device: &SwapDevice<S>,
        error: DetachError,
    ) {
        if !mirror.is_attached() {
            mirror.cancel_detach(device);
        }
        mirror.resume(device);
        self.stage = Stage::Over(Err(error));
    }

    fn wait<S: Storage>(&mut self, now_ns: u64, mirror: &Mirror<S>, stage: Stage) {
        let more_ns = if self.is_last { 0 } else { NS_PER_S };
        let timeout_ns = mirror.config().disk_timeout_ns.saturating_add(more_ns);
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
        if !self.look_at(device, part) {
            self.begin_walk(Stage::CountNeeding);
        } else if end >= len {
            self.end_walk();
        }
    }

    /// Counts or forgets the pages of a part. Returns false, and forgets nothing, if a page turned out to
    /// need the disk.
    fn look_at<S: Storage>(&mut self, device: &SwapDevice<S>, part: Range<u32>) -> bool {
        let need = DiskNeed::new(&device.servers);
        match (self.stage, self.force) {
            (Stage::Forget, true) => disk_need::forget(&device.map, part),
            (Stage::Forget, false) => return need.forget(&device.map, part).is_ok(),
            (Stage::CountNeeding, _) | (_, false) => {
                let found = need.count(&device.map, part);
                self.needing = self.needing.saturating_add(found);
            }
            (_, true) => {}
        }
        true
    }

    /// The whole map has been checked.
    fn end_walk(&mut self) {
        let needing = self.needing;
        match self.stage {
            Stage::Forget => self.stage = Stage::Finish,
            // A page that needed the disk may no longer need it. The next attempt clears its bit.
            Stage::CountNeeding => {
                self.stage = Stage::Keep(DetachError::OnlyCopies(needing.max(1)))
            }
            _ if needing != 0 => self.stage = Stage::Keep(DetachError::OnlyCopies(needing)),
            Stage::Count => self.stage = Stage::Begin,
            _ => self.begin_walk(Stage::Forget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::config::Config;
    use crate::engine::client::mirror::{self, Buffer, Head, Io};
    use crate::engine::client::storage::heap::{words, Heap};

    #[test]
    fn an_unload_waits_for_the_disk_as_long_as_an_io_may_take() {
        let device = SwapDevice::<Heap>::new(words(4), Config::new(2, 1, 30).unwrap(), 1);
        let parts = mirror::Parts {
            buffers: std::vec![Buffer::default(); 64],
            heads: std::vec![Head::default(); 64],
            ios: std::vec![Io::default(); 4],
        };
        let config = mirror::Config::default();
        let mut mirror = Mirror::<Heap>::new(config, parts);
        mirror.attach(&device).unwrap();
        for is_notified in [false, true] {
            let mut detach = Detach::for_unload();
            assert_eq!(detach.next_step(), Step::Mirror);
            detach.with_mirror(0, &mut mirror, &device, false);
            for now_ns in [1, config.disk_timeout_ns - 1] {
                assert_eq!(detach.next_step(), Step::Mirror);
                detach.with_mirror(now_ns, &mut mirror, &device, false);
                detach.interrupt();
                assert_eq!(detach.next_step(), Step::Wait(LOOK_NS));
            }
            assert_eq!(detach.next_step(), Step::Mirror);
            detach.with_mirror(config.disk_timeout_ns, &mut mirror, &device, is_notified);
            let result = match is_notified {
                true => Ok(()),
                false => Err(DetachError::TimedOut),
            };
            assert_eq!(detach.next_step(), Step::Done(result));
        }
    }
}
