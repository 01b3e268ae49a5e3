// SPDX-License-Identifier: GPL-2.0

//! Pages on their way to the disk, until they are with it.

use super::super::ids::{PageIndex, Version};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::buffer::{Buffer, Ended, Stage};
use super::pool::Queue;
use super::{BufferId, Direction, Mirror, Policy, Put, ReadError, Token, Write, DROP_STEP};

impl<S: Storage> Mirror<S> {
    /// A page-out is under way: the caller has made the page BUSY in the map. Whatever is here of the page is
    /// superseded. While the disk is tracked, every page-out must call this before it completes.
    pub fn begin_write(&mut self, write: &Write, device: &SwapDevice<S>) -> Put {
        self.write(write, false, device)
    }

    /// As [`Self::begin_write`], by the first op in the wait list of a shard with a grant. `others`: whether
    /// another waits behind it.
    pub fn begin_granted_write(
        &mut self,
        write: &Write,
        others: bool,
        device: &SwapDevice<S>,
    ) -> Put {
        let has_grant = self.has_grant(write.shard, Direction::Out);
        let put = self.write(write, has_grant, device);
        self.end_grant(write.shard, Direction::Out, others);
        put
    }

    fn write(&mut self, write: &Write, has_grant: bool, device: &SwapDevice<S>) -> Put {
        let (page, version) = (write.page, write.version);
        if let Some(given_up) = write.replaces {
            self.drop_version(page, given_up);
        }
        self.supersede(page, version);
        // A page-out that has ended already must not write over what came after it.
        let is_over = !device.map.load(page).is_busy();
        let is_unwanted = self.config.policy == Policy::Off && !write.is_urgent;
        if is_over || is_unwanted || !self.is_usable() {
            return Put::Closed;
        }
        let may = has_grant || self.is_room_for_more(Direction::Out);
        let Some(id) = may.then(|| self.pool.take(page, Direction::Out)).flatten() else {
            self.wait_list_mut(Direction::Out).wait(write.shard);
            self.counters.pool_full = self.counters.pool_full.wrapping_add(1);
            return Put::Full;
        };
        let buffer = &mut self.pool[id];
        buffer.stage = Stage::Filling;
        buffer.version = version;
        Put::Buffer(id)
    }

    /// Repair brings the page's newest version, which has completed, to the disk. Returns [`Put::Closed`] if
    /// the page has another generation than `version`, is being written, or is on the disk or on its way
    /// there. Returns [`Put::Full`] if page-outs may soon need the room; then no grant comes.
    ///
    /// `version` is above all that page-outs of the page have had, and of the map's generation. The map has
    /// only those 8 bits, so the caller has noted the page where page-outs look before it read the map. When
    /// [`Written`](super::Event::Written) has come, the caller sets the DISK bit unless a page-out has begun.
    pub fn begin_copy(&mut self, page: PageIndex, version: Version, device: &SwapDevice<S>) -> Put {
        let entry = device.map.load(page);
        let is_wanted = self.is_usable()
            && !entry.is_busy()
            && entry.is_written()
            && !entry.is_on_disk()
            && entry.generation() == version.generation();
        let is_here = |buffer: &Buffer| {
            matches!(buffer.stage, Stage::Filling | Stage::Ready | Stage::Writing)
                && !buffer.is_superseded
        };
        if !is_wanted || self.pool.find(page, is_here).is_some() {
            return Put::Closed;
        }
        let is_half_free = self.pool.count(Queue::Free) > self.pool.len() / 2;
        let may = is_half_free && self.is_room_for_more(Direction::Out);
        let Some(id) = may.then(|| self.pool.take(page, Direction::Out)).flatten() else {
            return Put::Full;
        };
        let buffer = &mut self.pool[id];
        buffer.stage = Stage::Filling;
        buffer.version = version;
        buffer.is_copy = true;
        Put::Buffer(id)
    }

