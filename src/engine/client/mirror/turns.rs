// SPDX-License-Identifier: GPL-2.0

//! Whose turn it is to get a buffer, where page-ins, or page-outs, want more of them than there are.
//!
//! Shards that wait take turns, one buffer each; within a shard, those of one way are served in the order
//! in which they came. So none is kept waiting by those that came later. A shard keeps its turn until it
//! has asked for the buffer or has passed the turn on. The turn is the shard's and not an op's, because an
//! op may end.

/// Number of bits: more than a device has shards.
const LINES: u32 = u128::BITS;

/// Which way a page goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// From the disk.
    In,
    /// To the disk.
    #[default]
    Out,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];
}

/// Shards, a bit each, by their numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    /// Those in which an op waits.
    waiting: u128,
    /// Those whose turn it is: a buffer is kept for each.
    given: u128,
    /// Of those, the ones that are to be notified.
    unnotified: u128,
    /// The number of the next that it may be the turn of.
    next: u32,
}

/// The shard's bit.
fn line(shard: usize) -> u128 {
    // CAST: below `LINES`.
    1_u128.rotate_left((shard % LINES as usize) as u32)
}

impl Turns {
    /// An op of the shard waits.
    pub(super) fn wait(&mut self, shard: usize) {
        self.waiting |= line(shard);
    }

    /// Whether no shard waits or has a turn.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting | self.given == 0
    }

    /// Buffers that are kept for those whose turn it is.
    pub(super) fn kept(&self) -> usize {
        // CAST: at most 128.
        self.given.count_ones() as usize
    }

    /// Gives the next shard that waits its turn, if there is one.
    pub(super) fn give(&mut self) -> bool {
        // A shard that has a turn uses it first.
        let waiting = self.waiting & !self.given;
        if waiting == 0 {
            return false;
        }
        let ahead = waiting.rotate_right(self.next).trailing_zeros();
        let number = self.next.wrapping_add(ahead) % LINES;
        // CAST: 7 bits.
        let line = line(number as usize);
        self.waiting &= !line;
        self.given |= line;
        self.unnotified |= line;
        self.next = number.wrapping_add(1) % LINES;
        true
    }

    /// The next shard that is to be notified that it has a turn.
    pub(super) fn poll(&mut self) -> Option<usize> {
        if self.unnotified == 0 {
            return None;
        }
        // CAST: at most 128.
        let number = self.unnotified.trailing_zeros() as usize;
        self.unnotified &= !line(number);
        Some(number)
    }

    /// Whether it is the shard's turn.
    pub(super) fn has(&self, shard: usize) -> bool {
        self.given & line(shard) != 0
    }

    /// The shard's turn ends, if it has one.
    pub(super) fn end(&mut self, shard: usize) {
        let line = line(shard);
        self.given &= !line;
        self.unnotified &= !line;
    }
}
