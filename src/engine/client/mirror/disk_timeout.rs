// SPDX-License-Identifier: GPL-2.0

//! When the disk is timed out: while I/O has not ended in time.

use super::super::config::NS_PER_S;
use super::super::stopped_client::TIMER_LATE_NS;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::buffer::Ended;
use super::{Io, Mirror, ReadError};

/// How often I/O is checked while the disk has any.
const CHECK_EVERY_NS: u64 = 250_000_000;

/// The disk is timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl<S: Storage> Mirror<S> {
    /// Checks whether I/O has timed out, and for how long the disk has been timed out.
    pub(super) fn check_timeouts(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        let late_ns = now_ns.saturating_sub(self.look_at_ns);
        if late_ns >= TIMER_LATE_NS {
            self.postpone_timeouts(now_ns, late_ns);
        }
        self.look_at_ns = u64::MAX;
        for id in 0..self.ios.len() {
            let waits = |io: &&Io| io.run.is_some() && !io.is_timed_out;
            let Some(io) = self.ios.get(id).filter(waits) else {
                continue;
            };
            let due_ns = io.began_ns.saturating_add(self.config.disk_timeout_ns);
            if now_ns >= due_ns {
                self.timed_out_since_ns.get_or_insert(now_ns);
                self.io_timed_out(id, device);
            } else {
                self.note_deadline(due_ns);
                self.look_again(now_ns);
            }
        }
        self.note_submissions(now_ns);
        self.check_io_timeout(now_ns, device);
    }

    /// The disk has I/O: it is checked at least so often, so that a stop of the client shows as a check that
    /// comes late.
    pub(super) fn look_again(&mut self, now_ns: u64) {
        self.look_at_ns = self.look_at_ns.min(now_ns.saturating_add(CHECK_EVERY_NS));
        self.note_deadline(self.look_at_ns);
    }

    /// The client was stopped for that long: the timeouts are extended by as much.
    fn postpone_timeouts(&mut self, now_ns: u64, stopped_ns: u64) {
        for io in self.ios.iter_mut() {
            io.began_ns = io.began_ns.saturating_add(stopped_ns).min(now_ns);
        }
        if let Some(since_ns) = &mut self.timed_out_since_ns {
            *since_ns = since_ns.saturating_add(stopped_ns).min(now_ns);
        }
    }

    /// Publishes whether the disk has been silent for as long as a request may wait.
    fn check_io_timeout(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        let Some(since_ns) = self.timed_out_since_ns else {
            return;
        };
        let due_ns = since_ns.saturating_add(device.io_timeout_ns());
        self.is_given_up = now_ns >= due_ns;
        self.publish(device);
        // The I/O timeout may change.
        let again_ns = now_ns.saturating_add(NS_PER_S);
        self.note_deadline(match self.is_given_up {
            true => again_ns,
            false => due_ns.min(again_ns),
        });
    }

    /// No op waits for the I/O any more. The disk keeps its buffers.
    fn io_timed_out(&mut self, id: usize, device: &SwapDevice<S>) {
        let Some(io) = self.ios.get_mut(id) else {
            return;
        };
        io.is_timed_out = true;
        let io = *io;
        self.counters.abandoned = self.counters.abandoned.wrapping_add(1);
        if self.is_usable() {
            self.counters.faulty = self.counters.faulty.wrapping_add(1);
        }
        self.timed_out = self.timed_out.saturating_add(1);
        for &id in io.buffers() {
            let buffer = &mut self.pool[id];
            buffer.is_timed_out = true;
            let (page, is_newest) = (buffer.page, buffer.is_settled && !buffer.is_superseded);
            if buffer.waiter.is_some() {
                let ended = match io.is_write {
                    true => Ended::Written(false),
                    false => Ended::Read(Err(ReadError::TimedOut)),
                };
                self.notify(id, ended);
            }
            if io.is_write && is_newest {
                self.note_out_of_sync(page, device);
            }
        }
        self.drop_queued(device);
        self.publish(device);
    }
}