    /// The buffer of this version is filled, and an op waits until it is on the disk. Returns whether it is
    /// there. If not, it has been written or dropped, and no event will come.
    pub fn want(&mut self, now_ns: u64, page: PageIndex, version: Version, waiter: Token) -> bool {
        let found = self.pool.find(page, |buffer| {
            matches!(buffer.stage, Stage::Filling | Stage::Ready | Stage::Writing)
                && buffer.version == version
                && !buffer.is_superseded
                && !buffer.is_timed_out
        });
        let Some(id) = found else {
            // A page-out may have overtaken a copy while it was copied to its buffer.
            let overtaken = self.pool.find(page, |buffer| {
                buffer.stage == Stage::Filling && buffer.is_copy && buffer.version == version
            });
            if let Some(id) = overtaken {
                self.give(id);
            }
            return false;
        };
        let is_usable = self.is_usable();
        let buffer = &mut self.pool[id];
        let stage = buffer.stage;
        if stage == Stage::Filling && !is_usable {
            self.give(id);
            return false;
        }
        buffer.waiter = Some(waiter);
        match stage {
            Stage::Filling => self.make_ready(now_ns, id),
            Stage::Ready if self.pool.queue_of(id) == Some(Queue::Ready) => {
                self.pool.unlink(id);
                self.pool.push(Queue::Urgent, id);
            }
            _ => {}
        }
        true
    }

    /// The page-out has ended: with success (`completed`), and then this version is the page's, or
    /// in an error. To be called after the map has been changed, for every page-out that got a buffer.
    pub fn settle(
        &mut self,
        now_ns: u64,
        page: PageIndex,
        version: Version,
        completed: bool,
        device: &SwapDevice<S>,
    ) {
        if !completed {
            self.drop_version(page, version);
            return;
        }
        let mut will_be_there = false;
        let mut next = self.pool.find(page, |buffer| buffer.version == version);
        while let Some(id) = next {
            next = self.pool.next_of(id);
            will_be_there |= self.settle_buffer(now_ns, id, version, device);
        }
        if !will_be_there {
            self.note_out_of_sync(page, device);
        }
    }

    /// Returns whether the version is on the disk, will be, or need not be.
    fn settle_buffer(
        &mut self,
        now_ns: u64,
        id: BufferId,
        version: Version,
        device: &SwapDevice<S>,
    ) -> bool {
        let is_usable = self.is_usable();
        let buffer = &mut self.pool[id];
        if buffer.version != version {
            return false;
        }
        match buffer.stage {
            Stage::Filling if buffer.is_superseded || !is_usable => {
                let is_superseded = buffer.is_superseded;
                self.give(id);
                is_superseded
            }
            Stage::Filling => {
                buffer.is_settled = true;
                self.make_ready(now_ns, id);
                true
            }
            Stage::Ready | Stage::Writing => {
                // No op waits any more: the page-out has ended.
                buffer.waiter = None;
                buffer.is_settled = true;
                !buffer.is_timed_out
            }
            // It has been written, and its page-out ended before it was notified.
            Stage::Notify if buffer.ended == Some(Ended::Written(true)) => {
                buffer.is_superseded || device.mark_on_disk(buffer.page, version.generation())
            }
            _ => false,
        }
    }

    /// A buffer is to be written as soon as nothing of its page is with the disk.
    pub(super) fn make_ready(&mut self, now_ns: u64, id: BufferId) {
        let buffer = &mut self.pool[id];
        buffer.stage = Stage::Ready;
        buffer.at_ns = now_ns;
        self.enqueue(id);
    }

