// SPDX-License-Identifier: GPL-2.0

//! A path that lets pings pass and drops long frames.

use super::*;
use crate::wire::{Fragmentation, HEADER_LEN};

/// A path that silently drops frames longer than its MTU. All other frames are answered at once.
struct Path {
    world: World,
    mtu: usize,
    /// How many of the sent frames have been handled.
    seen: usize,
}

impl Path {
    fn new(interface_mtu: usize, mtu: usize) -> Self {
        let world = World::open(interface_mtu);
        let mut path = Self {
            world,
            mtu,
            seen: 0,
        };
        path.answer();
        path
    }

    fn answer(&mut self) {
        while let Some((header, len)) = self.world.sent.0.get(self.seen).copied() {
            self.seen += 1;
            if header.opcode == Opcode::Ping && HEADER_LEN + len <= self.mtu {
                let mut pong = header.answer(Opcode::Pong, Status::Ok);
                pong.incarnation = 5;
                self.world.receive(pong, &[0; 4096][..len]);
            }
        }
    }

    /// Lets time pass in steps of a millisecond.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.world.pass(MS);
            self.answer();
            assert!(self.world.table.usable().contains(self.world.slot));
        }
    }

    fn count(&self) -> u8 {
        self.world.table.fragmentation(self.world.slot).count()
    }

    /// How many probes were sent, and the length of the longest in bytes.
    fn probes(&self) -> (usize, usize) {
        let lengths = self.world.sent.0.iter().map(|(_, len)| *len);
        let probes = lengths.filter(|len| *len > PING_LEN);
        (probes.clone().count(), probes.max().unwrap_or(0))
    }
}

#[test]
fn an_ordinary_path_has_its_fragments_from_the_first_page_on() {
    let mut path = Path::new(1500, 1500);
    assert_eq!(path.count(), 3);
    for _ in 0..60_000 {
        path.pass(1);
        assert_eq!(path.count(), 3);
    }
    // One frame each ten seconds, as long as a fragment.
    let (probes, longest) = path.probes();
    assert_eq!(longest, 1368);
    assert!((5..=7).contains(&probes), "{probes} probes in a minute");
}

#[test]
fn jumbo_frames_are_used_as_soon_as_one_is_answered() {
    let mut path = Path::new(9000, 9000);
    assert_eq!(path.count(), 3);
    path.pass(1);
    assert_eq!(path.count(), 1);
    // Of the two probes of an attempt the shorter one returned last.
    path.pass(30_000);
    assert_eq!(path.count(), 1);
}

#[test]
fn every_narrow_path_is_found_out_before_its_server_is_suspected_and_used_as_wide_as_it_is() {
    for interface_mtu in [1500, 9000] {
        for mtu in (Fragmentation::MIN_MTU..=interface_mtu).step_by(4) {
            let right = Fragmentation::for_mtu(mtu).unwrap().count();
            let mut path = Path::new(interface_mtu, mtu);
            path.pass(150);
            assert!(path.count() >= right, "MTU {mtu}: {}", path.count());
            path.pass(1_500);
            assert_eq!(path.count(), right, "MTU {mtu}");
        }
    }
}

#[test]
fn a_path_that_becomes_narrower_is_noticed_without_a_suspicion_and_one_that_widens_too() {
    let mut path = Path::new(1500, 1500);
    path.pass(1_000);
    for (mtu, count) in [(700, 7), (1000, 5), (600, 8), (1500, 3), (1200, 4)] {
        path.mtu = mtu;
        path.pass(40_000);
        assert_eq!(path.count(), count, "MTU {mtu}");
    }
    // Quick probing ends.
    let (before, _) = path.probes();
    path.pass(60_000);
    let (after, _) = path.probes();
    assert!(after - before <= 30, "{} probes a minute", after - before);
}

#[test]
fn a_suspicion_narrows_the_path_at_once_and_probes_widen_it() {
    let mut path = Path::new(1500, 1500);
    path.pass(1_000);
    path.world.cluster.take_changes();
    // A shard's long frames were not answered.
    path.world.table.suspect(path.world.slot);
    path.world.pass(MS);
    assert_eq!(path.count(), 8);
    assert!(path.world.cluster.take_changes().servers_changed);
    path.answer();
    path.pass(2);
    assert_eq!(path.count(), 3);
    // And on a path whose MTU has shrunk.
    path.mtu = 1000;
    path.world.table.suspect(path.world.slot);
    path.world.pass(MS);
    assert_eq!(path.count(), 8);
    path.answer();
    path.pass(1_000);
    assert_eq!(path.count(), 5);
}

