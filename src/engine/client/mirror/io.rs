// SPDX-License-Identifier: GPL-2.0

//! I/O that the disk has: it merges adjacent pages, ends in any order, or never ends.

use super::super::config::NS_PER_S;
use super::super::device::Device;
use super::super::ids::PageIndex;
use super::super::storage::Storage;
use super::pool::{Buffer, Ended, Queue, Stage};
use super::submit::Submission;
use super::{BufferId, Mirror, ReadError, MERGE};

/// How long to wait before an I/O that has failed is retried.
const RETRY_NS: u64 = 50_000_000;

/// How often I/O is checked while the disk has any.
const LOOK_NS: u64 = 250_000_000;
/// A check that comes this late means that the client was stopped, not that the disk was silent.
const STOPPED_NS: u64 = 250_000_000;

/// An I/O that the disk has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Io {
    stage: IoStage,
    pub(super) submission: Submission,
    /// How often the disk has refused it.
    pub(super) refusals: u32,
    pub(super) is_write: bool,
    pub(super) first: PageIndex,
    pub(super) buffers: [BufferId; MERGE],
    pub(super) count: usize,
    began_ns: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum IoStage {
    #[default]
    Free,
    UnderWay,
    /// It has not ended in time. No op waits for it any more.
    Abandoned,
}

impl Io {
    fn buffers(&self) -> &[BufferId] {
        self.buffers.get(..self.count).unwrap_or(&[])
    }
}

impl<S: Storage> Mirror<S> {
    /// Begins the next I/O for the disk, and returns its number; `None` if there is none now.
    pub(super) fn begin_next_io(&mut self, now_ns: u64, device: &Device<S>) -> Option<usize> {
        // What is queued for a disk that is being detached is about to be dropped.
        if self.ios_in_use >= self.ios.len() || !self.is_attached && self.is_dropping() {
            return None;
        }
        // Some are reserved for reads, and some for writes while there are any.
        let most = self.ios.len().saturating_sub(self.ios.len() / 4);
        let reads_under_way = self.ios_in_use.saturating_sub(self.writes_under_way);
        let is_alone = !self.is_usable()
            || [Queue::Urgent, Queue::Ready].map(|queue| self.pool.count(queue)) == [0, 0];
        let may_read = is_alone || reads_under_way < most;
        while let Some(first) = may_read.then(|| self.pool.pop(Queue::Reads)).flatten() {
            // Another read of the page may have gone to the disk: this one waits for its end.
            if !self.is_page_with_disk(first) {
                return self.begin_io(now_ns, first, device);
            }
        }
        if self.writes_under_way >= most || !self.is_usable() {
            return None;
        }
        while let Some(first) = self.next_write(now_ns) {
            self.pool.unlink(first);
            if !self.is_page_with_disk(first) && self.is_still_wanted(first, device) {
                return self.begin_io(now_ns, first, device);
            }
        }
        None
    }

    /// The page to be written next, if it is time.
    fn next_write(&mut self, now_ns: u64) -> Option<BufferId> {
        if let Some(first) = self.pool.first(Queue::Urgent) {
            return Some(first);
        }
        let first = self.pool.first(Queue::Ready)?;
        let due_ns = self.gathered_ns(first);
        let is_time = now_ns >= due_ns
            || self.pool.count(Queue::Ready) >= MERGE
            || self.pool.count(Queue::Free) < self.pool.len() / 2;
        if !is_time {
            self.note_deadline(due_ns);
            return None;
        }
        Some(first)
    }

    /// Until when a page waits for neighbours.
    fn gathered_ns(&self, id: BufferId) -> u64 {
        let since_ns = self.pool.get(id).map_or(0, |buffer| buffer.at_ns);
        since_ns.saturating_add(self.config.gather_ns)
    }

    fn is_page_with_disk(&self, id: BufferId) -> bool {
        let is_with_disk =
            |buffer: &Buffer| self.pool.find(buffer.page, Buffer::is_with_disk).is_some();
        self.pool.get(id).is_some_and(is_with_disk) && !mutated!(DiskIosOverlap)
    }

    /// Whether the page has not been freed since. If it has, its buffer is dropped.
    fn is_still_wanted(&mut self, id: BufferId, device: &Device<S>) -> bool {
        let Some(buffer) = self.pool.get(id) else {
            return false;
        };
        let entry = device.map.load(buffer.page);
        if entry.is_busy() || entry.is_written() {
            return true;
        }
        self.counters.freed_unwritten = self.counters.freed_unwritten.wrapping_add(1);
        self.drop_ready(id);
        false
    }

