// SPDX-License-Identifier: GPL-2.0

//! The shards that wait for a buffer, in a list for each direction, and their grants.
//!
//! Shards that wait are granted one buffer each, in turn. Within a shard, the ops of one direction are served
//! in the order in which they came. So no op waits for those that came later. A grant reserves a buffer until
//! the shard has asked for it or has returned the grant. The grant is the shard's and not an op's, because an
//! op may end.

/// Number of bits: more than a device has shards.
const SHARDS: u32 = u128::BITS;

/// The direction in which a page is transferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the disk.
    In,
    /// To the disk.
    #[default]
    Out,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];
}

/// The shards that wait in one direction, a bit each, by their numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WaitList {
    /// Those in which an op waits.
    waiting: u128,
    /// Those with a grant: a buffer is reserved for each.
    granted: u128,
    /// Of those, the ones that are to be notified.
    unnotified: u128,
    /// The number of the shard that is considered first for the next grant.
    next: u32,
}

/// The shard's bit.
fn bit(shard: usize) -> u128 {
    // CAST: below `SHARDS`.
    1_u128.rotate_left((shard % SHARDS as usize) as u32)
}

impl WaitList {
    /// An op of the shard waits.
    pub(super) fn wait(&mut self, shard: usize) {
        self.waiting |= bit(shard);
    }

    /// Whether no shard waits or has a grant.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting | self.granted == 0
    }

    /// Number of buffers that are reserved.
    pub(super) fn reserved(&self) -> usize {
        // CAST: at most 128.
        self.granted.count_ones() as usize
    }

    /// Grants the next shard that waits a buffer, if there is one.
    pub(super) fn grant(&mut self) -> bool {
        // A shard with a grant uses it first.
        let waiting = self.waiting & !self.granted;
        if waiting == 0 {
            return false;
        }
        let ahead = waiting.rotate_right(self.next).trailing_zeros();
        let number = self.next.wrapping_add(ahead) % SHARDS;
        // CAST: 7 bits.
        let bit = bit(number as usize);
        self.waiting &= !bit;
        self.granted |= bit;
        self.unnotified |= bit;
        self.next = number.wrapping_add(1) % SHARDS;
        true
    }

    /// The next shard that is to be notified of its grant.
    pub(super) fn poll(&mut self) -> Option<usize> {
        if self.unnotified == 0 {
            return None;
        }
        // CAST: at most 128.
        let number = self.unnotified.trailing_zeros() as usize;
        self.unnotified &= !bit(number);
        Some(number)
    }

    /// Whether the shard has a grant.
    pub(super) fn is_granted(&self, shard: usize) -> bool {
        self.granted & bit(shard) != 0
    }

    /// The shard's grant ends, if it has one.
    pub(super) fn end(&mut self, shard: usize) {
        let bit = bit(shard);
        self.granted &= !bit;
        self.unnotified &= !bit;
    }
}
