// SPDX-License-Identifier: GPL-2.0

//! One copy of a page: it begins, the page is read, then written, and it ends.

use super::super::ids::{PageIndex, ServerSlot, SlotSet, Version};
use super::super::page_map::Entry;
use super::super::shard::{Completion, CopyOut, Outcome, Shard};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::need::Copyable;
use super::{Goal, Repair, FIRST_ROOM_NS, LAST_ROOM_NS};

/// One copy under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Job {
    #[default]
    Idle,
    /// The page is being read.
    Reading(Source),
    /// It is being written to a server.
    Writing {
        copy: CopyOut,
        slot: ServerSlot,
        session: u64,
        entry: Entry,
    },
    /// It is being written to the disk.
    Mirroring { page: PageIndex, entry: Entry },
}

impl Job {
    pub(super) fn goal(&self) -> Option<Goal> {
        match self {
            Self::Idle => None,
            Self::Reading(source) => Some(source.goal),
            Self::Writing { .. } => Some(Goal::Server),
            Self::Mirroring { .. } => Some(Goal::Disk),
        }
    }
}

/// A page that is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    page: PageIndex,
    /// The entry when the copy began.
    entry: Entry,
    goal: Goal,
}

impl<S: Storage> Repair<S> {
    /// Begins to copy a page. Returns whether it could.
    pub(super) fn begin(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        goal: Goal,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) -> bool {
        if device.copies.contains(page) {
            // The page may need more copies than the one under way.
            self.put_off(page, goal);
            return false;
        }
        device.copies.begin(index, page);
        // Only now. If this load does not see that a page-out is under way, the page-out sees the copy.
        let entry = device.map.load(page);
        let copyable = match Self::is_wanted(entry, goal, device) {
            true => Self::copyable(now_ns, entry, goal, shard, device),
            false => Copyable::Never,
        };
        if copyable != Copyable::Now || shard.start_copy_in(now_ns, index, page, device).is_err() {
            device.copies.end(index);
            if copyable != Copyable::Never {
                self.put_off(page, goal);
            }
            return false;
        }
        if let Some(job) = self.jobs.get_mut(index) {
            *job = Job::Reading(Source { page, entry, goal });
        }
        true
    }

    /// An op of repair's shard has completed. Returns a page for which requests wait: the caller
    /// notifies every shard ([`Shard::unpark`]).
    pub fn completed(
        &mut self,
        now_ns: u64,
        completion: &Completion,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) -> Option<PageIndex> {
        let index = completion.op.index();
        let job = self.jobs.get_mut(index)?;
        let mut wake = None;
        match core::mem::take(job) {
            Job::Idle => {}
            Job::Reading(source) => {
                let fill = match completion.outcome {
                    Outcome::Done => Some(None),
                    Outcome::Filled(value) => Some(Some(value)),
                    Outcome::Zeros | Outcome::Failed | Outcome::NoSpace => None,
                };
                match fill.and_then(|fill| Self::write(now_ns, index, source, fill, shard, device))
                {
                    Some(next) => *job = next,
                    None => self.give_up(index, source.page, source.goal, device),
                }
            }
            Job::Writing {
                copy,
                slot,
                session,
                entry,
            } => {
                let is_there = completion.outcome == Outcome::Done
                    && device.servers.is_current(slot, session)
                    && !device.servers.quiescing().contains(slot);
                let is_kept = is_there && self.commit(index, &copy, slot, entry, shard, device);
                if is_there && device.has_parked() {
                    // The page was locked for a moment.
                    wake = Some(copy.page);
                }
                if !is_kept {
                    // The copy may have arrived, or arrive later.
                    let below = Version(copy.version.0.saturating_add(1));
                    shard.note_stale_copy(copy.page, SlotSet::one(slot), below);
                    if device.servers.full().contains(slot) {
                        // Another server may have room.
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
                    if !self.commit_to_disk(index, page, entry, shard, device) {
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

    /// The page has been read: writes it to another server, or to the disk. Returns the job of that, if it
    /// can be written.
    fn write(
        now_ns: u64,
        index: usize,
        source: Source,
        fill: Option<u64>,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) -> Option<Job> {
        let Source { page, entry, goal } = source;
        let slot = match goal {
            Goal::Server => Some(shard.place_copy(now_ns, entry, device)?),
            Goal::Disk => None,
        };
        let version = device.take_version_of(entry.generation());
        // Only now: a page-out that has cancelled the copy may have a lower version. One that has not will
        // have a higher one, after which no server accepts the copy. The mirror checks the map afterwards.
        if device.copies.is_cancelled(index) && !mutated!(CopyCancelIgnored) {
            return None;
        }
        let copy = CopyOut {
            page,
            version,
            fill,
            crc: shard.copied_crc(index),
        };
        let Some(slot) = slot else {
            shard.start_copy_to_disk(now_ns, index, &copy).ok()?;
            return Some(Job::Mirroring { page, entry });
        };
        let session = device.servers.address(slot).session;
        let begun = shard.start_copy_to_server(now_ns, index, &copy, slot, device);
        begun.ok().map(|()| Job::Writing {
            copy,
            slot,
            session,
            entry,
        })
    }

    fn give_up(&mut self, index: usize, page: PageIndex, goal: Goal, device: &SwapDevice<S>) {
        self.end_in_vain(index, device);
        self.put_off(page, goal);
    }

    fn end_in_vain(&mut self, index: usize, device: &SwapDevice<S>) {
        let counter = match device.copies.is_cancelled(index) {
            true => &mut self.counters.repairs_cancelled,
            false => &mut self.counters.repairs_failed,
        };
        *counter = counter.wrapping_add(1);
        device.copies.end(index);
    }
}
