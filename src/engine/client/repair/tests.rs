// SPDX-License-Identifier: GPL-2.0

//! Repair beside a shard that also does page-outs, with servers that the test plays.

mod cancelled;
mod disk;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::engine::client::dirty_chunks::words_for;
use crate::engine::client::ids::{SlotSet, Version};
use crate::engine::client::page_map::Entry;
use crate::engine::client::shard::tests::bench::{Bench, MS, PAGES};
use crate::engine::client::shard::{Action, Completion, Outcome, Send};
use crate::engine::client::storage::heap::{words, Heap};
use crate::wire::{Fragmentation, Opcode, Status};

/// Ops from here on are requests.
const REQUEST: usize = COPIES;

struct Rig {
    bench: Bench,
    repair: Repair<Heap>,
}

impl Rig {
    fn new(servers: usize) -> Self {
        let words = || words(words_for(PAGES));
        let mut rig = Self {
            bench: Bench::new(servers),
            repair: Repair::new([words(), words(), words(), words()]),
        };
        rig.servers_changed();
        rig
    }

    fn servers_changed(&mut self) {
        let Bench {
            now_ns,
            device,
            shard,
            ..
        } = &mut self.bench;
        self.repair.servers_changed(*now_ns, device);
        shard.servers_changed(*now_ns, device);
    }

    fn drive(&mut self) {
        let Bench {
            now_ns,
            device,
            shard,
            ..
        } = &mut self.bench;
        self.repair
            .begin_copies(*now_ns, Some(false), shard, device);
    }

