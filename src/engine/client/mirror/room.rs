// SPDX-License-Identifier: GPL-2.0

//! Which shard may have a free buffer, and which is to be notified that there is one.

use super::super::storage::Storage;
use super::pool::Queue;
use super::turns::Turns;
use super::{Mirror, Way};

impl<S: Storage> Mirror<S> {
    fn turns(&self, way: Way) -> &Turns {
        // PANIC: never; there are as many as ways.
        &self.turns[way as usize]
    }

    pub(super) fn turns_mut(&mut self, way: Way) -> &mut Turns {
        // PANIC: never, as above.
        &mut self.turns[way as usize]
    }

    /// Whether there is a buffer for a shard that has no turn: it comes behind all that wait.
    pub(super) fn is_room_for_more(&self, way: Way) -> bool {
        self.turns(way).is_empty() && self.is_room(way)
    }

    /// Whether there is a buffer that is not reserved for a turn, and that the way may have.
    fn is_room(&self, way: Way) -> bool {
        let len = self.pool.len();
        let free = self.pool.count(Queue::Free);
        let [read, write] = [Way::In, Way::Out].map(|way| self.turns(way).kept());
        match way {
            // While page-outs wait, page-ins leave them an eighth, and the one that page-outs leave to
            // page-ins.
            Way::In => {
                let reading = self.pool.reading().saturating_add(read);
                let is_share = reading < len.saturating_sub(len / 4);
                let is_alone = self.turns(Way::Out).is_empty();
                free > read.saturating_add(write) && (is_alone || is_share)
            }
            // A page-in does not wait until page-outs have made room.
            Way::Out => free > read.max(len / 8).saturating_add(write),
        }
    }

    /// A buffer has become free, or is no longer reserved.
    pub(super) fn note_room(&mut self) {
        for way in Way::ALL {
            while self.is_room(way) && self.turns_mut(way).give() {}
        }
    }

    /// Whether a buffer is reserved for the shard.
    pub(super) fn has_turn(&self, shard: usize, way: Way) -> bool {
        self.turns(way).has(shard)
    }

    /// The first in the shard's line has asked, whether it needed the buffer or not. `others`:
    /// whether another waits behind it.
    pub(super) fn end_turn(&mut self, shard: usize, way: Way, others: bool) {
        let turns = self.turns_mut(way);
        turns.end(shard);
        if others {
            turns.wait(shard);
        }
        self.note_room();
    }

    /// No op of the shard waits for room on this way any more.
    pub fn pass_turn(&mut self, shard: usize, way: Way) {
        self.end_turn(shard, way, false);
    }

    /// A shard that is to be notified that it has a turn, and for which way.
    pub(super) fn poll_turn(&mut self) -> Option<(usize, Way)> {
        Way::ALL
            .into_iter()
            .find_map(|way| Some((self.turns_mut(way).poll()?, way)))
    }
}