    /// Gives a page, which is in no list, to the disk, together with its neighbours.
    fn begin_io(&mut self, now_ns: u64, seed: BufferId, device: &Device<S>) -> Option<usize> {
        let id = self.ios.iter().position(|io| io.stage == IoStage::Free)?;
        let page = self
            .pool
            .get(seed)
            .map_or(PageIndex(0), |buffer| buffer.page);
        let is_write = self.pool.get(seed).map(|buffer| buffer.stage) == Some(Stage::Ready);
        let mut buffers = [seed; MERGE];
        let mut count = 1_usize;
        let mut first = page;
        if self.pool.get(seed).is_some_and(|buffer| !buffer.is_alone) {
            // Those before it, the nearest first; then those behind it.
            while let Some(previous) = first.0.checked_sub(1).map(PageIndex) {
                let Some(place) = buffers.get_mut(count) else {
                    break;
                };
                let Some(neighbour) = self.neighbour(previous, is_write, device) else {
                    break;
                };
                *place = neighbour;
                count = count.wrapping_add(1);
                first = previous;
            }
            if let Some(before) = buffers.get_mut(..count) {
                before.reverse();
            }
            let mut last = page;
            while let Some(place) = buffers.get_mut(count) {
                last = PageIndex(last.0.saturating_add(1));
                let Some(neighbour) = self.neighbour(last, is_write, device) else {
                    break;
                };
                *place = neighbour;
                count = count.wrapping_add(1);
            }
        }
        for &buffer in buffers.get(..count).unwrap_or(&[]) {
            self.give_to_disk(buffer, device);
        }
        if let Some(io) = self.ios.get_mut(id) {
            *io = Io {
                stage: IoStage::UnderWay,
                submission: Submission::Staged,
                refusals: 0,
                is_write,
                first,
                buffers,
                count,
                began_ns: now_ns,
            };
        }
        self.look_again(now_ns);
        self.count_io(is_write, count);
        Some(id)
    }

    /// A buffer of `page` that can go to the disk with its neighbour; it is in no list then.
    fn neighbour(
        &mut self,
        page: PageIndex,
        is_write: bool,
        device: &Device<S>,
    ) -> Option<BufferId> {
        let stage = if is_write {
            Stage::Ready
        } else {
            Stage::Wanted
        };
        let id = self
            .pool
            .find(page, |buffer| buffer.stage == stage && !buffer.is_alone)?;
        let is_listed = matches!(
            self.pool.queue_of(id),
            Some(Queue::Reads | Queue::Urgent | Queue::Ready)
        );
        if !is_listed || self.is_page_with_disk(id) {
            return None;
        }
        if is_write && !self.is_still_wanted(id, device) {
            return None;
        }
        self.pool.unlink(id);
        Some(id)
    }

    fn give_to_disk(&mut self, id: BufferId, device: &Device<S>) {
        let Some(buffer) = self.pool.get_mut(id) else {
            return;
        };
        if buffer.stage == Stage::Wanted {
            buffer.stage = Stage::Reading;
            return;
        }
        buffer.stage = Stage::Writing;
        if !buffer.is_settled {
            // Its page-out may yet fail, and the older version be the newest again.
            device.map.forget_disk(buffer.page);
        }
    }

    fn count_io(&mut self, is_write: bool, pages: usize) {
        self.ios_in_use = self.ios_in_use.saturating_add(1);
        let counters = &mut self.counters;
        // CAST: few.
        let (ios, sum) = if is_write {
            self.writes_under_way = self.writes_under_way.saturating_add(1);
            (&mut counters.writes, &mut counters.pages_written)
        } else {
            (&mut counters.reads, &mut counters.pages_read)
        };
        *ios = ios.wrapping_add(1);
        *sum = sum.wrapping_add(pages as u64);
    }

    /// An I/O that [`Self::poll`] gave has ended, however late.
    pub fn ended(&mut self, now_ns: u64, id: usize, ok: bool, device: &Device<S>) {
        let Some(io) = self.ios.get_mut(id) else {
            return;
        };
        if io.stage == IoStage::Free {
            return;
        }
        let io = core::mem::take(io);
        self.ios_in_use = self.ios_in_use.saturating_sub(1);
        if io.is_write {
            self.writes_under_way = self.writes_under_way.saturating_sub(1);
        }
        if io.stage == IoStage::Abandoned {
            self.abandoned = self.abandoned.saturating_sub(1);
        }
        self.submission_ended(now_ns, id, io.submission);
        self.is_hopeless = false;
        self.silent_since_ns = (self.abandoned != 0).then_some(now_ns);
        match ok {
            true => self.errors_in_a_row = 0,
            // I/O that a disk has not taken yet ends with an error when it is detached.
            false if self.is_attached => self.note_error(&io, device),
            false => {}
        }
        let is_alone = io.count == 1;
        for &buffer in io.buffers() {
            if io.is_write {
                self.write_ended(now_ns, buffer, ok, is_alone, device);
            } else {
                self.read_ended(now_ns, buffer, ok, is_alone);
            }
        }
        self.publish(device);
        self.note_room();
    }