    /// The next frames to be sent, after repair has handled completions. Requests may end.
    fn next_send(&mut self) -> Option<Send> {
        loop {
            match self.bench.poll()? {
                Action::Send(send) => {
                    let send = self.bench.sent(send);
                    return Some(send);
                }
                Action::Complete(completion) => {
                    self.completed(&completion);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn completed(&mut self, completion: &Completion) {
        if completion.op.index() >= REQUEST {
            assert_eq!(completion.outcome, Outcome::Done);
            return;
        }
        let Bench {
            now_ns,
            device,
            shard,
            ..
        } = &mut self.bench;
        self.repair.completed(*now_ns, completion, shard, device);
    }

    /// Plays the servers until nothing is to be sent. Returns the pages that were written to them.
    fn settle(&mut self, dead: &[usize]) -> Vec<(u64, u64, usize)> {
        let mut written = Vec::new();
        loop {
            self.drive();
            while let Some(send) = self.next_send() {
                let server = self.bench.slot_of(send.destination).index();
                if dead.contains(&server) {
                    continue;
                }
                if send.header.opcode == Opcode::Read {
                    self.bench.answer_page(&send, &[0]);
                } else {
                    written.push((send.header.page, send.header.version, server));
                    self.bench.acknowledge(&send, Status::Ok);
                }
            }
            let next_ns = self.repair.next_timeout_ns();
            if next_ns > self.bench.now_ns + 500 * MS {
                return written;
            }
            let step_ns = next_ns.saturating_sub(self.bench.now_ns).max(1000);
            self.bench.advance(step_ns);
        }
    }

    fn kill(&mut self, server: usize) {
        let slot = self.bench.slot(server);
        self.bench.device.servers.suspect(slot);
        self.bench.device.servers.set_lost(slot, true);
        self.servers_changed();
    }

    /// The server's pages are lost, and a session is being opened in the slot of `successor`.
    fn restart(&mut self, server: usize, successor: usize) {
        let servers = &self.bench.device.servers;
        servers.set_opening(SlotSet::one(self.bench.slot(successor)));
        servers.close(self.bench.slot(server));
        self.servers_changed();
    }

    /// The session with the server in this slot is open.
    fn open(&mut self, server: usize) {
        let servers = &self.bench.device.servers;
        let slot = self.bench.slot(server);
        servers.open(slot, servers.address(slot), Fragmentation::WHOLE);
        servers.set_opening(SlotSet::EMPTY);
        self.servers_changed();
    }

    fn recover(&mut self, server: usize) {
        let slot = self.bench.slot(server);
        self.bench.device.servers.set_lost(slot, false);
        self.bench.device.servers.set_usable(slot, true);
        self.servers_changed();
    }

    fn holders(&self, page: u32) -> Vec<usize> {
        let replicas = self.bench.device.map.load(PageIndex(page)).replicas();
        replicas.iter().map(|slot| slot.index()).collect()
    }

    fn left(&self) -> u64 {
        self.repair.left(&self.bench.device)
    }
}

#[test]
fn pages_of_a_dead_server_are_copied_to_another() {
    let mut rig = Rig::new(3);
    let pages: Vec<u32> = (0..PAGES as u32).step_by(37).collect();
    for &page in &pages {
        let servers = [[0, 1], [1, 2], [0, 2]][page as usize % 3];
        rig.bench.write(PageIndex(page), &servers);
    }
    assert_eq!(rig.settle(&[]), vec![]);
    rig.kill(1);
    assert_ne!(rig.left(), 0);
    let settled = rig.bench.device.next_version().0;
    let written = rig.settle(&[1]);
    assert_eq!(rig.left(), 0);
    for &page in &pages {
        assert_eq!(rig.holders(page), [0, 2], "page {page}");
    }
    let expected = pages.iter().filter(|&&page| page % 3 != 2).count();
    assert_eq!(written.len(), expected);
    for (page, version, _) in written {
        let entry = rig.bench.device.map.load(PageIndex(page as u32));
        assert_eq!(Version(version).generation(), entry.generation());
        assert!(version >= settled);
    }
    let counters = *rig.repair.counters();
    assert_eq!(counters.pages_repaired, expected as u64);
    assert_eq!(counters.copies_dropped, expected as u64);
    // The dead server is asked for its inventory when it is back; it is not notified.
    assert_eq!(rig.bench.shard.take_stale(), None);
}

#[test]
fn copies_wait_for_the_session_with_a_restarted_server() {
    for answers in [true, false] {
        let mut rig = Rig::new(4);
        let servers = &rig.bench.device.servers;
        for (server, used) in [50, 50, 50, 0].into_iter().enumerate() {
            servers.announce(rig.bench.slot(server), 100, used);
        }
        servers.close(rig.bench.slot(3));
        rig.servers_changed();
        rig.bench.advance(2 * OPENING_NS);
        rig.bench.write(PageIndex(5), &[0, 1]);
        rig.restart(1, 3);
        rig.drive();
        assert_eq!(rig.next_send(), None);
        let until_ns = rig.repair.next_timeout_ns();
        assert_eq!(until_ns, rig.bench.now_ns + OPENING_NS);
        rig.bench.advance(OPENING_NS / 2);
        // That the same server restarts once more does not prolong it.
        rig.open(3);
        if answers {
            assert_eq!(rig.settle(&[]).len(), 1);
            assert_eq!(rig.holders(5), [0, 3], "server 3 is the emptiest");
            continue;
        }
        rig.restart(3, 1);
        rig.drive();
        assert_eq!(rig.next_send(), None);
        assert_eq!(rig.repair.next_timeout_ns(), until_ns);
        rig.bench.advance(OPENING_NS / 2);
        assert_eq!(rig.settle(&[]).len(), 1);
        assert_eq!(rig.holders(5), [0, 2]);
    }
}

#[test]
fn nothing_is_copied_while_the_server_may_only_be_slow() {
    let mut rig = Rig::new(3);
    rig.bench.write(PageIndex(5), &[0, 1]);
    let slot = rig.bench.slot(1);
    rig.bench.device.servers.suspect(slot);
    rig.servers_changed();
    assert_eq!(rig.settle(&[1]), vec![]);
    assert_eq!(rig.left(), 0);
}

#[test]
fn a_server_that_comes_back_in_time_keeps_its_copies() {
    let mut rig = Rig::new(2);
    rig.bench.write(PageIndex(5), &[0, 1]);
    rig.kill(1);
    assert_eq!(rig.settle(&[1]), vec![], "there is no server to copy it to");
    assert_ne!(rig.left(), 0);
    rig.recover(1);
    assert_eq!(rig.settle(&[]), vec![]);
    assert_eq!(rig.left(), 0);
    assert_eq!(rig.holders(5), [0, 1]);
}

#[test]
fn a_page_that_could_not_be_copied_is_copied_when_a_server_is_added() {
    let mut rig = Rig::new(3);
    rig.kill(1);
    rig.kill(2);
    for page in 0..200 {
        let begun = rig.bench.device.map.begin_write(PageIndex(page)).unwrap();
        let version = rig.bench.device.take_version();
        let slots = SlotSet::one(rig.bench.slot(0));
        let map = &rig.bench.device.map;
        map.finish_write(PageIndex(page), begun, version, slots, false);
        rig.bench.device.note_degraded(PageIndex(page));
    }
    assert_eq!(rig.settle(&[1, 2]), vec![]);
    rig.recover(2);
    assert_eq!(rig.settle(&[1]).len(), 200);
    assert_eq!(rig.holders(199), [0, 2]);
    assert_eq!(rig.left(), 0);
}

/// Has a copy of page 5 under way from server 0 to server 2; returns the WRITE.
fn copy_under_way(rig: &mut Rig) -> Send {
    rig.bench.write(PageIndex(5), &[0, 1]);
    rig.kill(1);
    rig.drive();
    let read = rig.next_send().unwrap();
    assert_eq!(read.header.opcode, Opcode::Read);
    rig.bench.answer_page(&read, &[0]);
    let write = rig.next_send().unwrap();
    assert_eq!(write.header.opcode, Opcode::Write);
    assert_eq!(write.destination, rig.bench.mac(2));
    write
}

#[test]
fn a_full_server_or_one_that_dies_is_not_forced() {
    let mut rig = Rig::new(4);
    let copy = copy_under_way_to(&mut rig);
    rig.bench.acknowledge(&copy, Status::NoSpace);
    let written = rig.settle(&[1]);
    assert_eq!(written.len(), 1);
    assert_ne!(rig.bench.slot_of(copy.destination).index(), written[0].2);
    assert_eq!(rig.left(), 0);
    assert_eq!(rig.repair.counters().repairs_failed, 1);

    let mut rig = Rig::new(4);
    let copy = copy_under_way_to(&mut rig);
    let target = rig.bench.slot_of(copy.destination).index();
    let slot = rig.bench.slot(target);
    rig.bench.device.servers.close(slot);
    rig.servers_changed();
    rig.bench.acknowledge(&copy, Status::Ok);
    let written = rig.settle(&[1, target]);
    assert_eq!(written.len(), 1);
    // It was checked while a copy was under way, and is checked once more.
    rig.bench.advance(2000 * MS);
    assert_eq!(rig.settle(&[1, target]), vec![]);
    assert_eq!(rig.left(), 0);
    assert!(!rig.holders(5).contains(&target));
}

#[test]
fn a_server_that_checks_whether_clients_are_alive_gets_few_copies() {
    let mut rig = Rig::new(3);
    for page in 0..200 {
        rig.bench.write(PageIndex(page), &[0, 1]);
    }
    rig.kill(1);
    let (began_ns, mut asked) = (rig.bench.now_ns, 0);
    while rig.bench.now_ns < began_ns + 2000 * MS {
        rig.drive();
        while let Some(send) = rig.next_send() {
            if send.header.opcode == Opcode::Read {
                rig.bench.answer_page(&send, &[0]);
            } else {
                asked += 1;
                rig.bench.acknowledge(&send, Status::Wait);
            }
        }
        rig.bench.advance(10 * MS);
    }
    assert!((2..=COPIES + 8).contains(&asked), "{asked} copies");
    // It has found a client dead. Pages were put off, for seconds.
    let mut copied = 0;
    while rig.left() != 0 {
        rig.bench.advance(1000 * MS);
        copied += rig.settle(&[1]).len();
        assert!(rig.bench.now_ns < began_ns + 20_000 * MS, "{copied}");
    }
    assert_eq!(copied, 200);
}

/// As [`copy_under_way`], to any server.
fn copy_under_way_to(rig: &mut Rig) -> Send {
    rig.bench.write(PageIndex(5), &[0, 1]);
    rig.kill(1);
    rig.drive();
    let read = rig.next_send().unwrap();
    rig.bench.answer_page(&read, &[0]);
    rig.next_send().unwrap()
}

#[test]
fn the_rate_is_kept_and_less_of_it_beside_requests() {
    let took_ns = |is_busy: bool| {
        let mut rig = Rig::new(3);
        rig.bench.device.set_repair_pages_per_s(1000);
        for page in 0..500 {
            rig.bench.write(PageIndex(page), &[0, 1]);
        }
        rig.kill(1);
        let began_ns = rig.bench.now_ns;
        while rig.repair.counters().pages_repaired < 500 {
            let Bench {
                now_ns,
                device,
                shard,
                ..
            } = &mut rig.bench;
            rig.repair
                .begin_copies(*now_ns, Some(is_busy), shard, device);
            while let Some(send) = rig.next_send() {
                match send.header.opcode {
                    Opcode::Read => rig.bench.answer_page(&send, &[0]),
                    _ => rig.bench.acknowledge(&send, Status::Ok),
                }
            }
            rig.bench.advance(MS / 4);
        }
        rig.bench.now_ns - began_ns
    };
    let (idle_ns, busy_ns) = (took_ns(false), took_ns(true));
    assert!((450 * MS..600 * MS).contains(&idle_ns), "{idle_ns}");
    assert!((1900 * MS..2100 * MS).contains(&busy_ns), "{busy_ns}");
}

#[test]
fn few_copies_are_under_way_beside_requests() {
    let under_way = |is_busy: bool| {
        let mut rig = Rig::new(3);
        for page in 0..500 {
            rig.bench.write(PageIndex(page), &[0, 1]);
        }
        rig.kill(1);
        let mut asked = 0;
        for _ in 0..100 {
            let Bench {
                now_ns,
                device,
                shard,
                ..
            } = &mut rig.bench;
            rig.repair
                .begin_copies(*now_ns, Some(is_busy), shard, device);
            while rig.next_send().is_some() {
                asked += 1;
            }
            // Not long enough for a timeout.
            rig.bench.advance(MS / 100);
        }
        asked
    };
    assert_eq!((under_way(false), under_way(true)), (16, 4));
}

#[test]
fn nothing_is_copied_at_a_rate_of_0() {
    let mut rig = Rig::new(3);
    rig.bench.device.set_repair_pages_per_s(0);
    rig.bench.write(PageIndex(5), &[0, 1]);
    rig.kill(1);
    assert_eq!(rig.settle(&[1]), vec![]);
    assert_ne!(rig.left(), 0);
}

#[test]
fn three_replicas_are_copied_one_after_the_other() {
    let mut rig = Rig::new(2);
    rig.kill(1);
    rig.bench.write(PageIndex(7), &[0]);
    rig.bench.device.note_degraded(PageIndex(7));
    rig.settle(&[1]);
    assert_eq!(rig.holders(7), [0]);
    rig.recover(1);
    rig.settle(&[]);
    assert_eq!(rig.holders(7), [0, 1]);
}

#[test]
fn a_server_that_came_and_died_unnoticed_is_missed() {
    let mut rig = Rig::new(3);
    rig.kill(2);
    rig.settle(&[2]);
    let slot = rig.bench.slot(2);
    rig.bench.device.servers.set_lost(slot, false);
    rig.bench.write(PageIndex(5), &[1, 2]);
    rig.bench.device.servers.set_lost(slot, true);
    rig.servers_changed();
    rig.settle(&[2]);
    assert_eq!(rig.holders(5), [0, 1]);
}
