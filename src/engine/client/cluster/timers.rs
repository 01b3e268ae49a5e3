// SPDX-License-Identifier: GPL-2.0

//! Repeats requests to servers, and detects servers that have been silent for too long.
//!
//! The rules: `docs/protocol.md`, "HELLO", "Change of address" and "PING".

use core::ops::DerefMut;

use zerocopy::IntoBytes;

use super::path_mtu::Cuts;
use super::peer::State;
use super::{Cluster, Outbox, Peer, Random};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::{ServerSlot, SlotSet};
use crate::engine::client::server_table::ServerTable;
use crate::wire::{Fragmentation, Hello, Opcode};

/// How often a server that is otherwise silent is pinged.
pub(super) const PING_EVERY_NS: u64 = NS_PER_S;
/// A timer that is this late indicates that the client was stopped, not that a server was silent.
const STOPPED_NS: u64 = 500_000_000;
/// Unanswered pings after which a server is suspected.
const SUSPECT_TRIES: u32 = 3;
/// Unanswered HELLOs after which a cookie is discarded.
const COOKIE_TRIES: u32 = 5;

impl<P: DerefMut<Target = [Peer]>, R: Random> Cluster<P, R> {
    pub(super) fn ping_now(&mut self, now_ns: u64, slot: ServerSlot, outbox: &mut impl Outbox) {
        let nonce = self.random();
        let peer = &mut self.peers[slot];
        if peer.ping.may_be_hurried(now_ns) {
            peer.send_ping(now_ns, slot, nonce, outbox);
        }
    }

    pub(super) fn send_hello(&mut self, now_ns: u64, slot: ServerSlot, outbox: &mut impl Outbox) {
        let nonce = self.random();
        let peer = &mut self.peers[slot];
        let hello = Hello {
            client: self.client,
            cookie: peer.cookie.into(),
            cluster: self.name,
        };
        let header = peer.hello.ask(now_ns, slot, nonce, Opcode::Hello);
        peer.send(header, hello.as_bytes(), outbox);
    }

    fn repeat_hello(&mut self, now_ns: u64, slot: ServerSlot, outbox: &mut impl Outbox) {
        let peer = &mut self.peers[slot];
        if peer.hello.is_due(now_ns) {
            if peer.hello.tries() >= COOKIE_TRIES {
                // The cookie may be from an old incarnation.
                peer.cookie = 0;
            }
            self.send_hello(now_ns, slot, outbox);
        }
    }

    /// Time has passed, or a shard suspects a server. `heard_ns` returns when the shards last
    /// received a frame of a server.
    pub fn handle_timeout(
        &mut self,
        now_ns: u64,
        table: &ServerTable,
        heard_ns: impl Fn(ServerSlot) -> u64,
        outbox: &mut impl Outbox,
    ) {
        let outbox = &mut self.settled(outbox);
        let ran_ns = self.ran_until(now_ns);
        let suspected = table.take_suspected();
        let loss_timeout_ns = self.loss_timeout_ns;
        for slot in SlotSet::ALL.iter() {
            let peer = &mut self.peers[slot];
            match peer.state {
                State::Connecting => {
                    peer.note_silence(now_ns, ran_ns, loss_timeout_ns);
                    self.repeat_hello(now_ns, slot, outbox);
                }
                State::Open => {
                    peer.heard_ns = peer.heard_ns.max(heard_ns(slot));
                    if suspected.contains(slot) {
                        peer.suspected = true;
                        // An answer that arrived after the suspicion may have made it usable again.
                        table.set_usable(slot, false);
                        peer.ping.restart(now_ns);
                        if peer.path_mtu.cut() != Fragmentation::NARROWEST {
                            // Perhaps only long frames are lost.
                            self.narrow(now_ns, slot, table);
                        }
                        self.changes.servers_changed = true;
                    }
                    self.look_after(now_ns, ran_ns, slot, table, outbox);
                    self.repeat_hello(now_ns, slot, outbox);
                }
                State::Sweeping { .. } | State::Parting => self.say_goodbye(now_ns, slot, outbox),
                State::Empty => {}
            }
        }
        self.look_for_greeted(table);
        self.count_expected(now_ns, ran_ns, table);
        self.look_at_ns = now_ns.saturating_add(NS_PER_S).min(self.next_timeout_ns());
    }

