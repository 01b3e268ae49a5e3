// SPDX-License-Identifier: GPL-2.0

//! The cluster against hand-made frames: which of them it accepts, and which it ignores.

mod address;
mod free_batch;
mod inventory;
mod liveness;
mod membership;
mod orphans;
mod path_mtu;
mod session_end;
mod session_open;
mod silence;
mod utilisation;
mod wake_ups;

use std::vec::Vec;

use super::super::stale_copy::StaleCopy;
use super::super::storage::heap::Heap;
use super::*;
use crate::wire::{Announce, Frame, HelloAck, Opcode, Status};
use zerocopy::IntoBytes;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const MS: u64 = 1_000_000;

/// Numbers that are not random, but all different.
struct Counting(u64);

impl Random for Counting {
    fn number(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// What was sent: the header, and the payload's length.
#[derive(Default)]
struct Sent(Vec<(Header, usize)>);

impl Outbox for Sent {
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]) {
        assert_eq!(destination, MAC);
        self.0.push((*header, payload.len()));
    }
}

struct World {
    cluster: Cluster<Heap, Counting>,
    table: ServerTable,
    sent: Sent,
    now_ns: u64,
    slot: ServerSlot,
}

impl World {
    /// One server, to which the first HELLO has been sent.
    fn new(mtu: usize) -> Self {
        let peers = Peers::new(std::vec![Peer::default(); SERVER_SLOTS]).unwrap();
        let name = ClusterName::default();
        let mut cluster = Cluster::new(ClientId([7; 16]), name, Counting(0), mtu, peers);
        let table = ServerTable::default();
        let slot = cluster.add(0, MAC, &table).unwrap();
        let mut world = Self {
            cluster,
            table,
            sent: Sent::default(),
            now_ns: 0,
            slot,
        };
        world.pass(0);
        world
    }

    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        let (now_ns, table) = (self.now_ns, &self.table);
        self.cluster
            .handle_timeout(now_ns, table, |_| 0, &mut self.sent);
    }

    /// The last frame sent with this opcode, except for probes of the path MTU.
    fn last(&self, opcode: Opcode) -> Option<Header> {
        let found = self.sent.0.iter().rev().find(|(header, len)| {
            header.opcode == opcode && (opcode != Opcode::Ping || *len == PING_LEN)
        });
        found.map(|(header, _)| *header)
    }

    fn receive(&mut self, header: Header, payload: &[u8]) {
        let frame = Frame { header, payload };
        let (now_ns, table) = (self.now_ns, &self.table);
        self.cluster
            .handle_frame(now_ns, MAC, &frame, table, &mut self.sent);
    }

    fn acknowledge_hello(&mut self, status: Status, incarnation: u64) {
        let mut header = self
            .last(Opcode::Hello)
            .unwrap()
            .answer(Opcode::HelloAck, status);
        header.incarnation = incarnation;
        let ack = HelloAck {
            cookie: 99.into(),
            quota_pages: 1000.into(),
            held_pages: 0.into(),
            lease_s: 10.into(),
            reserved: 0.into(),
        };
        self.receive(header, ack.as_bytes());
    }

    fn open(mtu: usize) -> Self {
        let mut world = Self::new(mtu);
        world.acknowledge_hello(Status::Cookie, 5);
        world.acknowledge_hello(Status::Ok, 5);
        assert!(world.table.usable().contains(world.slot));
        world
    }

    /// Whether the server's pages count, in this incarnation.
    fn is_current(&self, incarnation: u64) -> bool {
        let address = self.table.address(self.slot);
        address.incarnation == incarnation && self.table.is_current(self.slot, address.session)
    }

    /// Closes the quiescing server, whatever it holds.
    fn close(&mut self, slot: ServerSlot, session: u64) -> Close {
        let (now_ns, table) = (self.now_ns, &self.table);
        self.cluster.close(now_ns, slot, session, true, table)
    }

    /// Runs timers until a request with `opcode` is sent.
    fn wait_for(&mut self, opcode: Opcode) -> Header {
        self.sent.0.clear();
        for _ in 0..5000 {
            self.pass(MS);
            if let Some(header) = self.last(opcode) {
                return header;
            }
        }
        panic!("no {opcode:?} in five seconds");
    }
}

fn answer_ping(world: &mut World) {
    let ping = world.wait_for(Opcode::Ping);
    let mut pong = ping.answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 5;
    world.receive(pong, &[]);
}

/// Runs timers until the server is lost.
fn die(world: &mut World) {
    for _ in 0..40_000 {
        world.pass(MS);
        if world.table.lost().contains(world.slot) {
            return;
        }
    }
    panic!("not dead after 40 s");
}

/// The server's answer to an inventory request, with a cursor.
fn name(world: &mut World, question: &Header, cursor: u64, pages: &[(u64, u64)]) {
    let mut bytes = cursor.to_be_bytes().to_vec();
    for (page, version) in pages {
        bytes.extend_from_slice(&page.to_be_bytes());
        bytes.extend_from_slice(&version.to_be_bytes());
    }
    let mut reply = question.answer(Opcode::InventoryReply, Status::Ok);
    reply.incarnation = 5;
    world.receive(reply, &bytes);
}
