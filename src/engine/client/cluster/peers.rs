// SPDX-License-Identifier: GPL-2.0

//! The peers of a cluster, by slots that exist.

use core::ops::{Deref, DerefMut, Index, IndexMut};

use super::peer::Peer;
use crate::engine::client::ids::{ServerSlot, SlotSet, SERVER_SLOTS};

/// One peer for each server slot.
///
/// # Invariants
///
/// There are [`SERVER_SLOTS`] peers.
pub struct Peers<P>(P);

impl<P: DerefMut<Target = [Peer]>> Peers<P> {
    /// `peers` are all default; `None` if they are too few.
    pub fn new(peers: P) -> Option<Self> {
        // INVARIANT: checked here.
        (peers.len() >= SERVER_SLOTS).then_some(Self(peers))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.0.iter_mut()
    }

    /// The first slot whose peer is as wanted.
    pub(super) fn find(&self, is_wanted: impl Fn(&Peer) -> bool) -> Option<ServerSlot> {
        SlotSet::ALL.iter().find(|&slot| is_wanted(&self[slot]))
    }
}

impl<P: Deref<Target = [Peer]>> Deref for Peers<P> {
    type Target = [Peer];

    fn deref(&self) -> &[Peer] {
        &self.0
    }
}

// PANIC: never, here and below. By the invariants of both types, a slot is below the number of peers.

impl<P: Deref<Target = [Peer]>> Index<ServerSlot> for Peers<P> {
    type Output = Peer;

    fn index(&self, slot: ServerSlot) -> &Peer {
        &self.0[slot.index()]
    }
}

impl<P: DerefMut<Target = [Peer]>> IndexMut<ServerSlot> for Peers<P> {
    fn index_mut(&mut self, slot: ServerSlot) -> &mut Peer {
        &mut self.0[slot.index()]
    }
}
