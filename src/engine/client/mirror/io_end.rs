// SPDX-License-Identifier: GPL-2.0

//! How an I/O of the disk ends, and what becomes of its pages. Whether one that failed is tried again:
//! `retry.rs`.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::buffer::{Ended, Stage};
use super::{BufferId, Mirror, ReadError};

impl<S: Storage> Mirror<S> {
    /// An I/O that [`Self::poll`] gave has ended, however late.
    pub fn ended(&mut self, now_ns: u64, id: usize, ok: bool, device: &SwapDevice<S>) {
        let io = self.ios.get_mut(id).filter(|io| io.run.is_some());
        let Some(io) = io.map(core::mem::take) else {
            return;
        };
        self.ios_in_use = self.ios_in_use.saturating_sub(1);
        if io.is_write {
            self.writes_under_way = self.writes_under_way.saturating_sub(1);
        }
        if io.is_timed_out {
            self.timed_out = self.timed_out.saturating_sub(1);
        }
        self.submission_ended(now_ns, id, io.submission);
        self.is_given_up = false;
        self.timed_out_since_ns = (self.timed_out != 0).then_some(now_ns);
        match ok {
            true => self.errors_in_a_row = 0,
            // I/O that a disk has not taken yet ends with an error when it is detached.
            false if self.is_attached => self.note_error(&io, device),
            false => {}
        }
        let is_alone = io.buffers().len() == 1;
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

    fn write_ended(
        &mut self,
        now_ns: u64,
        id: BufferId,
        ok: bool,
        was_alone: bool,
        device: &SwapDevice<S>,
    ) {
        let may_retry = !ok && self.is_usable();
        let buffer = &mut self.pool[id];
        let page = buffer.page;
        // Leaves the disk, before others of the page may go there.
        buffer.stage = Stage::Ready;
        let (version, is_timed_out) = (buffer.version, buffer.is_timed_out);
        let is_newest =
            buffer.is_settled && (!buffer.is_superseded || mutated!(DiskBitByOlderWrite));
        if may_retry && self.retry(now_ns, id, was_alone) {
            return;
        }
        if is_newest && ok {
            device.mark_on_disk(page, version.generation());
        } else if is_newest && !is_timed_out {
            self.note_out_of_sync(page, device);
        }
        self.enqueue_others(id);
        self.leave(id, Ended::Written(ok));
    }

    fn read_ended(&mut self, now_ns: u64, id: BufferId, ok: bool, was_alone: bool) {
        let may_retry = !ok && self.is_attached;
        let buffer = &mut self.pool[id];
        buffer.stage = Stage::ToRead;
        let is_superseded = buffer.is_superseded;
        if may_retry && self.retry(now_ns, id, was_alone) {
            return;
        }
        self.enqueue_others(id);
        let result = match (ok, is_superseded) {
            (true, _) => Ok(()),
            (false, true) => Err(ReadError::Changed),
            (false, false) => Err(ReadError::Failed),
        };
        self.leave(id, Ended::Read(result));
    }

    /// The buffer has no more I/O. It is free once the op that waits for it has been notified, and nothing is
    /// copied from it any more.
    pub(super) fn leave(&mut self, id: BufferId, ended: Ended) {
        let buffer = &mut self.pool[id];
        if buffer.is_timed_out && buffer.ended.is_some() {
            // The op is being notified of that.
            buffer.stage = Stage::Notify;
        } else if buffer.waiter.is_some() {
            self.notify(id, ended);
        } else if buffer.pins != 0 {
            buffer.stage = Stage::Outdated;
            self.pool.unlink(id);
        } else {
            self.pool.give(id);
        }
    }

    /// Queues the other buffers of the page, which waited until this one left the disk.
    pub(super) fn enqueue_others(&mut self, id: BufferId) {
        let mut next = self.pool.find(self.pool[id].page, |_| true);
        while let Some(other) = next {
            next = self.pool.next_of(other);
            let waits = matches!(self.pool[other].stage, Stage::Ready | Stage::ToRead);
            if waits && other != id {
                self.enqueue(other);
            }
        }
    }
}
