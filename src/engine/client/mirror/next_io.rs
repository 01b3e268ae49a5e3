// SPDX-License-Identifier: GPL-2.0

//! Which pages are written to the disk next, or read from it. Adjacent pages are merged into one I/O.

use super::super::ids::PageIndex;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::buffer::{Buffer, Stage};
use super::pool::Queue;
use super::submit::Submission;
use super::{BufferId, Mirror, DROP_STEP, MERGE};

/// An I/O that the disk has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Io {
    pub(super) submission: Submission,
    /// How often the disk has refused it.
    pub(super) refusals: u32,
    pub(super) is_write: bool,
    /// Its pages; `None` while it is free.
    pub(super) run: Option<Run>,
    pub(super) began_ns: u64,
    /// It has not ended in time. No op waits for it any more.
    pub(super) is_timed_out: bool,
}

impl Io {
    pub(super) fn buffers(&self) -> &[BufferId] {
        self.run.as_ref().map_or(&[], Run::buffers)
    }
}

/// Adjacent pages, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first page; the others follow it.
    pub(super) first: PageIndex,
    buffers: [BufferId; MERGE],
    count: usize,
}

impl Run {
    fn new(page: PageIndex, buffer: BufferId) -> Self {
        Self {
            first: page,
            buffers: [buffer; MERGE],
            count: 1,
        }
    }

    pub(super) fn buffers(&self) -> &[BufferId] {
        self.buffers.get(..self.count).unwrap_or(&[])
    }

    /// The page before its first, or behind its last, if it may have more pages.
    fn beside(&self, is_before: bool) -> Option<PageIndex> {
        let page = match is_before {
            true => self.first.0.checked_sub(1),
            // CAST: at most [`MERGE`].
            false => self.first.0.checked_add(self.count as u32),
        };
        page.filter(|_| self.count < MERGE).map(PageIndex)
    }

    /// Adds a page that [`Self::beside`] returned.
    fn push(&mut self, page: PageIndex, buffer: BufferId) {
        let mut place = self.count;
        if page < self.first {
            self.buffers.rotate_right(1);
            (self.first, place) = (page, 0);
        }
        if let Some(place) = self.buffers.get_mut(place) {
            *place = buffer;
            self.count = self.count.wrapping_add(1);
        }
    }
}

impl<S: Storage> Mirror<S> {
    /// Begins the next I/O for the disk, and returns its number; `None` if there is none now.
    pub(super) fn begin_next_io(&mut self, now_ns: u64, device: &SwapDevice<S>) -> Option<usize> {
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
        for _ in 0..DROP_STEP {
            let first = self.next_write(now_ns)?;
            self.pool.unlink(first);
            if !self.is_page_with_disk(first) && self.is_still_wanted(first, device) {
                return self.begin_io(now_ns, first, device);
            }
        }
        // Many pages have been freed since. The others are looked at by the next call, at once.
        self.note_deadline(0);
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
    pub(super) fn gathered_ns(&self, id: BufferId) -> u64 {
        let since_ns = self.pool[id].at_ns;
        since_ns.saturating_add(self.config.gather_ns)
    }

    pub(super) fn is_page_with_disk(&self, id: BufferId) -> bool {
        let page = self.pool[id].page;
        self.pool.find(page, Buffer::is_with_disk).is_some() && !mutated!(DiskIosOverlap)
    }

    /// Whether the page has not been freed since. If it has, its buffer is dropped.
    fn is_still_wanted(&mut self, id: BufferId, device: &SwapDevice<S>) -> bool {
        let entry = device.map.load(self.pool[id].page);
        if entry.is_busy() || entry.is_written() {
            return true;
        }
        self.counters.freed_unwritten = self.counters.freed_unwritten.wrapping_add(1);
        self.drop_ready(id);
        false
    }

    /// Gives a page, which is in no list, to the disk, together with its neighbours.
    fn begin_io(&mut self, now_ns: u64, seed: BufferId, device: &SwapDevice<S>) -> Option<usize> {
        let id = self.ios.iter().position(|io| io.run.is_none())?;
        let Buffer {
            page,
            stage,
            is_alone,
            ..
        } = self.pool[seed];
        let is_write = stage == Stage::Ready;
        let mut run = Run::new(page, seed);
        for is_before in [true, false] {
            while let Some(page) = run.beside(is_before).filter(|_| !is_alone) {
                let Some(buffer) = self.neighbour(page, is_write, device) else {
                    break;
                };
                run.push(page, buffer);
            }
        }
        for &buffer in run.buffers() {
            self.give_to_disk(buffer, device);
        }
        if let Some(io) = self.ios.get_mut(id) {
            *io = Io {
                is_write,
                run: Some(run),
                began_ns: now_ns,
                ..Io::default()
            };
        }
        self.look_again(now_ns);
        self.count_io(is_write, run.count);
        Some(id)
    }

    /// A buffer of `page` that can go to the disk with its neighbour; it is in no list then.
    fn neighbour(
        &mut self,
        page: PageIndex,
        is_write: bool,
        device: &SwapDevice<S>,
    ) -> Option<BufferId> {
        let stage = if is_write {
            Stage::Ready
        } else {
            Stage::ToRead
        };
        let id = self
            .pool
            .find(page, |buffer| buffer.stage == stage && !buffer.is_alone)?;
        let queue = self.pool.queue_of(id)?;
        let is_listed = matches!(queue, Queue::Reads | Queue::Urgent | Queue::Ready);
        let is_free = is_listed && !self.is_page_with_disk(id);
        if !is_free || is_write && !self.is_still_wanted(id, device) {
            return None;
        }
        self.pool.unlink(id);
        Some(id)
    }

    fn give_to_disk(&mut self, id: BufferId, device: &SwapDevice<S>) {
        let buffer = &mut self.pool[id];
        if buffer.stage == Stage::ToRead {
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
}
