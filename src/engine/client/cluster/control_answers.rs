// SPDX-License-Identifier: GPL-2.0

//! What each control frame of a server means: answers to our control frames, announcements, challenges.
//!
//! The rules: `docs/protocol.md`, "HELLO", "CHALLENGE" and "ANNOUNCE".

use zerocopy::FromBytes;

use super::loss_timeout::PING_EVERY_NS;
use super::path_mtu::Cuts;
use super::peer::State;
use super::{Cluster, Outbox, Random, CONTROL};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::{ServerSlot, Version};
use crate::engine::client::server_table::{Address, ServerTable};
use crate::engine::client::storage::Storage;
use crate::engine::client::versions::{Reporter, END};
use crate::wire::{Announce, Frame, Header, HelloAck, MacAddress, Nonce, Opcode, Status};

/// How soon a server that answered WAIT is asked again.
const WAIT_NS: u64 = 200_000_000;

impl<S: Storage, R: Random> Cluster<S, R> {
    /// Handles a frame that does not answer a shard's request, or that rejects one.
    pub fn handle_frame(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        frame: &Frame<'_>,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) {
        let outbox = &mut self.settled(outbox);
        let header = &frame.header;
        if header.opcode == Opcode::ByeAck {
            self.handle_bye_ack(source, header);
            return;
        }
        let Some(slot) = self.slot_of(source) else {
            return;
        };
        let peer = &self.peers[slot];
        // A server repeats the session in every answer, so a station that asks in our name cannot
        // make it reject our session.
        let is_ours = header.session == peer.session || mutated!(RejectBelieved);
        if header.opcode != Opcode::Announce && !is_ours {
            return;
        }
        let proves_life = matches!(header.opcode, Opcode::Pong | Opcode::HelloAck);
        if proves_life && peer.is_at(header.incarnation) && table.distrusted().contains(slot) {
            return;
        }
        let reported = Version(header.low_water);
        if header.opcode != Opcode::Announce && reported.0 < END {
            let incarnation = peer.incarnation;
            let high_water = &mut self.changes.high_water;
            if high_water.is_none_or(|(high, _)| high < reported) {
                *high_water = Some((reported, Reporter { slot, incarnation }));
            }
        }
        let cuts = Cuts::of_mtu(self.mtu);
        let peer = &mut self.peers[slot];
        match header.opcode {
            Opcode::HelloAck if peer.hello.answers(header) => {
                if let Ok((ack, _)) = HelloAck::read_from_prefix(frame.payload) {
                    self.handle_hello_ack(now_ns, slot, header, &ack, table, outbox);
                }
            }
            Opcode::Announce => {
                if let Ok((announce, _)) = Announce::read_from_prefix(frame.payload) {
                    self.handle_announce(now_ns, slot, header, &announce, table, outbox);
                }
            }
            // The HELLO is repeated: an administrator may change the server's configuration.
            Opcode::Reject
                if header.status == Status::KeyWanted
                    && peer.state == State::Connecting
                    && peer.note_refusal(header.status) =>
            {
                self.changes.refused.insert(slot);
            }
            Opcode::Reject if peer.hello.answers(header) && peer.state == State::Open => {
                let asked_ns = peer.hello.sent_ns();
                self.note_alive_or_restarted(now_ns, slot, header, asked_ns, table);
            }
            Opcode::Pong | Opcode::Reject if peer.ping.answers(header) => {
                peer.ping.answered();
                if peer.state == State::Open {
                    let asked_ns = peer.ping.sent_ns();
                    self.note_alive_or_restarted(now_ns, slot, header, asked_ns, table);
                }
            }
            Opcode::Pong
                if peer.path_mtu.query.answers(header) && peer.is_at(header.incarnation) =>
            {
                let len = frame.payload.len();
                if peer.path_mtu.answered(now_ns, len, cuts) {
                    table.set_fragmentation(slot, peer.path_mtu.cut());
                }
            }
            Opcode::FreeAck if header.incarnation == peer.incarnation => {
                let is_new = peer.frees.acknowledged(now_ns, header);
                if is_new {
                    peer.inventory.note_room(now_ns);
                    table.set_freeing(slot, peer.frees.has_any());
                    self.note_utilisation(slot, header, table);
                }
            }
            Opcode::InventoryReply if header.incarnation == peer.incarnation => {
                peer.inventory.answered(now_ns, frame);
            }
            Opcode::Challenge
                if peer.is_at(header.incarnation) && frame.payload.len() == size_of::<Nonce>() =>
            {
                // Another client claims our name, or needs the room: only our answer keeps the session.
                let mut answer = Header::new(Opcode::Alive);
                answer.tag = CONTROL;
                peer.send(answer, frame.payload, outbox);
            }
            Opcode::Reject if peer.state == State::Open => {
                if mutated!(RejectBelieved) {
                    return self.restart_session(now_ns, slot, table);
                }
                // Not an answer to a nonce of ours: send one.
                self.ping_now(now_ns, slot, outbox);
            }
            _ => {}
        }
    }

