// SPDX-License-Identifier: GPL-2.0

//! A bounded queue in memory of its owner, the oldest value first.

use core::ops::DerefMut;

/// A bounded queue.
pub struct Ring<S> {
    places: S,
    first: usize,
    len: usize,
}

impl<T: Default, S: DerefMut<Target = [T]>> Ring<S> {
    /// An empty queue in `places`, which are all default.
    pub fn new(places: S) -> Self {
        Self {
            places,
            first: 0,
            len: 0,
        }
    }

    /// The place that is the `nth` from the first; 0 if there are no places.
    fn place(&self, nth: usize) -> usize {
        let at = self.first.wrapping_add(nth);
        at.checked_rem(self.places.len()).unwrap_or(0)
    }

    /// Appends a value. Returns whether there was room.
    pub fn put(&mut self, value: T) -> bool {
        if self.len >= self.places.len() {
            return false;
        }
        let at = self.place(self.len);
        if let Some(place) = self.places.get_mut(at) {
            *place = value;
        }
        self.len = self.len.wrapping_add(1);
        true
    }

    /// Takes the first value.
    pub fn take(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let value = self.places.get_mut(self.first).map(core::mem::take);
        self.first = self.place(1);
        self.len = self.len.wrapping_sub(1);
        value
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All places. Those that hold nothing are default.
    pub(super) fn places_mut(&mut self) -> &mut [T] {
        &mut self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec::Vec;

    #[test]
    fn it_is_bounded_and_in_order() {
        let mut ring = Ring::new(std::vec![0; 3]);
        for round in 0..5 {
            assert_eq!(ring.take(), None);
            for value in 1..=3 {
                assert!(ring.put(round + value));
            }
            assert!(!ring.put(99));
            for value in 1..=3 {
                assert_eq!(ring.take(), Some(round + value));
            }
        }
        assert!(!Ring::new(Vec::new()).put(0));
    }
}
