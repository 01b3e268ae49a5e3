// SPDX-License-Identifier: GPL-2.0

//! Index and number types that must not be confused.

use core::ops::{Index, IndexMut};

/// Server slots: as many as a page map entry has replica bits.
pub const SERVER_SLOTS: usize = 20;

/// The most replicas of a page.
pub const MAX_REPLICAS: usize = 3;

/// The index of a page of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageIndex(pub u32);

/// A page's version, from one counter of the client, so that a later page-out has a higher one.
/// 0 is not a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// Its low 8 bits, which the page map keeps.
    pub fn generation(self) -> Generation {
        // CAST: the low bits are what is wanted.
        Generation(self.0 as u8)
    }
}

/// The low bits of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generation(pub u8);

/// The number of a server slot.
///
/// # Invariants
///
/// Below [`SERVER_SLOTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerSlot(u8);

impl ServerSlot {
    /// The slot with this number, if there is one.
    pub fn new(number: usize) -> Option<Self> {
        // INVARIANT: checked here. CAST: fits, for the same reason.
        (number < SERVER_SLOTS).then_some(Self(number as u8))
    }

    /// Its number.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A value for each server slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BySlot<T>(pub(super) [T; SERVER_SLOTS]);

// PANIC: never, here and below; a slot is below the array's length by its invariant.

impl<T> Index<ServerSlot> for BySlot<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: ServerSlot) -> &T {
        &self.0[slot.index()]
    }
}

impl<T> IndexMut<ServerSlot> for BySlot<T> {
    #[inline]
    fn index_mut(&mut self, slot: ServerSlot) -> &mut T {
        &mut self.0[slot.index()]
    }
}

/// A set of server slots: the low [`SERVER_SLOTS`] bits of a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlotSet(u32);

bit_set!(SlotSet(u32));

impl SlotSet {
    /// Every slot.
    pub const ALL: Self = Self((1 << SERVER_SLOTS) - 1);

    /// The set with these bits; other bits are dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The set of one slot.
    pub fn one(slot: ServerSlot) -> Self {
        Self(1 << slot.0)
    }

    /// Whether `slot` is in it.
    pub fn contains(self, slot: ServerSlot) -> bool {
        self.0 >> slot.0 & 1 == 1
    }

    /// Puts `slot` in.
    pub fn insert(&mut self, slot: ServerSlot) {
        self.0 |= 1 << slot.0;
    }

    /// Takes `slot` out.
    pub fn remove(&mut self, slot: ServerSlot) {
        self.0 &= !(1 << slot.0);
    }

    /// The slots in it, lowest first.
    pub fn iter(self) -> impl Iterator<Item = ServerSlot> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            // CAST: below 32. INVARIANT: no bit above the slots is ever set.
            let slot = ServerSlot(left.trailing_zeros() as u8);
            left &= left.wrapping_sub(1);
            Some(slot)
        })
    }
}
/// The number of the shard that a tag belongs to.
#[inline]
pub fn shard_of_tag(tag: u32) -> usize {
    // CAST: 16 bits.
    (tag >> 16) as usize
}