#[test]
fn a_server_that_was_silent_is_not_taken_for_a_narrow_path() {
    let mut path = Path::new(1500, 1500);
    path.pass(1_000);
    for _ in 0..20_000 {
        path.world.pass(MS);
    }
    assert!(!path.world.table.usable().contains(path.world.slot));
    path.seen = path.world.sent.0.len();
    let ping = path.world.wait_for(Opcode::Ping);
    let mut pong = ping.answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 5;
    path.world.receive(pong, &[]);
    assert_eq!(path.count(), 3);
    path.seen = 0;
    path.world.sent.0.clear();
    path.pass(5_000);
    assert_eq!(path.count(), 3);
}

#[test]
fn frees_are_sent_in_frames_that_fit_the_path() {
    let mut path = Path::new(1500, 600);
    path.pass(2_000);
    for page in 0..80 {
        let copy = StaleCopy {
            page: crate::engine::client::ids::PageIndex(page),
            slots: SlotSet::one(path.world.slot),
            below: Version(7),
        };
        assert!(path.world.cluster.free(path.world.now_ns, &copy));
    }
    path.pass(5_000);
    let frees = path.world.sent.0.iter();
    let lengths = frees.filter(|(header, _)| header.opcode == Opcode::Free);
    assert_eq!(lengths.map(|(_, len)| *len).max(), Some(512));
}

#[test]
fn an_interface_with_another_mtu_restarts() {
    let mut path = Path::new(9000, 9000);
    path.pass(10);
    assert_eq!(path.count(), 1);
    for (mtu, at_once, then) in [(1000, 5, 5), (600, 8, 8), (9000, 3, 1), (1500, 3, 3)] {
        let (now_ns, table) = (path.world.now_ns, &path.world.table);
        path.world.cluster.set_mtu(now_ns, mtu, table);
        assert_eq!(path.count(), at_once);
        path.pass(10);
        assert_eq!(path.count(), then);
    }
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
    // An answer that was under way does not make it usable.
    let ping = world.wait_for(Opcode::Ping);
    let mut pong = ping.answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 5;
    world.receive(pong, &[]);
    assert!(!is_usable(&world));
    assert_eq!(world.cluster.report(world.slot).unwrap().health, Health::Up);
    set_mtu(&mut world, 600);
    assert!(!world.cluster.is_narrow() && is_usable(&world));
    assert_eq!(world.table.fragmentation(world.slot).count(), 8);
    // A server that was suspected meanwhile has to answer first.
    set_mtu(&mut world, 100);
    for _ in 0..80_000 {
        world.pass(MS);
    }
    // Requests no longer wait for it.
    assert!(world.table.given_up().contains(world.slot));
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
fn a_path_too_narrow_for_any_page_makes_its_server_silent_though_it_answers_short_frames() {
    let mut world = World::open(1500);
    let mut seen = 0;
    let mut too_narrow = false;
    for _ in 0..100_000 {
        world.pass(MS);
        while let Some((header, len)) = world.sent.0.get(seen).copied() {
            seen += 1;
            if header.opcode == Opcode::Hello && HEADER_LEN + len < Fragmentation::MIN_MTU {
                world.acknowledge_hello(Status::Ok, 5);
            }
        }
        too_narrow |= world.cluster.take_changes().too_narrow.contains(world.slot);
    }
    assert!(!world.table.usable().contains(world.slot));
    assert!(world.table.lost().contains(world.slot) && too_narrow);
    // Requests no longer wait for it.
    assert!(world.table.given_up().contains(world.slot));
    assert_eq!(world.table.expected(), 0);
    // The path is wide again.
    let ping = world.wait_for(Opcode::Ping);
    let mut pong = ping.answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 5;
    world.receive(pong, &[0; PING_LEN]);
    assert!(world.table.usable().contains(world.slot));
    assert!(!world.table.lost().contains(world.slot));
}
