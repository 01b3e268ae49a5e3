// SPDX-License-Identifier: GPL-2.0

//! Whether a page whose I/O has failed is tried again, and when. (I/O that the disk refused to take:
//! `submit.rs`.)

use super::super::storage::Storage;
use super::pool::Queue;
use super::{BufferId, Mirror};

/// How long to wait before an I/O that has failed is retried.
const RETRY_NS: u64 = 50_000_000;

impl<S: Storage> Mirror<S> {
    /// Queues a page whose I/O has failed, to be tried again in an I/O of its own. Not if that has been done
    /// too often, or if nothing waits for the page any more. Returns whether it is queued.
    pub(super) fn retry(&mut self, now_ns: u64, id: BufferId, was_alone: bool) -> bool {
        let retries = self.config.retries;
        let buffer = &mut self.pool[id];
        if buffer.is_superseded || buffer.is_timed_out {
            return false;
        }
        // It is not the page's fault if it failed together with others.
        buffer.tries = buffer.tries.saturating_add(u32::from(was_alone));
        if buffer.tries > retries {
            return false;
        }
        let at_ns = now_ns.saturating_add(RETRY_NS);
        buffer.is_alone = true;
        buffer.at_ns = at_ns;
        self.pool.push(Queue::Retries, id);
        self.note_deadline(at_ns);
        self.enqueue_others(id);
        true
    }

    /// Queues the pages whose wait is over.
    pub(super) fn queue_due_retries(&mut self, now_ns: u64) {
        let mut next = self.pool.first(Queue::Retries);
        while let Some(id) = next {
            next = self.pool.next_in_list(id);
            let at_ns = self.pool[id].at_ns;
            if now_ns >= at_ns {
                self.pool.unlink(id);
                self.enqueue(id);
            } else {
                self.note_deadline(at_ns);
            }
        }
    }
}
