// SPDX-License-Identifier: GPL-2.0

//! When a server is suspected: when it leaves pings unanswered and sends nothing else meanwhile, when a shard
//! suspects it (`shard/suspicion.rs`), or when its answers contradict what the client knows
//! (`SwapDevice::note_high_water`).

use super::{Cluster, Peer, Random};
use crate::engine::client::ids::ServerSlot;
use crate::engine::client::server_table::ServerTable;
use crate::engine::client::storage::Storage;

/// Unanswered pings after which a server is suspected.
const SUSPECT_TRIES: u32 = 3;

impl Peer {
    /// Another ping is due: suspects the server if it has left too many unanswered. Returns whether it is
    /// suspected now and was not before.
    pub(super) fn suspect_if_silent(&mut self, now_ns: u64) -> bool {
        // A server that answers on the data path is slow to answer pings, and not silent.
        let is_heard = self.heard_ns > self.ping.sent_ns();
        let is_silent = self.ping.tries() >= SUSPECT_TRIES && !self.suspected && !is_heard;
        if is_silent {
            self.suspected = true;
            // Perhaps the server only does not know our current address.
            self.say_hello_again(now_ns);
        }
        is_silent
    }
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// A shard suspects the server.
    pub(super) fn suspect(&mut self, now_ns: u64, slot: ServerSlot, table: &ServerTable) {
        let peer = &mut self.peers[slot];
        if !core::mem::replace(&mut peer.suspected, true) && !peer.hello.is_asking() {
            // Perhaps the server only does not know our current address.
            peer.say_hello_again(now_ns);
        }
        // An answer that arrived after the suspicion may have made it usable again.
        table.set_usable(slot, false);
        peer.ping.restart(now_ns);
        self.narrow_suspected(now_ns, slot, table);
        self.changes.servers_changed = true;
    }
}
