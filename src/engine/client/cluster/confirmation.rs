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
    /// Whether every usable server has.
    pub is_complete: bool,
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// Which servers have confirmed their session and incarnation in the answer to a request that was sent
    /// at `since_ns` or later. The others are asked. The caller calls this again until all usable servers
    /// have answered. A server that does not answer is suspected, and then no longer usable.
    pub fn confirm(
        &mut self,
        now_ns: u64,
        since_ns: u64,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) -> Confirmed {
        let outbox = &mut self.settled(outbox);
        let mut slots = SlotSet::EMPTY;
        for slot in table.valid().iter() {
            let peer = &self.peers[slot];
            if peer.confirmed_ns >= since_ns || mutated!(DetachedUnasked) {
                slots.insert(slot);
            } else if !peer.ping.is_asking() {
                // [`Self::handle_timeout`] repeats it.
                self.ping_now(now_ns, slot, outbox);
            }
        }
        Confirmed {
            slots,
            is_complete: table.usable().without(slots).is_empty(),
        }
    }
}
