// SPDX-License-Identifier: GPL-2.0

//! The utilisation of servers for this client: from the first answer on, and with a quota.

use super::*;
use crate::engine::client::server_table::Load;

impl World {
    /// The server has `quota_pages` for this client, and reports this much of 65535 as used.
    fn open_with(quota_pages: u64, utilisation: u16) -> Self {
        let mut world = Self::new(1500);
        world.acknowledge_hello(Status::Cookie, 5);
        let mut header = world
            .last(Opcode::Hello)
            .unwrap()
            .answer(Opcode::HelloAck, Status::Ok);
        header.incarnation = 5;
        header.utilisation = utilisation;
        let ack = HelloAck {
            cookie: 0.into(),
            quota_pages: quota_pages.into(),
            held_pages: 0.into(),
            lease_s: 10.into(),
            reserved: 0.into(),
        };
        world.receive(header, ack.as_bytes());
        world
    }

    fn announce(&mut self, capacity_pages: u64, free_pages: u64) {
        let announce = Announce {
            cluster: ClusterName::default(),
            capacity_pages: capacity_pages.into(),
            free_pages: free_pages.into(),
            frames_per_s: 0.into(),
        };
        let mut header = Header::new(Opcode::Announce);
        header.incarnation = 5;
        self.receive(header, announce.as_bytes());
    }

    fn pong(&mut self, utilisation: u16) {
        let ping = self.wait_for(Opcode::Ping);
        let mut pong = ping.answer(Opcode::Pong, Status::Ok);
        pong.incarnation = 5;
        pong.utilisation = utilisation;
        self.receive(pong, &[]);
    }

    /// Pages that it has for this client, and those of them in use.
    fn load(&self) -> (u32, u32) {
        let Load {
            capacity_pages,
            used_pages,
            ..
        } = self.table.load(self.slot);
        (capacity_pages, used_pages)
    }
}

/// `used` of `all` as a server reports it.
fn reported(used: u64, all: u64) -> u16 {
    u16::try_from(used * 65535 / all).unwrap()
}

#[test]
fn a_server_that_is_nearly_full_is_so_from_its_first_answer_on() {
    for used in [0, 1, 500, 999, 1000] {
        let world = World::open_with(1000, reported(used, 1000));
        assert_eq!(world.load(), (1000, used as u32));
    }
    // A capacity too large for 65535 steps rounds up the use, but never to full.
    for used in [1, 4_000_000, 9_999_999] {
        let (all, known) = World::open_with(10_000_000, reported(used, 10_000_000)).load();
        assert!(known <= used as u32 && known + 200 > used as u32 && known < all);
    }
}

#[test]
fn announcements_do_not_make_a_quota_that_is_used_up_look_empty() {
    let mut world = World::open_with(100, reported(100, 100));
    world.table.set_full(world.slot, true);
    for _ in 0..5 {
        world.announce(1000, 900);
        assert_eq!(world.load(), (100, 100));
        assert!(world.table.full().contains(world.slot));
    }
    // It is pinged for that each second, even while other frames arrive.
    for left in [1, 50, 0] {
        world.pong(reported(100 - left, 100));
        world.announce(1000, 900);
        assert_eq!(world.load(), (100, 100 - left as u32));
    }
    // Other clients may hold what our quota would allow.
    world.pong(reported(10, 100));
    world.announce(1000, 20);
    assert_eq!(world.load(), (100, 80));
}

#[test]
fn a_server_that_has_freed_has_room_again_at_once() {
    let mut world = World::open_with(100, reported(100, 100));
    world.table.set_full(world.slot, true);
    let copy = StaleCopy {
        page: super::super::super::ids::PageIndex(3),
        slots: SlotSet::one(world.slot),
        below: Version(8),
    };
    assert!(world.cluster.free(world.now_ns, &copy));
    let free = world.wait_for(Opcode::Free);
    world.cluster.take_changes();
    let mut ack = free.answer(Opcode::FreeAck, Status::Ok);
    ack.incarnation = 5;
    ack.utilisation = reported(99, 100);
    world.receive(ack, &[]);
    assert_eq!(world.load(), (100, 99));
    assert!(!world.table.full().contains(world.slot));
    assert!(
        world.cluster.take_changes().servers_changed,
        "requests that wait for room continue"
    );
}
