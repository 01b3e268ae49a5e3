// SPDX-License-Identifier: GPL-2.0

//! Which shard may have a free buffer, and which is to be notified that there is one.

use super::super::storage::Storage;
use super::pool::Queue;
use super::wait_list::WaitList;
use super::{BufferId, Direction, Mirror};

impl<S: Storage> Mirror<S> {
    fn wait_list(&self, direction: Direction) -> &WaitList {
        // PANIC: never; there are as many as directions.
        &self.wait_lists[direction as usize]
    }

    pub(super) fn wait_list_mut(&mut self, direction: Direction) -> &mut WaitList {
        // PANIC: never, as above.
        &mut self.wait_lists[direction as usize]
    }

    /// Whether a shard without a grant may take a buffer: one is free, and no shard waits.
    pub(super) fn is_room_for_more(&self, direction: Direction) -> bool {
        self.wait_list(direction).is_empty() && self.is_room(direction)
    }

    /// Whether there is a buffer that is not reserved by a grant, and that the direction may have.
    fn is_room(&self, direction: Direction) -> bool {
        let len = self.pool.len();
        let free = self.pool.count(Queue::Free);
        let [read, write] =
            [Direction::In, Direction::Out].map(|direction| self.wait_list(direction).reserved());
        match direction {
            // While page-outs wait, page-ins use at most three quarters.
            Direction::In => {
                let reading = self.pool.reading().saturating_add(read);
                let is_share = reading < len.saturating_sub(len / 4);
                let is_alone = self.wait_list(Direction::Out).is_empty();
                free > read.saturating_add(write) && (is_alone || is_share)
            }
            // A page-in does not wait until page-outs have made room.
            Direction::Out => free > read.max(len / 8).saturating_add(write),
        }
    }

    /// Gives a buffer back, for which shards may wait.
    pub(super) fn give(&mut self, id: BufferId) {
        self.pool.give(id);
        self.note_room();
    }

    /// A buffer has become free, or is no longer reserved.
    pub(super) fn note_room(&mut self) {
        for direction in Direction::ALL {
            while self.is_room(direction) && self.wait_list_mut(direction).grant() {}
        }
    }

    /// Whether a buffer is reserved for the shard.
    pub(super) fn has_grant(&self, shard: usize, direction: Direction) -> bool {
        self.wait_list(direction).is_granted(shard)
    }

    /// The first op in the shard's wait list has asked, whether it needed the buffer or not. `others`:
    /// whether another waits behind it.
    pub(super) fn end_grant(&mut self, shard: usize, direction: Direction, others: bool) {
        let list = self.wait_list_mut(direction);
        list.end(shard);
        if others {
            list.wait(shard);
        }
        self.note_room();
    }

    /// No op of the shard waits for room in this direction any more.
    pub fn return_grant(&mut self, shard: usize, direction: Direction) {
        self.end_grant(shard, direction, false);
    }

    /// A shard that is to be notified of its grant, and the direction.
    pub(super) fn poll_grant(&mut self) -> Option<(usize, Direction)> {
        Direction::ALL
            .into_iter()
            .find_map(|direction| Some((self.wait_list_mut(direction).poll()?, direction)))
    }
}
