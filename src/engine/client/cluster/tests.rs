// SPDX-License-Identifier: GPL-2.0

//! The cluster against hand-made frames: which of them it accepts, and which it ignores.

mod io_timeout;
mod path_mtu;
mod room;
mod session_end;
mod silence;

use std::vec::Vec;

use super::super::free::StaleCopy;
use super::*;
use crate::wire::{Announce, Frame, HelloAck, Opcode};
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
    cluster: Cluster<Vec<Peer>, Counting>,
    table: ServerTable,
    sent: Sent,
    now_ns: u64,
    slot: ServerSlot,
}

impl World {
    /// One server, to which the first HELLO has been sent.
    fn new(mtu: usize) -> Self {
        let peers = std::vec![Peer::default(); SERVER_SLOTS];
        let name = ClusterName::default();
        let mut cluster = Cluster::new(ClientId([7; 16]), name, Counting(0), mtu, peers);
        let table = ServerTable::new();
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
        let found =
            self.sent.0.iter().rev().find(|(header, len)| {
                header.opcode == opcode && (opcode != Opcode::Ping || *len == 0)
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
        self.cluster
            .close(now_ns, slot, session, Why::Regardless, table)
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

#[test]
fn a_session_opens_with_the_cookie_only() {
    let mut world = World::new(1500);
    let first = world.last(Opcode::Hello).unwrap();
    // An acknowledgement of something else: another nonce, another session.
    for change in [
        |h: &mut Header| h.attempt ^= 1,
        |h: &mut Header| h.session ^= 1,
    ] {
        let mut forged = first.answer(Opcode::HelloAck, Status::Ok);
        change(&mut forged);
        forged.incarnation = 5;
        world.receive(forged, &[0; 32]);
        assert!(!world.table.valid().contains(world.slot));
    }
    world.acknowledge_hello(Status::Cookie, 5);
    let second = world.last(Opcode::Hello).unwrap();
    assert_ne!(first.attempt, second.attempt);
    world.acknowledge_hello(Status::Ok, 5);
    assert!(world.is_current(5));
    assert!(world.cluster.take_changes().opened.contains(world.slot));
}

#[test]
fn a_challenge_is_answered_for_the_open_session_only() {
    let nonce = [1, 2, 3, 4, 5, 6, 7, 8];
    let mut world = World::new(1500);
    let mut challenge = world
        .last(Opcode::Hello)
        .unwrap()
        .answer(Opcode::Challenge, Status::Ok);
    challenge.incarnation = 5;
    // Not for a session that is not open: the challenge may be for an older life.
    world.receive(challenge, &nonce);
    assert_eq!(world.last(Opcode::Alive), None);
    world.acknowledge_hello(Status::Cookie, 5);
    world.acknowledge_hello(Status::Ok, 5);
    for change in [
        |h: &mut Header| h.session ^= 1,
        |h: &mut Header| h.incarnation ^= 1,
    ] {
        let mut foreign = challenge;
        change(&mut foreign);
        world.receive(foreign, &nonce);
    }
    world.receive(challenge, &nonce[..7]);
    assert_eq!(world.last(Opcode::Alive), None);
    // At once, every time, even from a suspected server.
    for _ in 0..3 {
        world.sent.0.clear();
        world.receive(challenge, &nonce);
        let answer = world.last(Opcode::Alive).unwrap();
        assert_eq!(answer.session, challenge.session);
        assert_eq!(answer.incarnation, 5);
        assert_eq!(answer.payload_crc, crate::crc::crc32c(&nonce));
        world.pass(3000 * MS);
    }
}

#[test]
fn cookies_for_ever_are_answered_more_and_more_slowly() {
    for cookie in [0_u64, 99] {
        let mut world = World::new(1500);
        let mut hellos = 0;
        let mut answered = None;
        while world.now_ns < 10 * NS_PER_S {
            for _ in 0..10 {
                let hello = world.last(Opcode::Hello).unwrap();
                if answered.replace(hello.attempt) == Some(hello.attempt) {
                    break;
                }
                hellos += 1;
                let mut header = hello.answer(Opcode::HelloAck, Status::Cookie);
                header.incarnation = 5;
                let cookie = cookie + hellos * cookie.min(1);
                let mut ack = [0; size_of::<HelloAck>()];
                ack[..8].copy_from_slice(&cookie.to_be_bytes());
                world.receive(header, &ack);
            }
            world.pass(MS);
        }
        assert!((5..40).contains(&hellos), "{hellos}");
    }
}

#[test]
fn announcements_alone_do_not_keep_a_server_alive() {
    let mut world = World::open(1500);
    let began_ns = world.now_ns;
    // Three pings without an answer, of which the first is sent after a second.
    while world.table.usable().contains(world.slot) {
        world.pass(MS);
        if (world.now_ns - began_ns).is_multiple_of(900 * MS) {
            let mut announce = Header::new(Opcode::Announce);
            announce.incarnation = 5;
            let payload = Announce {
                cluster: ClusterName::default(),
                capacity_pages: 1000.into(),
                free_pages: 1000.into(),
                frames_per_s: 0.into(),
            };
            world.receive(announce, payload.as_bytes());
        }
        assert!(world.now_ns - began_ns < 1300 * MS, "not suspected");
    }
}

#[test]
fn a_client_told_to_wait_asks_again_soon_with_the_same_cookie() {
    let mut world = World::new(1500);
    world.acknowledge_hello(Status::Cookie, 5);
    for _ in 0..20 {
        world.acknowledge_hello(Status::Wait, 5);
        world.sent.0.clear();
        world.pass(199 * MS);
        assert_eq!(world.last(Opcode::Hello), None);
        world.pass(MS);
        assert!(world.last(Opcode::Hello).is_some());
        assert_eq!(world.cluster.peer(world.slot).unwrap().cookie, 99);
    }
    assert!(world.cluster.take_changes().refused.is_empty());
    // Reported once, however often it is refused, and whatever is answered in between.
    world.acknowledge_hello(Status::InUse, 5);
    assert!(world.cluster.take_changes().refused.contains(world.slot));
    let report = world.cluster.report(world.slot).unwrap();
    assert_eq!(report.refusal, Some(Status::InUse));
    for round in 0..20 {
        for answer in [Status::InUse, Status::Wait] {
            world.wait_for(Opcode::Hello);
            world.acknowledge_hello(answer, 5);
        }
        if round % 4 == 0 {
            world.wait_for(Opcode::Hello);
            world.acknowledge_hello(Status::TooManyClients, 5);
            let is_new = world.cluster.take_changes().refused.contains(world.slot);
            assert_eq!(is_new, round == 0);
        }
    }
    assert!(world.cluster.take_changes().refused.is_empty());
    world.wait_for(Opcode::Hello);
    world.acknowledge_hello(Status::Cookie, 5);
    world.acknowledge_hello(Status::Ok, 5);
    assert!(world.table.usable().contains(world.slot));
}

#[test]
fn a_hello_is_repeated_until_it_is_answered() {
    let mut world = World::new(1500);
    for _ in 0..3000 {
        world.pass(MS);
    }
    let hellos = world.sent.0.len();
    assert!((6..=12).contains(&hellos), "{hellos} in three seconds");
}

#[test]
fn another_incarnation_must_answer_a_fresh_ping_before_it_is_believed() {
    let mut world = World::open(1500);
    let mut announce = Header::new(Opcode::Announce);
    announce.incarnation = 6;
    let payload = Announce {
        cluster: ClusterName::default(),
        capacity_pages: 10.into(),
        free_pages: 10.into(),
        frames_per_s: 0.into(),
    };
    world.sent.0.clear();
    world.receive(announce, payload.as_bytes());
    assert!(world.is_current(5), "an announcement proves nothing");
    let ping = world.last(Opcode::Ping).expect("it is asked");

    let mut stale = ping.answer(Opcode::Reject, Status::NoSession);
    stale.attempt ^= 1;
    stale.incarnation = 6;
    world.receive(stale, &[]);
    assert!(world.is_current(5), "nor does an old answer");

    let mut fresh = ping.answer(Opcode::Reject, Status::NoSession);
    fresh.incarnation = 6;
    world.receive(fresh, &[]);
    assert!(!world.table.valid().contains(world.slot));
    let changes = world.cluster.take_changes();
    assert!(changes.to_sweep.contains(world.slot));

    // It has another slot; the old one stays unused until it is swept.
    let next = world.cluster.slot_of(MAC).unwrap();
    assert_ne!(next, world.slot);
    let health = |world: &World, slot| world.cluster.report(slot).map(|report| report.health);
    assert_eq!(health(&world, world.slot), Some(Health::Sweeping));
    world.cluster.swept(world.now_ns, world.slot);
    assert_eq!(health(&world, world.slot), None);
}

#[test]
fn a_silent_server_is_suspected_and_believed_again_when_it_answers() {
    let mut world = World::open(1500);
    world.cluster.take_changes();
    world.sent.0.clear();
    for _ in 0..3000 {
        world.pass(MS);
    }
    assert!(!world.table.usable().contains(world.slot));
    assert!(
        world.table.valid().contains(world.slot),
        "its pages count all the same"
    );
    assert!(world.cluster.take_changes().servers_changed);
    let mut pong = world
        .last(Opcode::Ping)
        .unwrap()
        .answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 5;
    world.receive(pong, &[]);
    assert!(world.table.usable().contains(world.slot));
    assert!(world.cluster.take_changes().servers_changed);
}

#[test]
fn an_interface_too_narrow_for_pages_makes_servers_unusable_and_not_dead() {
    let mut world = World::open(1500);
    let set_mtu = |world: &mut World, mtu| {
        let (now_ns, table) = (world.now_ns, &world.table);
        world.cluster.set_mtu(now_ns, mtu, table);
    };
    let is_usable = |world: &World| world.table.usable().contains(world.slot);
    set_mtu(&mut world, 599);
    assert!(world.cluster.is_narrow() && !is_usable(&world));
    assert!(world.cluster.take_changes().servers_changed);
    // It answers pings, but cannot be used.
    for _ in 0..3 {
        let ping = world.wait_for(Opcode::Ping);
        let mut pong = ping.answer(Opcode::Pong, Status::Ok);
        pong.incarnation = 5;
        world.receive(pong, &[]);
        assert!(!is_usable(&world));
    }
    assert_eq!(world.cluster.report(world.slot).unwrap().health, Health::Up);
    set_mtu(&mut world, 600);
    assert!(!world.cluster.is_narrow() && is_usable(&world));
    assert_eq!(world.table.fragmentation(world.slot).count(), 8);
    // A server that was suspected meanwhile has to answer first.
    set_mtu(&mut world, 100);
    for _ in 0..20_000 {
        world.pass(MS);
    }
    set_mtu(&mut world, 1500);
    assert!(!is_usable(&world));
    let mut pong = world
        .wait_for(Opcode::Ping)
        .answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 5;
    world.receive(pong, &[]);
    assert!(is_usable(&world));
}

#[test]
fn a_session_opened_over_a_narrow_interface_is_not_used() {
    let mut world = World::new(500);
    world.acknowledge_hello(Status::Cookie, 5);
    world.acknowledge_hello(Status::Ok, 5);
    assert!(world.table.valid().contains(world.slot));
    assert!(!world.table.usable().contains(world.slot));
    let (now_ns, table) = (world.now_ns, &world.table);
    world.cluster.set_mtu(now_ns, 1500, table);
    assert!(world.table.usable().contains(world.slot));
    assert_eq!(world.table.fragmentation(world.slot).count(), 3);
}

#[test]
fn servers_are_added_once_and_not_without_a_slot() {
    let mut world = World::new(1500);
    assert_eq!(
        world.cluster.add(0, MAC, &world.table),
        Err(AddError::Exists)
    );
    let broadcast = MacAddress::BROADCAST;
    assert_eq!(
        world.cluster.add(0, broadcast, &world.table),
        Err(AddError::NotUnicast)
    );
    for number in 2..=SERVER_SLOTS as u8 {
        assert!(world
            .cluster
            .add(0, MacAddress([2, 0, 0, 0, 0, number]), &world.table)
            .is_ok());
    }
    let one_more = MacAddress([2, 0, 0, 0, 1, 0]);
    assert_eq!(
        world.cluster.add(0, one_more, &world.table),
        Err(AddError::NoSlot)
    );
}

#[test]
fn frees_are_sent_again_until_acknowledged() {
    use crate::engine::client::free::StaleCopy;
    use crate::engine::client::ids::{PageIndex, Version};
    let mut world = World::open(1500);
    let copy = StaleCopy {
        page: PageIndex(3),
        slots: SlotSet::one(world.slot),
        below: Version(8),
    };
    assert!(world.cluster.free(world.now_ns, &copy));
    world.cluster.set_low_water(Version(7));
    let first = world.wait_for(Opcode::Free);
    assert_eq!(first.low_water, 7);
    // What has settled meanwhile must not return either.
    world.cluster.set_low_water(Version(9));
    let again = world.wait_for(Opcode::Free);
    assert_eq!(again.low_water, 9);
    let mut ack = again.answer(Opcode::FreeAck, Status::Ok);
    ack.incarnation = 5;
    ack.attempt ^= 1;
    world.receive(ack, &[]);
    assert!(
        world.cluster.next_timeout_ns() < world.now_ns + 1000 * MS,
        "still awaited"
    );
    ack.attempt = first.attempt;
    world.receive(ack, &[]);
    world.sent.0.clear();
    for _ in 0..2000 {
        world.pass(MS);
    }
    assert_eq!(world.last(Opcode::Free), None);
}

#[test]
fn a_server_leaves_until_it_is_let_go_and_is_told_until_it_answers() {
    let mut world = World::open(1500);
    assert_eq!(
        world.cluster.remove(0, MacAddress([2; 6]), &world.table),
        Err(NotThere)
    );
    let removal = world
        .cluster
        .remove(world.now_ns, MAC, &world.table)
        .unwrap();
    let Removal::Draining(slot, session) = removal else {
        panic!("{removal:?}");
    };
    assert!(world.table.draining().contains(slot) && world.table.usable().contains(slot));
    assert!(world.table.valid().contains(slot) && !world.table.counting().contains(slot));
    assert!(world.cluster.take_changes().servers_changed);

    // Some page needs it after all.
    assert!(world.cluster.begin_quiescing(slot, session, &world.table));
    assert!(world.table.quiescing().contains(slot));
    world
        .cluster
        .cancel_quiescing(slot, session, false, &world.table);
    assert!(world.table.quiescing().is_empty() && world.table.draining().contains(slot));

    assert!(!world
        .cluster
        .begin_quiescing(slot, session ^ 1, &world.table));
    assert!(world.cluster.begin_quiescing(slot, session, &world.table));
    assert_eq!(world.close(slot, session), Close::Done);
    assert!(!world.table.valid().contains(slot));
    let changes = world.cluster.take_changes();
    assert!(changes.to_sweep.contains(slot) && !changes.lost.contains(slot));
    assert_eq!(world.cluster.slot_of(MAC), None);

    let first = world.wait_for(Opcode::Bye);
    assert_eq!(first.session, session);
    let again = world.wait_for(Opcode::Bye);
    let mut ack = again.answer(Opcode::ByeAck, Status::Ok);
    ack.attempt ^= 1;
    world.receive(ack, &[]);
    world.wait_for(Opcode::Bye);
    // Swept before it has answered: its slot is free, but the BYE is still repeated.
    world.cluster.swept(world.now_ns, slot);
    assert_eq!(world.cluster.report(slot), None);
    let last = world.wait_for(Opcode::Bye);
    world.receive(last.answer(Opcode::ByeAck, Status::Ok), &[]);
    let idle_until_ns = world.now_ns + 30 * NS_PER_S;
    assert!(world.cluster.next_timeout_ns() > idle_until_ns);
}

#[test]
fn a_goodbye_that_is_not_answered_ends() {
    let mut world = World::open(1500);
    let Ok(Removal::Draining(slot, session)) = world.cluster.remove(0, MAC, &world.table) else {
        panic!("it has a session");
    };
    world.cluster.begin_quiescing(slot, session, &world.table);
    assert_eq!(world.close(slot, session), Close::Done);
    world.cluster.swept(world.now_ns, slot);
    world.sent.0.clear();
    for _ in 0..3000 {
        world.pass(MS);
    }
    assert_eq!(world.sent.0.len(), 5);
    let idle_until_ns = world.now_ns + 30 * NS_PER_S;
    assert!(world.cluster.next_timeout_ns() > idle_until_ns);
}

#[test]
fn a_server_that_is_added_again_while_it_is_let_go_stays() {
    let mut world = World::open(1500);
    let Ok(Removal::Draining(slot, session)) = world.cluster.remove(0, MAC, &world.table) else {
        panic!("it has a session");
    };
    assert!(world.cluster.begin_quiescing(slot, session, &world.table));
    let added = world.cluster.add(world.now_ns, MAC, &world.table);
    assert!(added.is_ok());
    assert!(world.table.quiescing().is_empty() && world.table.counting().contains(slot));
    assert_eq!(world.close(slot, session), Close::Gone);
    world
        .cluster
        .cancel_quiescing(slot, session, true, &world.table);
    assert!(world.table.counting().contains(slot) && world.table.usable().contains(slot));
}

#[test]
fn a_server_that_is_added_again_while_it_leaves_stays() {
    let mut world = World::open(1500);
    world.cluster.remove(0, MAC, &world.table).unwrap();
    assert_eq!(world.cluster.add(0, MAC, &world.table), Ok(world.slot));
    assert!(world.table.draining().is_empty());
    assert_eq!(
        world.cluster.add(0, MAC, &world.table),
        Err(AddError::Exists)
    );
    // A draining server that has restarted does not come back by itself.
    world.cluster.remove(0, MAC, &world.table).unwrap();
    let ping = world.wait_for(Opcode::Ping);
    world.receive(ping.answer(Opcode::Reject, Status::NoSession), &[]);
    assert_eq!(world.cluster.slot_of(MAC), None);
    assert!(world.cluster.take_changes().lost.contains(world.slot));
}

#[test]
fn a_server_that_never_answered_is_removed_at_once() {
    let mut world = World::new(1500);
    assert_eq!(
        world.cluster.remove(0, MAC, &world.table),
        Ok(Removal::Done)
    );
    assert_eq!(world.cluster.slot_of(MAC), None);
    assert_eq!(world.cluster.remove(0, MAC, &world.table), Err(NotThere));
    // A late answer opens nothing.
    world.acknowledge_hello(Status::Ok, 5);
    assert!(world.table.valid().is_empty());
}

#[test]
fn a_server_that_was_removed_is_added_in_its_old_slot_if_there_is_no_other() {
    let mut world = World::open(1500);
    for number in 2..=SERVER_SLOTS as u8 {
        let mac = MacAddress([2, 0, 0, 0, 0, number]);
        world.cluster.add(0, mac, &world.table).unwrap();
    }
    let Ok(Removal::Draining(slot, session)) = world.cluster.remove(0, MAC, &world.table) else {
        panic!("it has a session");
    };
    world.cluster.begin_quiescing(slot, session, &world.table);
    assert_eq!(world.close(slot, session), Close::Done);
    let another = MacAddress([2, 0, 0, 0, 9, 9]);
    assert_eq!(
        world.cluster.add(0, another, &world.table),
        Err(AddError::NoSlot)
    );
    assert_eq!(world.cluster.add(0, MAC, &world.table), Ok(slot));
    assert_eq!(world.cluster.slot_of(MAC), None, "not before it is swept");
    // A slot becomes free meanwhile. The server does not get it too.
    let other = MacAddress([2, 0, 0, 0, 0, 2]);
    world.cluster.remove(0, other, &world.table).unwrap();
    assert_eq!(
        world.cluster.add(0, MAC, &world.table),
        Err(AddError::Exists)
    );
    world.cluster.swept(world.now_ns, slot);
    assert_eq!(world.cluster.slot_of(MAC), Some(slot));
}

#[test]
fn a_session_is_taken_along_to_another_address() {
    let mut world = World::open(1500);
    let here = MacAddress([2, 0, 0, 0, 7, 1]);
    let there = MacAddress([2, 0, 0, 0, 7, 2]);
    world.sent.0.clear();
    world.cluster.set_address(world.now_ns, here);
    world.cluster.set_address(world.now_ns, here);
    world.pass(0);
    assert_eq!(world.last(Opcode::Hello), None, "nothing has changed");
    world.cluster.set_address(world.now_ns, there);
    world.pass(0);
    let hello = world.last(Opcode::Hello).unwrap();
    let session = world.table.address(world.slot).session;
    assert_eq!((hello.session, hello.incarnation), (session, 5));
    world.acknowledge_hello(Status::Cookie, 5);
    // The server challenges another session at that address: the same HELLO is repeated.
    world.acknowledge_hello(Status::Wait, 5);
    world.sent.0.clear();
    let hello = world.wait_for(Opcode::Hello);
    assert_eq!((hello.session, hello.incarnation), (session, 5));
    world.acknowledge_hello(Status::Ok, 5);
    assert!(world.table.usable().contains(world.slot) && world.is_current(5));
    world.sent.0.clear();
    world.pass(MS);
    assert_eq!(world.last(Opcode::Hello), None, "it is answered");

    // A server that no longer knows the session rejects only this request.
    world.cluster.set_address(world.now_ns, here);
    world.pass(0);
    let mut reject = world.last(Opcode::Hello).unwrap();
    reject = reject.answer(Opcode::Reject, Status::NoSession);
    reject.attempt ^= 1;
    world.receive(reject, &[]);
    assert!(world.table.valid().contains(world.slot));
    reject.attempt ^= 1;
    world.receive(reject, &[]);
    assert!(!world.table.valid().contains(world.slot));
    assert!(world.cluster.take_changes().lost.contains(world.slot));
}

#[test]
fn a_server_that_does_not_answer_is_told_where_we_are() {
    let mut world = World::open(1500);
    let hello = world.wait_for(Opcode::Hello);
    assert_eq!(hello.incarnation, 5);
    assert!(
        !world.table.usable().contains(world.slot),
        "only one that is silent"
    );
    world.acknowledge_hello(Status::Ok, 5);
    assert!(world.table.usable().contains(world.slot));
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

fn answer_ping(world: &mut World) {
    let ping = world.wait_for(Opcode::Ping);
    let mut pong = ping.answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 5;
    world.receive(pong, &[]);
}

#[test]
fn a_server_that_is_silent_for_long_is_dead_until_it_answers() {
    let mut world = World::open(1500);
    world.cluster.set_loss_timeout_ns(10 * NS_PER_S);
    let began_ns = world.now_ns;
    die(&mut world);
    let took_ns = world.now_ns - began_ns;
    assert!(
        (10 * NS_PER_S..16 * NS_PER_S).contains(&took_ns),
        "{took_ns}"
    );
    assert!(world.cluster.take_changes().servers_changed);
    assert_eq!(world.table.counting(), SlotSet::EMPTY);
    assert!(world.table.valid().contains(world.slot), "it may come back");
    let health = |world: &World| world.cluster.report(world.slot).unwrap().health;
    assert_eq!(health(&world), Health::Lost);

    answer_ping(&mut world);
    assert!(world.cluster.take_changes().servers_changed);
    assert!(world.table.counting().contains(world.slot));
    assert!(world.table.usable().contains(world.slot));
    assert_eq!(health(&world), Health::Up);
}

#[test]
fn a_client_that_was_stopped_finds_no_server_suspected_or_lost() {
    let mut world = World::open(1500);
    world.cluster.set_loss_timeout_ns(10 * NS_PER_S);
    // Stopped repeatedly, each time while an answer was awaited.
    for _ in 0..10 {
        world.wait_for(Opcode::Ping);
        world.pass(100 * NS_PER_S);
        assert!(world.table.usable().contains(world.slot));
        answer_ping(&mut world);
    }
    // Stopped while it was suspected: that does not make it lost.
    while world.table.usable().contains(world.slot) {
        world.pass(MS);
    }
    world.pass(100 * NS_PER_S);
    assert!(!world.table.lost().contains(world.slot));
    die(&mut world);
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

fn listed(world: &mut World) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    let peer = world.cluster.peer_mut(world.slot).unwrap();
    peer.questions.retain(|one| {
        all.push((one.page.get(), one.version.get()));
        false
    });
    all.sort_unstable();
    all
}

#[test]
fn a_server_that_is_back_is_asked_what_it_has() {
    let mut world = World::open(1500);
    die(&mut world);
    world.sent.0.clear();
    answer_ping(&mut world);
    let back_ns = world.now_ns;
    let first = world.wait_for(Opcode::Inventory);
    assert!(world.now_ns - back_ns <= 10 * MS);
    // Lost: the request is repeated. An answer to the old one no longer counts.
    let again = world.wait_for(Opcode::Inventory);
    assert_ne!(first.attempt, again.attempt);
    name(&mut world, &first, 77, &[(1, 2)]);
    assert_eq!(listed(&mut world), []);
    name(&mut world, &again, 77, &[(1, 2), (3, 4)]);
    assert_eq!(listed(&mut world), [(1, 2), (3, 4)]);
    let asked_ns = world.now_ns;
    let next = world.wait_for(Opcode::Inventory);
    assert!(world.now_ns - asked_ns <= 10 * MS, "as fast as it answers");
    // An answer that is too long or malformed does not count.
    name(&mut world, &next, 99, &[(5, 6); LISTED_PAGES + 1]);
    assert_eq!(listed(&mut world), []);
    name(&mut world, &next, 0, &[(5, 6); LISTED_PAGES]);
    assert_eq!(listed(&mut world).len(), LISTED_PAGES);
    // That was all. A slow round begins later.
    world.sent.0.clear();
    for _ in 0..50_000 {
        world.pass(MS);
        if let Some(ping) = world.last(Opcode::Ping) {
            let mut pong = ping.answer(Opcode::Pong, Status::Ok);
            pong.incarnation = 5;
            world.receive(pong, &[]);
        }
    }
    assert_eq!(world.last(Opcode::Inventory), None);
    for _ in 0..20_000 {
        world.pass(MS);
        if let Some(ping) = world.last(Opcode::Ping) {
            let mut pong = ping.answer(Opcode::Pong, Status::Ok);
            pong.incarnation = 5;
            world.receive(pong, &[]);
        }
    }
    assert!(world.last(Opcode::Inventory).is_some());
}

/// Lets time pass, with pings answered, until an inventory is requested. Returns how long it took.
fn wait_for_question(world: &mut World, most_ns: u64) -> Option<(u64, Header)> {
    let began_ns = world.now_ns;
    world.sent.0.clear();
    while world.now_ns - began_ns <= most_ns {
        world.pass(MS);
        if let Some(ping) = world.last(Opcode::Ping) {
            let mut pong = ping.answer(Opcode::Pong, Status::Ok);
            pong.incarnation = 5;
            world.receive(pong, &[]);
        }
        if let Some(question) = world.last(Opcode::Inventory) {
            return Some((world.now_ns - began_ns, question));
        }
    }
    None
}

#[test]
fn a_server_of_which_frees_were_forgotten_is_asked_soon_what_it_has() {
    let mut world = World::open(1500);
    let slots = SlotSet::one(world.slot);
    assert_eq!(wait_for_question(&mut world, 10 * NS_PER_S), None);
    world
        .cluster
        .ask_what_they_have(world.now_ns, SlotSet::EMPTY);
    assert_eq!(wait_for_question(&mut world, NS_PER_S), None);
    world.cluster.ask_what_they_have(world.now_ns, slots);
    let (took_ns, first) = wait_for_question(&mut world, NS_PER_S).unwrap();
    assert!(took_ns >= 400 * MS, "{took_ns}");
    // More frees are dropped meanwhile, of pages that it may have listed before.
    world.cluster.ask_what_they_have(world.now_ns, slots);
    name(&mut world, &first, 30, &[(1, 2)]);
    assert_eq!(listed(&mut world), [(1, 2)]);
    let (took_ns, next) = wait_for_question(&mut world, NS_PER_S).unwrap();
    assert!(took_ns <= 10 * MS, "as fast as it answers");
    name(&mut world, &next, 0, &[(3, 4)]);
    listed(&mut world);
    // The inventory begins again, but not at once, because a flood of frees lasts.
    let (took_ns, again) = wait_for_question(&mut world, 6 * NS_PER_S).unwrap();
    assert!(took_ns >= 4 * NS_PER_S, "{took_ns}");
    name(&mut world, &again, 0, &[]);
    assert_eq!(wait_for_question(&mut world, 30 * NS_PER_S), None);
    // That was long ago, so there is no need to wait.
    world.cluster.ask_what_they_have(world.now_ns, slots);
    assert!(wait_for_question(&mut world, NS_PER_S).is_some());
}

#[test]
fn a_cursor_that_does_not_rise_ends_the_round() {
    let mut world = World::open(1500);
    die(&mut world);
    answer_ping(&mut world);
    let question = world.wait_for(Opcode::Inventory);
    name(&mut world, &question, 50, &[]);
    let question = world.wait_for(Opcode::Inventory);
    name(&mut world, &question, 50, &[]);
    world.sent.0.clear();
    for _ in 0..1000 {
        world.pass(MS);
    }
    assert_eq!(world.last(Opcode::Inventory), None);
}

#[test]
fn frees_for_a_silent_server_delay_no_others() {
    let mut world = World::open(1500);
    let copy = StaleCopy {
        page: super::super::ids::PageIndex(1),
        slots: SlotSet::one(world.slot),
        below: super::super::ids::Version(9),
    };
    let mut taken = 0;
    while world.cluster.free(world.now_ns, &copy) {
        taken += 1;
        assert!(taken < 1000);
    }
    assert!(taken > 0);
    while world.table.usable().contains(world.slot) {
        world.pass(MS);
    }
    assert!(world.cluster.free(world.now_ns, &copy));
}

mod orphans {
    use super::super::super::config::Config;
    use super::super::super::ids::{PageIndex, Version};
    use super::super::super::storage::heap::Heap;
    use super::super::super::swap_device::SwapDevice;
    use super::super::super::versions::Witness;
    use super::super::inventory::{judge, Judgement};
    use super::*;
    use crate::sync::Atomic;
    use crate::wire::PageVersion;

    fn device() -> SwapDevice<Heap> {
        let words = (0..8).map(|_| Atomic::<u32>::new(0)).collect();
        SwapDevice::new(words, Config::new(2, 1, 60).unwrap(), 1)
    }

    #[test]
    fn what_the_map_names_is_kept_and_all_else_freed() {
        let device = device();
        let judge = |slot: usize, page: u64, version: Version| {
            let (page, version) = (page.into(), version.0.into());
            let one = PageVersion { page, version };
            judge(ServerSlot::new(slot).unwrap(), one, &device)
        };
        let page = PageIndex(3);
        let old = device.take_version();
        let begun = device.map.begin_write(page).unwrap();
        let new = device.take_version();
        // While it is being written, it is undecided.
        assert_eq!(judge(1, 3, old), Judgement::Unclear);
        let slots = SlotSet::from_bits(0b01);
        assert!(device.versions().enter(0, new));
        device.map.finish_write(page, begun, new, slots, false);
        assert_eq!(judge(0, 3, new), Judgement::Needed);
        let below = new;
        let stale = StaleCopy { page, slots, below };
        assert_eq!(judge(0, 3, old), Judgement::Orphan(stale));
        assert!(matches!(judge(1, 3, new), Judgement::Orphan(_)));
        // A page that was never written, one that is being copied, one that does not exist, and a
        // version that was never given out.
        assert!(matches!(judge(0, 4, old), Judgement::Orphan(_)));
        device.copies.begin(0, PageIndex(4));
        assert_eq!(judge(0, 4, old), Judgement::Unclear);
        device.copies.end(0);
        assert_eq!(judge(0, 8, old), Judgement::Needed);
        assert_eq!(judge(0, 1 << 40, old), Judgement::Needed);
        assert_eq!(judge(0, 4, device.next_version()), Judgement::Needed);
        // A version of a forgotten life, of the generation that the map names.
        let forgotten = Version(new.0 + (1 << 16));
        assert_eq!(forgotten.generation(), new.generation());
        assert_eq!(judge(0, 3, forgotten), Judgement::Needed);
        device.versions().jump(1);
        assert!(matches!(judge(0, 3, forgotten), Judgement::Orphan(_)));
        assert_eq!(judge(0, 3, new), Judgement::Needed);
    }

    #[test]
    fn what_servers_have_heard_of_is_passed_on() {
        let mut world = World::open(1500);
        world.cluster.take_changes();
        die(&mut world);
        let mut answer = world
            .wait_for(Opcode::Ping)
            .answer(Opcode::Pong, Status::Ok);
        answer.incarnation = 5;
        answer.low_water = 5000;
        world.receive(answer, &[]);
        let witness = Witness {
            slot: world.slot,
            incarnation: 5,
        };
        let said = Some((Version(5000), witness));
        assert_eq!(world.cluster.take_changes().high_water, said);
        world.cluster.look_for_orphans(world.now_ns);
        world.wait_for(Opcode::Inventory);
    }

    #[test]
    fn one_that_says_what_cannot_be_is_silent_until_it_restarts() {
        let mut world = World::open(1500);
        world.table.set_insane(world.slot);
        assert!(world.table.suspect(world.slot));
        for _ in 0..20 {
            answer_ping(&mut world);
            assert!(!world.table.usable().contains(world.slot));
        }
        let health = world.cluster.report(world.slot).map(|report| report.health);
        assert_eq!(health, Some(Health::Suspected));
        let mut pong = world
            .wait_for(Opcode::Ping)
            .answer(Opcode::Pong, Status::Ok);
        pong.incarnation = 6;
        world.receive(pong, &[]);
        assert!(!world.table.valid().contains(world.slot));
        world.slot = world.cluster.slot_of(MAC).unwrap();
        world.pass(MS);
        world.acknowledge_hello(Status::Ok, 6);
        assert!(world.table.usable().contains(world.slot));
    }

    #[test]
    fn what_cannot_be_judged_yet_is_judged_later() {
        let device = device();
        let old = device.take_version();
        let begun = device.map.begin_write(PageIndex(3)).unwrap();
        let new = device.take_version();
        let mut world = World::open(1500);
        die(&mut world);
        answer_ping(&mut world);
        let question = world.wait_for(Opcode::Inventory);
        name(&mut world, &question, 50, &[(3, old.0), (4, old.0)]);
        assert_eq!(
            world.cluster.free_orphans(world.now_ns, &device),
            1,
            "page 4"
        );
        world.sent.0.clear();
        for _ in 0..1000 {
            world.pass(MS);
            assert_eq!(world.cluster.free_orphans(world.now_ns, &device), 0);
        }
        assert_eq!(world.last(Opcode::Inventory), None, "nothing more is asked");
        answer_ping(&mut world);
        let elsewhere = SlotSet::from_bits(0b10);
        device
            .map
            .finish_write(PageIndex(3), begun, new, elsewhere, false);
        assert_eq!(world.cluster.free_orphans(world.now_ns, &device), 1);
        world.wait_for(Opcode::Inventory);
    }
}
