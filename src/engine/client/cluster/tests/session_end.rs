// SPDX-License-Identifier: GPL-2.0

//! A server is removed while another loses its pages.

use super::*;
use crate::engine::client::disk_state::{DiskState, Policy};
use crate::engine::client::ids::{PageIndex, Version};
use crate::engine::client::maintenance::removal_need::ServerNeed;
use crate::engine::client::page_map::PageMap;
use crate::sync::Atomic;

const NO_DISK: DiskState = DiskState::NONE;

/// Where each frame goes, probes of the path's width aside.
#[derive(Default)]
struct SentTo(Vec<(MacAddress, Header)>);

impl Outbox for SentTo {
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]) {
        let is_probe = header.opcode == Opcode::Ping && payload.len() != PING_LEN;
        if !is_probe {
            self.0.push((destination, *header));
        }
    }
}

fn mac(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, number])
}

/// Servers with sessions, the first of which is quiescing, and pages in the map.
struct Quiescing {
    cluster: Cluster<Heap, Counting>,
    table: ServerTable,
    map: PageMap<Vec<Atomic<u32>>>,
    sent: SentTo,
    slot: ServerSlot,
    session: u64,
    now_ns: u64,
}

impl Quiescing {
    /// As many servers, and pages with these replicas, by slot, and, if `on_disk`, copies on the disk.
    fn new(servers: u8, pages: &[u32], on_disk: bool) -> Self {
        let peers = Peers::new(std::vec![Peer::default(); SERVER_SLOTS]).unwrap();
        let name = ClusterName::default();
        let mut cluster = Cluster::new(ClientId([7; 16]), name, Counting(0), 1500, peers);
        let table = ServerTable::default();
        let mut sent = SentTo::default();
        for number in 0..servers {
            cluster.add(0, mac(number), &table).unwrap();
        }
        cluster.handle_timeout(0, &table, |_| 0, &mut sent);
        for status in [Status::Cookie, Status::Ok] {
            for (server, hello) in core::mem::take(&mut sent.0) {
                let mut header = hello.answer(Opcode::HelloAck, status);
                header.incarnation = 5;
                let payload = HelloAck {
                    cookie: 99.into(),
                    quota_pages: 1000.into(),
                    held_pages: 0.into(),
                    lease_s: 10.into(),
                    reserved: 0.into(),
                };
                let payload = payload.as_bytes();
                let frame = Frame { header, payload };
                cluster.handle_frame(0, server, &frame, &table, &mut sent);
            }
        }
        assert_eq!(table.usable().len(), usize::from(servers));
        let words = pages.iter().map(|_| Atomic::<u32>::new(0));
        let map = PageMap::new(words.collect::<Vec<_>>());
        for (page, &replicas) in pages.iter().enumerate() {
            let page = PageIndex(page as u32);
            let begun = map.begin_write(page).unwrap();
            let replicas = SlotSet::from_bits(replicas);
            map.finish_write(page, begun, Version(1), replicas, on_disk);
        }
        let removal = cluster.remove(0, mac(0), &table).unwrap();
        let Removal::Draining(slot, session) = removal else {
            panic!("{removal:?}");
        };
        assert!(cluster.begin_quiescing(slot, session, &table));
        sent.0.clear();
        Self {
            cluster,
            table,
            map,
            sent,
            slot,
            session,
            now_ns: 0,
        }
    }

    /// The server of this number says that it does not know our session.
    fn restarts(&mut self, number: u8) {
        let ping = loop {
            let pinged = |(server, header): &&(MacAddress, Header)| {
                *server == mac(number) && header.opcode == Opcode::Ping
            };
            if let Some((_, ping)) = self.sent.0.iter().rev().find(pinged) {
                break *ping;
            }
            self.now_ns += MS;
            assert!(self.now_ns < 5 * NS_PER_S, "it is not pinged");
            self.cluster
                .handle_timeout(self.now_ns, &self.table, |_| 0, &mut self.sent);
        };
        let header = ping.answer(Opcode::Reject, Status::NoSession);
        let payload = &[];
        let frame = Frame { header, payload };
        self.cluster.handle_frame(
            self.now_ns,
            mac(number),
            &frame,
            &self.table,
            &mut self.sent,
        );
    }

    fn count(&self, need: &ServerNeed, mut pages: core::ops::Range<u32>) -> u64 {
        need.count(&self.map, &mut pages, false)
    }

    fn close(&mut self, need: &ServerNeed, disk: DiskState) -> Close {
        let is_valid = need.is_valid(&self.table, disk);
        self.cluster
            .close(self.now_ns, self.slot, self.session, is_valid, &self.table)
    }
}

#[test]
fn a_server_is_not_removed_if_another_was_lost_during_the_walk() {
    let pages = [0b011, 0b110];
    for draining in [false, true] {
        let mut world = Quiescing::new(3, &pages, false);
        let need = |world: &Quiescing| match draining {
            true => ServerNeed::draining(world.slot, &world.table, 1, NO_DISK, SlotSet::ALL),
            false => ServerNeed::at_once(world.slot, &world.table, NO_DISK, SlotSet::ALL),
        };
        let old = need(&world);
        assert_eq!(world.count(&old, 0..1), 0, "the second has it, too");
        world.restarts(1);
        assert_eq!(world.count(&old, 1..2), 0);
        assert_eq!(world.close(&old, NO_DISK), Close::Outdated);
        assert!(world.table.valid().contains(world.slot));
        // It is still quiescing, so that the map can be checked once more.
        assert!(world.table.quiescing().contains(world.slot));
        let new = need(&world);
        assert_eq!(
            world.count(&new, 0..2),
            1,
            "no other server has it any more"
        );
        world
            .cluster
            .cancel_quiescing(world.slot, world.session, true, &world.table);
        assert!(world.table.counting().contains(world.slot));
    }
}

#[test]
fn a_server_is_closed_when_a_second_check_finds_no_page_that_needs_it() {
    let mut world = Quiescing::new(3, &[0b111, 0b110], false);
    let old = ServerNeed::at_once(world.slot, &world.table, NO_DISK, SlotSet::ALL);
    assert_eq!(world.count(&old, 0..1), 0);
    world.restarts(1);
    assert_eq!(world.close(&old, NO_DISK), Close::Outdated);
    let new = ServerNeed::at_once(world.slot, &world.table, NO_DISK, SlotSet::ALL);
    assert_eq!(world.count(&new, 0..2), 0);
    assert_eq!(world.close(&new, NO_DISK), Close::Done);
    assert!(!world.table.valid().contains(world.slot));
}

#[test]
fn a_server_is_not_removed_if_the_disk_failed_during_the_walk() {
    let mut world = Quiescing::new(2, &[0b01, 0b01], true);
    let usable = DiskState::new(true, true, true, Policy::Lag);
    let faulty = DiskState::new(true, true, false, Policy::Lag);
    let old = ServerNeed::at_once(world.slot, &world.table, usable, SlotSet::ALL);
    assert_eq!(world.count(&old, 0..2), 0, "the disk has them, too");
    assert_eq!(world.close(&old, faulty), Close::Outdated);
    assert_eq!(world.close(&old, NO_DISK), Close::Outdated);
    let new = ServerNeed::at_once(world.slot, &world.table, faulty, SlotSet::ALL);
    assert_eq!(world.count(&new, 0..2), 2);
    // The administrator knows what is lost.
    let lost = world
        .cluster
        .close(world.now_ns, world.slot, world.session, true, &world.table);
    assert_eq!(lost, Close::Done);
}
