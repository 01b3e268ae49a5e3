// SPDX-License-Identifier: GPL-2.0

//! Copies that servers no longer need to keep: of freed pages, and of versions that newer ones have
//! replaced.

use core::ops::DerefMut;

use super::ids::{PageIndex, SlotSet, Version};

/// Copies of one page that servers may drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StaleCopy {
    /// The page.
    pub page: PageIndex,
    /// Servers that may hold such a copy.
    pub slots: SlotSet,
    /// Versions below this one are to be freed.
    pub below: Version,
}

/// A bounded queue of stale copies. One that does not fit is lost: it occupies a server's memory
/// until the next inventory, which is requested soon.
pub struct StaleCopies<S> {
    ring: S,
    first: usize,
    len: usize,
}

impl<S: DerefMut<Target = [StaleCopy]>> StaleCopies<S> {
    /// An empty queue in `ring`.
    pub fn new(ring: S) -> Self {
        Self {
            ring,
            first: 0,
            len: 0,
        }
    }

    /// Appends one. Returns whether there was room.
    pub fn put(&mut self, copy: StaleCopy) -> bool {
        let capacity = self.ring.len();
        if self.len >= capacity {
            return false;
        }
        let place = self
            .first
            .wrapping_add(self.len)
            .checked_rem(capacity)
            .unwrap_or(0);
        if let Some(cell) = self.ring.get_mut(place) {
            *cell = copy;
        }
        self.len = self.len.wrapping_add(1);
        true
    }

    /// Takes the first one.
    pub fn take(&mut self) -> Option<StaleCopy> {
        if self.len == 0 {
            return None;
        }
        let copy = self.ring.get(self.first).copied();
        self.first = self
            .first
            .wrapping_add(1)
            .checked_rem(self.ring.len())
            .unwrap_or(0);
        self.len = self.len.wrapping_sub(1);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec::Vec;

    #[test]
    fn the_queue_is_bounded_and_in_order() {
        let mut queue = StaleCopies::new([StaleCopy::default(); 3].to_vec());
        let copy = |page| StaleCopy {
            page: PageIndex(page),
            slots: SlotSet::ALL,
            below: Version(9),
        };
        for round in 0..5 {
            assert_eq!(queue.take(), None);
            for page in 0..3 {
                assert!(queue.put(copy(round + page)));
            }
            assert!(!queue.put(copy(99)));
            for page in 0..3 {
                assert_eq!(queue.take(), Some(copy(round + page)));
            }
        }
        assert!(!StaleCopies::new(Vec::new()).put(copy(0)));
    }
}