    /// Puts a buffer that is to be written, or read, in its list, unless it must wait until other
    /// I/O of its page has ended, which calls this again.
    pub(super) fn enqueue(&mut self, id: BufferId) {
        if self.is_page_with_disk(id) {
            return;
        }
        let buffer = &self.pool[id];
        let queue = match (buffer.stage, buffer.waiter) {
            (Stage::ToRead, _) => Queue::Reads,
            (_, Some(_)) if !buffer.is_copy => Queue::Urgent,
            _ => Queue::Ready,
        };
        self.pool.push(queue, id);
        if queue == Queue::Ready {
            self.note_deadline(self.gathered_ns(id));
        }
    }

    /// Supersedes the page's versions older than `version`, which is on its way.
    fn supersede(&mut self, page: PageIndex, version: Version) {
        let mut next = self.pool.find(page, |_| true);
        while let Some(id) = next {
            next = self.pool.next_of(id);
            let buffer = &mut self.pool[id];
            match buffer.stage {
                Stage::Filling | Stage::Writing | Stage::Notify if buffer.version < version => {
                    buffer.is_superseded = true;
                }
                Stage::Ready if buffer.version < version && !mutated!(OldMirrorWriteKept) => {
                    self.drop_ready(id);
                }
                Stage::ToRead => self.notify(id, Ended::Read(Err(ReadError::Changed))),
                // It may still be right, but is not tried again: the newer version may be there then.
                Stage::Reading => buffer.is_superseded = true,
                _ => {}
            }
        }
    }

    /// Drops this version, which is not the page's and will never be.
    fn drop_version(&mut self, page: PageIndex, version: Version) {
        let mut next = self.pool.find(page, |_| true);
        while let Some(id) = next {
            next = self.pool.next_of(id);
            let buffer = &mut self.pool[id];
            if buffer.version != version {
                continue;
            }
            match buffer.stage {
                Stage::Filling => self.give(id),
                Stage::Writing => {
                    buffer.waiter = None;
                    buffer.is_superseded = true;
                }
                Stage::Ready => {
                    buffer.waiter = None;
                    self.drop_ready(id);
                }
                _ => {}
            }
        }
    }

    /// A page that was to be written is not. The op that waits is notified; a copy from the buffer continues.
    pub(super) fn drop_ready(&mut self, id: BufferId) {
        self.pool[id].is_superseded = true;
        self.leave(id, Ended::Written(false));
        self.note_room();
    }

    /// The disk is no longer used: drops what is queued for it. The pool may be large, so it is searched in
    /// steps: the first now, the others by [`Self::handle_timeout`], at once.
    pub(super) fn drop_queued(&mut self, device: &SwapDevice<S>) {
        self.drop_next = 0;
        self.drop_step(device);
    }

    /// The next step of [`Self::drop_queued`]; none if the disk is used again.
    pub(super) fn drop_step(&mut self, device: &SwapDevice<S>) {
        if self.is_usable() {
            self.drop_next = usize::MAX;
        }
        let end = self.drop_next.saturating_add(DROP_STEP);
        for index in self.drop_next..end {
            let Some(id) = self.pool.id(index) else {
                break;
            };
            let buffer = self.pool[id];
            match buffer.stage {
                Stage::Ready => {
                    self.drop_ready(id);
                    if buffer.is_settled {
                        self.note_out_of_sync(buffer.page, device);
                    }
                }
                // A disk that has only failed may still be read.
                Stage::ToRead if !self.is_attached => {
                    self.notify(id, Ended::Read(Err(ReadError::Failed)));
                }
                _ => {}
            }
        }
        self.drop_next = end;
        if self.is_dropping() {
            self.note_deadline(0);
        }
        self.note_room();
    }

    /// Whether the pool is being searched for pages that no longer go to the disk.
    pub(super) fn is_dropping(&self) -> bool {
        self.drop_next < self.pool.len()
    }

    /// The page's newest version will not be on the disk.
    pub(super) fn note_out_of_sync(&mut self, page: PageIndex, device: &SwapDevice<S>) {
        self.counters.left_out_of_sync = self.counters.left_out_of_sync.wrapping_add(1);
        device.mark_out_of_sync(page);
    }
}
