// SPDX-License-Identifier: GPL-2.0

//! Which servers have confirmed since some moment that they still have their pages.
//!
//! A server that has restarted stays in the server table until the cluster notices the restart. So before
//! the last other copy of a page is given up, the servers are asked once more.

use super::{Cluster, Outbox, Random};
use crate::engine::client::ids::SlotSet;
use crate::engine::client::server_table::ServerTable;
use crate::engine::client::storage::Storage;

/// The result of [`Cluster::confirm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The servers that have confirmed their session and incarnation.
    pub slots: SlotSet,
    /// Whether every server has that is not suspected.
    pub is_complete: bool,
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// Which servers have confirmed their session and incarnation in the answer to a request that was sent
    /// at `since_ns` or later. The others are asked. The caller calls this again until all have
    /// answered that are not suspected. A server that does not answer is soon suspected.
    pub fn confirm(
        &mut self,
        now_ns: u64,
        since_ns: u64,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) -> Confirmed {
        let outbox = &mut self.settled(outbox);
        let (mut slots, mut is_complete) = (SlotSet::EMPTY, true);
        for slot in table.valid().iter() {
            let peer = &self.peers[slot];
            if peer.confirmed_ns >= since_ns || mutated!(DetachedUnasked) {
                slots.insert(slot);
                continue;
            }
            is_complete &= peer.suspected;
            if !peer.ping.is_asking() {
                // [`Self::handle_timeout`] repeats it.
                self.ping_now(now_ns, slot, outbox);
            }
        }
        Confirmed { slots, is_complete }
    }
}
