// SPDX-License-Identifier: GPL-2.0

//! What is due at a time: the disk's timeouts, retries, and pages that have been gathered for long enough.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::pool::Queue;
use super::Mirror;

impl<S: Storage> Mirror<S> {
    /// Time has passed: I/O that has not ended times out, I/O that has failed is retried.
    pub fn handle_timeout(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        if now_ns < self.next_deadline_ns {
            return;
        }
        self.next_deadline_ns = u64::MAX;
        if self.is_dropping() {
            self.drop_step(device);
        }
        self.check_timeouts(now_ns, device);
        self.queue_due_retries(now_ns);
        // Pages that have been gathered for long enough go with the next poll, or when an I/O has ended. The
        // poll notes when the others are due.
        let due_ns = self.pool.first(Queue::Ready).map(|id| self.gathered_ns(id));
        if let Some(due_ns) = due_ns.filter(|&due_ns| due_ns > now_ns) {
            self.note_deadline(due_ns);
        }
    }
}
