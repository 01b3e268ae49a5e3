// SPDX-License-Identifier: GPL-2.0

//! When a suspected server is lost, and when it is up again. When it is suspected: `unanswered_pings.rs`.
//!
//! It is lost when it has been suspected for the loss timeout, counting only time in which the client ran. It
//! is up again when it answers a ping, which is as long as the shortest fragments. Other answers do not
//! restart the count. They restart that of [`super::silence`], which decides whether requests still wait.
//!
//! The rules: `docs/protocol.md`, "PING".

use super::{Cluster, Peer, Random};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::ServerSlot;
use crate::engine::client::server_table::ServerTable;
use crate::engine::client::stopped_client::WORKER_LATE_NS;
use crate::engine::client::storage::Storage;
use crate::wire::Header;

/// How often a server that is otherwise silent is pinged.
pub(super) const PING_EVERY_NS: u64 = NS_PER_S;

/// The most that one check adds to these times. A longer interval means that the client was stopped. A check
/// that is moderately late shows this too: then only the time until it was due counts.
pub(super) const MOST_COUNTED_NS: u64 = 2 * NS_PER_S;

impl Peer {
    /// Counts for how long the server has been suspected, and silent; the client ran until `ran_ns`.
    pub(super) fn count_time(&mut self, now_ns: u64, ran_ns: u64) {
        self.count_silence(ran_ns);
        self.suspected_ns = match (self.suspected, self.suspected_ns) {
            (false, _) => 0,
            // It was not suspected at the last check, so the start is unknown.
            (true, 0) => 1,
            (true, suspected_ns) => {
                let passed_ns = ran_ns.saturating_sub(self.looked_ns).min(MOST_COUNTED_NS);
                suspected_ns.saturating_add(passed_ns)
            }
        };
        self.looked_ns = now_ns;
    }

    /// Whether it has been suspected for `loss_timeout_ns`.
    pub(super) fn is_lost(&self, loss_timeout_ns: u64) -> bool {
        self.suspected && self.suspected_ns >= loss_timeout_ns
    }
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// Until when the client ran: if this check is late, until it was due.
    pub(super) fn ran_until(&self, now_ns: u64) -> u64 {
        match now_ns.saturating_sub(self.look_at_ns) >= WORKER_LATE_NS {
            true => self.look_at_ns,
            false => now_ns,
        }
    }

    /// Publishes whether the server is lost.
    pub(super) fn check_loss(&mut self, slot: ServerSlot, table: &ServerTable) {
        let is_lost = self.peers[slot].is_lost(self.loss_timeout_ns);
        if is_lost != table.lost().contains(slot) {
            if is_lost && self.peers[slot].answers_hello_only {
                self.changes.too_narrow.insert(slot);
            }
            table.set_lost(slot, is_lost);
            self.changes.servers_changed = true;
        }
    }

    /// The server has answered a ping, or a HELLO that continues the session.
    pub(super) fn note_alive(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        header: &Header,
        table: &ServerTable,
    ) {
        let is_narrow = self.is_narrow();
        let peer = &mut self.peers[slot];
        peer.heard_ns = now_ns;
        peer.answers_hello_only = false;
        peer.ping.restart(now_ns.saturating_add(PING_EVERY_NS));
        // It knows the session by our current address.
        peer.hello.answered();
        peer.note_utilisation(header);
        self.narrow_doubtful(now_ns, slot, table);
        let peer = &mut self.peers[slot];
        if mutated!(SuspicionKept) {
        } else if core::mem::take(&mut peer.suspected)
            || !is_narrow && !table.usable().contains(slot)
        {
            peer.path_mtu.restart(now_ns);
            // Frees of which it could not be notified meanwhile are found by an inventory.
            peer.suspected_ns = 0;
            peer.inventory.begin(now_ns);
            table.set_lost(slot, false);
            table.set_usable(slot, !is_narrow);
            self.changes.servers_changed = true;
        }
        self.publish_load(slot, table);
    }
}