    fn note_error(&mut self, io: &Io, device: &Device<S>) {
        self.counters.errors = self.counters.errors.wrapping_add(1);
        let mut pages = io.buffers().iter().filter_map(|&id| self.pool.get(id));
        if pages.any(|buffer| buffer.is_alone) {
            // One bad place is retried several times, which is no sign of others.
            return;
        }
        self.errors_in_a_row = self.errors_in_a_row.saturating_add(1);
        if self.errors_in_a_row >= self.config.errors_max && !self.has_failed {
            self.counters.faulty = self.counters.faulty.wrapping_add(1);
            self.has_failed = true;
            self.drop_queued(device);
        }
    }

    fn write_ended(
        &mut self,
        now_ns: u64,
        id: BufferId,
        ok: bool,
        was_alone: bool,
        device: &Device<S>,
    ) {
        let may_retry = !ok && self.is_usable();
        let retries = self.config.retries;
        let Some(buffer) = self.pool.get_mut(id) else {
            return;
        };
        let page = buffer.page;
        // Leaves the disk, before others of the page may go there.
        buffer.stage = Stage::Ready;
        if may_retry && !buffer.is_superseded && !buffer.is_abandoned {
            // It is not the page's fault if it failed together with others.
            buffer.tries = buffer.tries.saturating_add(u32::from(was_alone));
            if buffer.tries <= retries {
                buffer.is_alone = true;
                buffer.at_ns = now_ns.saturating_add(RETRY_NS);
                let at_ns = buffer.at_ns;
                self.pool.push(Queue::Retries, id);
                self.note_deadline(at_ns);
                self.enqueue_others(id);
                return;
            }
        }
        let is_newest =
            buffer.is_settled && (!buffer.is_superseded || mutated!(DiskBitByOlderWrite));
        if is_newest && ok {
            device.mark_on_disk(page, buffer.version.generation());
        } else if is_newest && !buffer.is_abandoned {
            self.note_lag(page, device);
        }
        self.enqueue_others(id);
        self.leave(id, Ended::Written(ok));
    }

    fn read_ended(&mut self, now_ns: u64, id: BufferId, ok: bool, was_alone: bool) {
        let retries = self.config.retries;
        let is_attached = self.is_attached;
        let Some(buffer) = self.pool.get_mut(id) else {
            return;
        };
        buffer.stage = Stage::Wanted;
        let is_superseded = buffer.is_superseded;
        if !ok && is_attached && !is_superseded && !buffer.is_abandoned {
            buffer.tries = buffer.tries.saturating_add(u32::from(was_alone));
            if buffer.tries <= retries {
                buffer.is_alone = true;
                buffer.at_ns = now_ns.saturating_add(RETRY_NS);
                let at_ns = buffer.at_ns;
                self.pool.push(Queue::Retries, id);
                self.note_deadline(at_ns);
                self.enqueue_others(id);
                return;
            }
        }
        self.enqueue_others(id);
        let result = match (ok, is_superseded) {
            (true, _) => Ok(()),
            (false, true) => Err(ReadError::Changed),
            (false, false) => Err(ReadError::Failed),
        };
        self.leave(id, Ended::Read(result));
    }

    /// The buffer has no more I/O. It is free once the op that waits for it has been notified.
    fn leave(&mut self, id: BufferId, ended: Ended) {
        let Some(buffer) = self.pool.get_mut(id) else {
            return;
        };
        if buffer.is_abandoned && buffer.ended.is_some() {
            // The op is being notified that it was abandoned.
            buffer.stage = Stage::Notify;
        } else if buffer.waiter.is_some() {
            self.notify(id, ended);
        } else if buffer.pins != 0 {
            buffer.stage = Stage::Left;
        } else {
            self.pool.give(id);
        }
    }

    /// Queues the other buffers of the page, which waited until this one left the disk.
    fn enqueue_others(&mut self, id: BufferId) {
        let page = self.pool.get(id).map(|buffer| buffer.page);
        let mut next = page.and_then(|page| self.pool.find(page, |_| true));
        while let Some(other) = next {
            next = self.pool.next_of(other);
            let waits = self
                .pool
                .get(other)
                .is_some_and(|buffer| matches!(buffer.stage, Stage::Ready | Stage::Wanted));
            if waits && other != id {
                self.enqueue(other);
            }
        }
    }