    /// Until when the client ran: if this check is late, until it was due.
    fn ran_until(&self, now_ns: u64) -> u64 {
        match now_ns.saturating_sub(self.look_at_ns) >= STOPPED_NS {
            true => self.look_at_ns,
            false => now_ns,
        }
    }

    fn look_after(
        &mut self,
        now_ns: u64,
        ran_ns: u64,
        slot: ServerSlot,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) {
        let [ping_nonce, probe_nonce, free_nonce, inventory_nonce] =
            core::array::from_fn(|_| self.random());
        let (cuts, loss_timeout_ns) = (Cuts::of_mtu(self.mtu), self.loss_timeout_ns);
        let mut is_newly_suspected = false;
        let peer = &mut self.peers[slot];
        if !peer.suspected && !peer.ping.is_asking() && !peer.has_quota {
            // A server that answers on the data path need not be pinged, unless for what is left of
            // our quota.
            peer.ping
                .put_off(peer.heard_ns.saturating_add(PING_EVERY_NS));
        }
        if now_ns.saturating_sub(peer.ping.due_ns()) >= STOPPED_NS && peer.ping.tries() > 0 {
            // The client was stopped: missing answers mean nothing.
            peer.ping.restart(now_ns);
        }
        peer.send_probes(now_ns, slot, probe_nonce, cuts, outbox);
        if peer.ping.is_due(now_ns) {
            if peer.ping.tries() >= SUSPECT_TRIES && !peer.suspected {
                peer.suspected = true;
                is_newly_suspected = true;
                // Perhaps the server only does not know our current address.
                peer.say_hello_again(now_ns);
            }
            peer.send_ping(now_ns, slot, ping_nonce, outbox);
        }
        if table.usable().contains(slot) {
            peer.send_frees(now_ns, slot, free_nonce, outbox);
        }
        peer.send_inventory(now_ns, slot, inventory_nonce, outbox);
        table.set_freeing(slot, peer.frees.has_any());
        let is_lost = peer.note_silence(now_ns, ran_ns, loss_timeout_ns);
        if is_lost != table.lost().contains(slot) {
            table.set_lost(slot, is_lost);
            self.changes.servers_changed = true;
        }
        if is_newly_suspected {
            table.set_usable(slot, false);
            self.changes.servers_changed = true;
        }
        self.check_io_timeout(slot, table);
    }

    /// When to call [`Self::handle_timeout`] next.
    pub fn next_timeout_ns(&self) -> u64 {
        let probing = Cuts::of_mtu(self.mtu).need_probes();
        let is_narrow = self.is_narrow();
        let due = |peer: &Peer| match peer.state {
            State::Connecting => peer.hello.due_ns(),
            State::Open => {
                let probe = match probing && !peer.suspected {
                    true => peer.path_mtu.query.due_ns(),
                    false => u64::MAX,
                };
                // They are sent as soon as the server is usable.
                let frees = match peer.suspected || is_narrow {
                    true => u64::MAX,
                    false => peer.frees.due_ns(),
                };
                let questions = peer.questions.due_ns();
                let asked = peer.ping.due_ns().min(peer.hello.due_ns());
                asked.min(probe).min(frees).min(questions)
            }
            State::Sweeping { .. } | State::Parting => peer.bye.due_ns(),
            State::Empty => u64::MAX,
        };
        let due_ns = self.peers.iter().map(due).min().unwrap_or(u64::MAX);
        due_ns.min(self.io_timeout_due_ns())
    }
}
