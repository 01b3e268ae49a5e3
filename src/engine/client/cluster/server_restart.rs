// SPDX-License-Identifier: GPL-2.0

//! Whether a server has restarted, or does not know our session any more. Then its pages are lost.
//!
//! Only the answer to a fresh nonce shows it. Other signs, a rejected frame or an announcement in another
//! incarnation, only cause a ping (`control_answers.rs`).
//!
//! The rules: `docs/protocol.md`, "Restart of a server".

use super::peer::State;
use super::{Cluster, Random};
use crate::engine::client::ids::ServerSlot;
use crate::engine::client::server_table::ServerTable;
use crate::engine::client::storage::Storage;
use crate::wire::{Header, Opcode};

impl<S: Storage, R: Random> Cluster<S, R> {
    /// The server has answered what it was asked at `asked_ns`, with that nonce. A session is open: the
    /// server is alive in it, or has restarted.
    pub(super) fn note_alive_or_restarted(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        header: &Header,
        asked_ns: u64,
        table: &ServerTable,
    ) {
        let peer = &mut self.peers[slot];
        if header.opcode != Opcode::Reject && header.incarnation == peer.incarnation {
            peer.confirmed_ns = asked_ns;
            self.note_alive(now_ns, slot, header, table);
        } else {
            self.restart_session(now_ns, slot, table);
        }
    }

    /// The server's pages are lost: it has restarted, or has ended our session.
    pub(super) fn restart_session(&mut self, now_ns: u64, slot: ServerSlot, table: &ServerTable) {
        let peer = &mut self.peers[slot];
        if mutated!(SlotReusedBeforeSweep) {
            table.close(slot);
            let mac = peer.mac;
            let session = self.random();
            self.peers[slot].connect(now_ns, mac, session);
            self.changes.servers_changed = true;
            return;
        }
        peer.state = State::Sweeping { successor: false };
        // A draining server does not come back.
        let (mac, stays) = (peer.mac, !peer.draining);
        let successor = stays && self.connect_again(now_ns, mac).is_none();
        self.peers[slot].state = State::Sweeping { successor };
        // Before its pages are gone, so that a page-out finds the server in at least one state.
        self.publish_opening(table);
        table.close(slot);
        self.changes.servers_changed = true;
        self.changes.to_sweep.insert(slot);
        self.changes.copies_lost.insert(slot);
    }
}