    /// Time has passed: I/O that has not ended is abandoned, I/O that has failed is retried.
    pub fn handle_timeout(&mut self, now_ns: u64, device: &Device<S>) {
        if now_ns < self.next_deadline_ns {
            return;
        }
        self.next_deadline_ns = u64::MAX;
        if self.is_dropping() {
            self.drop_step(device);
        }
        let late_ns = now_ns.saturating_sub(self.look_at_ns);
        if late_ns >= STOPPED_NS {
            self.postpone_io_timeout(now_ns, late_ns);
        }
        self.look_at_ns = u64::MAX;
        for id in 0..self.ios.len() {
            let Some(io) = self.ios.get(id) else {
                break;
            };
            if io.stage != IoStage::UnderWay {
                continue;
            }
            let due_ns = io.began_ns.saturating_add(self.config.io_timeout_ns);
            if now_ns >= due_ns {
                self.silent_since_ns.get_or_insert(now_ns);
                self.abandon(id, device);
            } else {
                self.note_deadline(due_ns);
                self.look_again(now_ns);
            }
        }
        self.note_submissions(now_ns);
        self.look_for_hope(now_ns, device);
        let mut next = self.pool.first(Queue::Retries);
        while let Some(id) = next {
            next = self.pool.next_in_list(id);
            let at_ns = self.pool.get(id).map_or(0, |buffer| buffer.at_ns);
            if now_ns >= at_ns {
                self.pool.unlink(id);
                self.enqueue(id);
            } else {
                self.note_deadline(at_ns);
            }
        }
        // Pages that have been gathered for long enough go with the next poll, or when an I/O has ended. The
        // poll notes when the others are due.
        let due_ns = self.pool.first(Queue::Ready).map(|id| self.gathered_ns(id));
        if let Some(due_ns) = due_ns.filter(|&due_ns| due_ns > now_ns) {
            self.note_deadline(due_ns);
        }
    }

    /// The disk has I/O: it is checked at least so often, so that a stop of the client shows as a check that
    /// comes late.
    fn look_again(&mut self, now_ns: u64) {
        self.look_at_ns = self.look_at_ns.min(now_ns.saturating_add(LOOK_NS));
        self.note_deadline(self.look_at_ns);
    }

    /// The client was stopped for that long: the I/O timeouts are extended by as much.
    fn postpone_io_timeout(&mut self, now_ns: u64, stopped_ns: u64) {
        for io in self.ios.iter_mut() {
            io.began_ns = io.began_ns.saturating_add(stopped_ns).min(now_ns);
        }
        if let Some(since_ns) = &mut self.silent_since_ns {
            *since_ns = since_ns.saturating_add(stopped_ns).min(now_ns);
        }
    }

    /// Publishes whether the disk has been silent for as long as a request may wait.
    fn look_for_hope(&mut self, now_ns: u64, device: &Device<S>) {
        let Some(since_ns) = self.silent_since_ns else {
            return;
        };
        let due_ns = since_ns.saturating_add(device.io_timeout_ns());
        self.is_hopeless = now_ns >= due_ns;
        self.publish(device);
        // The I/O timeout may change.
        let again_ns = now_ns.saturating_add(NS_PER_S);
        self.note_deadline(match self.is_hopeless {
            true => again_ns,
            false => due_ns.min(again_ns),
        });
    }

    /// No op waits for the I/O any more. The disk keeps its buffers.
    fn abandon(&mut self, id: usize, device: &Device<S>) {
        let Some(io) = self.ios.get_mut(id) else {
            return;
        };
        io.stage = IoStage::Abandoned;
        let io = *io;
        self.counters.abandoned = self.counters.abandoned.wrapping_add(1);
        if self.is_usable() {
            self.counters.faulty = self.counters.faulty.wrapping_add(1);
        }
        self.abandoned = self.abandoned.saturating_add(1);
        for &id in io.buffers() {
            let Some(buffer) = self.pool.get_mut(id) else {
                continue;
            };
            buffer.is_abandoned = true;
            let (page, is_newest) = (buffer.page, buffer.is_settled && !buffer.is_superseded);
            if buffer.waiter.is_some() {
                let ended = match io.is_write {
                    true => Ended::Written(false),
                    false => Ended::Read(Err(ReadError::TimedOut)),
                };
                self.notify(id, ended);
            }
            if io.is_write && is_newest {
                self.note_lag(page, device);
            }
        }
        self.drop_queued(device);
        self.publish(device);
    }
}