    fn handle_hello_ack(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        header: &Header,
        ack: &HelloAck,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) {
        let (cut, is_narrow) = (Cuts::of_mtu(self.mtu).usual, self.is_narrow());
        let peer = &mut self.peers[slot];
        match header.status {
            Status::Cookie => {
                peer.note_answering(now_ns);
                // At once for the first cookie only. A server that never accepts its own cookie is
                // asked more and more slowly, as if it did not answer.
                let had_none = core::mem::replace(&mut peer.cookie, ack.cookie.get()) == 0;
                if had_none && peer.cookie != 0 {
                    self.send_hello(now_ns, slot, outbox);
                }
            }
            Status::Ok if peer.state == State::Open => {
                peer.forget_refusals();
                peer.hello.answered();
                if peer.suspected && peer.incarnation == header.incarnation {
                    // It knows our current address. Whether pages cross the path is shown by a ping.
                    peer.answers_hello_only = true;
                    peer.ping.restart(now_ns);
                } else {
                    // One that has restarted should have rejected the session.
                    let asked_ns = peer.hello.sent_ns();
                    self.note_alive_or_restarted(now_ns, slot, header, asked_ns, table);
                }
            }
            Status::Ok => {
                peer.hello.answered();
                peer.state = State::Open;
                peer.suspected = false;
                peer.forget_refusals();
                peer.incarnation = header.incarnation;
                peer.heard_ns = now_ns;
                peer.confirmed_ns = peer.hello.sent_ns();
                peer.quota_pages = ack.quota_pages.get();
                peer.capacity_pages = ack.quota_pages.get();
                peer.note_utilisation(header);
                peer.path_mtu.begin(now_ns, cut);
                peer.ping.restart(now_ns.saturating_add(PING_EVERY_NS));
                peer.inventory.begin_slowly(now_ns);
                let address = Address {
                    mac: peer.mac,
                    session: peer.session,
                    incarnation: peer.incarnation,
                };
                table.open(slot, address, cut);
                if is_narrow {
                    table.set_usable(slot, false);
                }
                self.publish_load(slot, table);
                self.changes.servers_changed = true;
                self.changes.opened.insert(slot);
            }
            Status::Wait => {
                // The server challenges an earlier instance of ours, or another client that is in the way.
                peer.note_answering(now_ns);
                peer.refusal = Some(Status::Wait);
                let wait_ns = if mutated!(WaitForgotten) {
                    NS_PER_S.saturating_mul(3600)
                } else {
                    WAIT_NS
                };
                peer.hello.restart(now_ns.saturating_add(wait_ns));
            }
            refusal => {
                // Asked again, more slowly: an administrator may change the server's configuration.
                let is_new = peer.note_refusal(refusal);
                peer.cookie = 0;
                peer.hello.restart(now_ns.saturating_add(NS_PER_S));
                if is_new {
                    self.changes.refused.insert(slot);
                }
            }
        }
        self.publish_opening(table);
    }

    fn handle_announce(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        header: &Header,
        announce: &Announce,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) {
        let peer = &mut self.peers[slot];
        match peer.state {
            State::Connecting
                if !peer.hello.is_due(now_ns)
                    && peer.hello.may_be_hurried(now_ns)
                    && peer.refusal.is_none() =>
            {
                // The server is there: no need to wait for the next attempt. But allow time for an
                // answer to the last one, which endless announcements would otherwise prevent.
                peer.hello.restart(now_ns);
                self.send_hello(now_ns, slot, outbox);
            }
            State::Open if header.incarnation != peer.incarnation => {
                self.ping_now(now_ns, slot, outbox);
            }
            State::Open => {
                peer.note_announced(announce.capacity_pages.get(), announce.free_pages.get());
                self.publish_load(slot, table);
                // The announcement may be old, delayed or repeated by another station: only the
                // answer to a ping shows that the server is alive.
                if self.peers[slot].suspected {
                    self.ping_now(now_ns, slot, outbox);
                }
            }
            _ => {}
        }
    }

    /// A frame of our session reports the server's utilisation for us.
    fn note_utilisation(&mut self, slot: ServerSlot, header: &Header, table: &ServerTable) {
        self.peers[slot].note_utilisation(header);
        self.publish_load(slot, table);
    }

    pub(super) fn publish_load(&mut self, slot: ServerSlot, table: &ServerTable) {
        let peer = &self.peers[slot];
        let used = peer.capacity_pages.saturating_sub(peer.free_pages);
        let has_room = table.announce(
            slot,
            u32::try_from(peer.capacity_pages).unwrap_or(u32::MAX),
            u32::try_from(used).unwrap_or(u32::MAX),
        );
        // Page-outs may be waiting for room.
        self.changes.servers_changed |= has_room;
    }
}
