// SPDX-License-Identifier: GPL-2.0

//! What the cluster sends and checks as time passes, and when the next of this is due: it repeats control
//! frames until servers answer them, pings servers, and sends them frees and requests for inventories.
//!
//! The rules: `docs/protocol.md`, "HELLO" and "Change of address".

use zerocopy::IntoBytes;

use super::loss_timeout::PING_EVERY_NS;
use super::path_mtu::Cuts;
use super::peer::State;
use super::{Cluster, Outbox, Peer, Random};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::{ServerSlot, SlotSet};
use crate::engine::client::server_table::ServerTable;
use crate::engine::client::stopped_client::WORKER_LATE_NS;
use crate::engine::client::storage::Storage;
use crate::wire::{Hello, Opcode};

/// Unanswered HELLOs after which a cookie is discarded.
const COOKIE_TRIES: u32 = 5;

impl<S: Storage, R: Random> Cluster<S, R> {
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

    /// Pings the server when it is otherwise silent, suspects it when it leaves pings unanswered, and
    /// publishes whether it is lost. Sends it what else is due: probes, frees and requests for inventories.
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
        let cuts = Cuts::of_mtu(self.mtu);
        let mut is_newly_suspected = false;
        let peer = &mut self.peers[slot];
        if !peer.suspected && !peer.ping.is_asking() && !peer.has_quota {
            // A server that answers on the data path need not be pinged, unless for what is left of
            // our quota.
            peer.ping
                .put_off(peer.heard_ns.saturating_add(PING_EVERY_NS));
        }
        if now_ns.saturating_sub(peer.ping.due_ns()) >= WORKER_LATE_NS && peer.ping.tries() > 0 {
            // The client was stopped: missing answers mean nothing.
            peer.ping.restart(now_ns);
        }
        peer.send_probes(now_ns, slot, probe_nonce, cuts, outbox);
        if peer.ping.is_due(now_ns) {
            is_newly_suspected = peer.suspect_if_silent(now_ns);
            peer.send_ping(now_ns, slot, ping_nonce, outbox);
        }
        if table.usable().contains(slot) {
            peer.send_frees(now_ns, slot, free_nonce, outbox);
        }
        peer.send_inventory(now_ns, slot, inventory_nonce, outbox);
        table.set_freeing(slot, peer.frees.has_any());
        peer.count_time(now_ns, ran_ns);
        self.check_loss(slot, table);
        if is_newly_suspected {
            table.set_usable(slot, false);
            self.changes.servers_changed = true;
        }
        self.check_io_timeout(slot, table);
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
        for slot in SlotSet::ALL.iter() {
            let peer = &mut self.peers[slot];
            match peer.state {
                State::Connecting => {
                    peer.count_time(now_ns, ran_ns);
                    self.repeat_hello(now_ns, slot, outbox);
                }
                State::Open => {
                    peer.heard_ns = peer.heard_ns.max(heard_ns(slot));
                    if suspected.contains(slot) {
                        self.suspect(now_ns, slot, table);
                    }
                    self.look_after(now_ns, ran_ns, slot, table, outbox);
                    self.repeat_hello(now_ns, slot, outbox);
                }
                State::Sweeping { .. } | State::Closing => self.repeat_bye(now_ns, slot, outbox),
                State::Empty => {}
            }
        }
        self.publish_opening(table);
        self.count_expected(now_ns, ran_ns, table);
        self.look_at_ns = now_ns.saturating_add(NS_PER_S).min(self.next_timeout_ns());
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
                let inventory = peer.inventory.due_ns();
                let asked = peer.ping.due_ns().min(peer.hello.due_ns());
                asked.min(probe).min(frees).min(inventory)
            }
            State::Sweeping { .. } | State::Closing => peer.bye.due_ns(),
            State::Empty => u64::MAX,
        };
        let due_ns = self.peers.iter().map(due).min().unwrap_or(u64::MAX);
        due_ns.min(self.io_timeout_due_ns())
    }
}
