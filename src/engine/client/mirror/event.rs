// SPDX-License-Identifier: GPL-2.0

//! Which shard is notified of what: the ends of reads and writes first, then changes of the disk's state,
//! then grants.

use super::super::storage::Storage;
use super::buffer::{Ended, Stage};
use super::pool::Queue;
use super::{BufferId, Event, Mirror};

impl<S: Storage> Mirror<S> {
    /// Takes the next event of which shards must be notified; `None` if there is none.
    pub fn poll_event(&mut self) -> Option<Event> {
        while let Some(id) = self.pool.pop(Queue::Notify) {
            let buffer = &mut self.pool[id];
            let (waiter, ended) = (buffer.waiter.take(), buffer.ended.take());
            let is_read = ended == Some(Ended::Read(Ok(())));
            if buffer.stage == Stage::Notify {
                if is_read && waiter.is_some() {
                    buffer.stage = Stage::ReadDone;
                } else if buffer.pins != 0 {
                    buffer.stage = Stage::Outdated;
                } else {
                    self.give(id);
                }
            }
            if let (Some(waiter), Some(ended)) = (waiter, ended) {
                return Some(match ended {
                    Ended::Written(ok) => Event::Written(waiter, ok),
                    Ended::Read(result) => Event::Read(waiter, result.map(|()| id)),
                });
            }
        }
        if core::mem::take(&mut self.state_changed) {
            return Some(Event::StateChanged);
        }
        self.poll_grant()
            .map(|(shard, direction)| Event::Granted(shard, direction))
    }

    /// The op that waits for the buffer is to be notified, and the buffer then freed. A buffer that the disk
    /// has stays there.
    pub(super) fn notify(&mut self, id: BufferId, ended: Ended) {
        self.pool.unlink(id);
        let buffer = &mut self.pool[id];
        buffer.ended = Some(ended);
        if !buffer.is_with_disk() {
            buffer.stage = Stage::Notify;
        }
        self.pool.push(Queue::Notify, id);
    }
}
