// SPDX-License-Identifier: GPL-2.0

//! How often the worker runs while a server is silent.

use super::*;
use crate::engine::client::ids::PageIndex;

impl World {
    /// How often something was due within `ns` without frames.
    fn wake_ups(&mut self, ns: u64) -> u32 {
        let end_ns = self.now_ns + ns;
        let mut count = 0;
        loop {
            let next_ns = self.cluster.next_timeout_ns().max(self.now_ns);
            if next_ns >= end_ns {
                return count;
            }
            let wait_ns = next_ns - self.now_ns;
            self.pass(wait_ns);
            count += 1;
            assert!(count < 100_000, "for ever");
        }
    }

    /// Notes as many pages to be freed on the server as fit.
    fn free(&mut self, pages: core::ops::Range<u32>) -> u32 {
        let mut taken = 0;
        for page in pages {
            let copy = StaleCopy {
                page: PageIndex(page),
                slots: SlotSet::one(self.slot),
                below: Version(7),
            };
            taken += u32::from(self.cluster.free(self.now_ns, &copy) && !self.is_silent());
        }
        taken
    }

    /// Answers all that was sent, except for inventory requests and, unless `frees`, frees. Returns
    /// whether an inventory was requested.
    fn answer_all(&mut self, frees: bool) -> bool {
        let mut asked = false;
        for (header, len) in core::mem::take(&mut self.sent.0) {
            let opcode = match header.opcode {
                Opcode::Ping => Opcode::Pong,
                Opcode::Free if frees => Opcode::FreeAck,
                opcode => {
                    asked |= opcode == Opcode::Inventory;
                    continue;
                }
            };
            let len = if opcode == Opcode::Pong { len } else { 0 };
            let mut answer = header.answer(opcode, Status::Ok);
            answer.incarnation = 5;
            self.receive(answer, &[0; 4096][..len]);
        }
        asked
    }

    fn is_silent(&self) -> bool {
        !self.table.usable().contains(self.slot)
    }
}

#[test]
fn a_silent_server_costs_a_few_wake_ups_a_second() {
    let mut world = World::open(1500);
    // Frees are under way, others wait, and an inventory request is due soon.
    world.free(0..80);
    world.pass(MS);
    world.free(80..160);
    world
        .cluster
        .ask_what_they_have(world.now_ns, SlotSet::one(world.slot));
    world.cluster.look_for_orphans(world.now_ns);
    for _ in 0..2_000 {
        world.pass(MS);
    }
    assert!(world.is_silent());
    world.cluster.look_for_orphans(world.now_ns);
    let count = world.wake_ups(10 * NS_PER_S);
    assert!((8..60).contains(&count), "{count} wake-ups in ten seconds");
    let count = world.wake_ups(10 * NS_PER_S);
    assert!((8..40).contains(&count), "{count} in the next ten");
    // The server is back: its inventory is requested at once.
    let mut asked = false;
    for _ in 0..3_000 {
        world.pass(MS);
        asked |= world.answer_all(true);
    }
    assert!(asked);
}

#[test]
fn an_acknowledged_free_makes_room_for_more() {
    let mut world = World::open(1500);
    let taken = world.free(0..80);
    assert_eq!(taken, 80);
    world.pass(10 * MS);
    let free = world.last(Opcode::Free).unwrap();
    // Another batch is full while the first is not acknowledged.
    assert_eq!(world.free(80..160), 80);
    world.cluster.look_for_orphans(world.now_ns);
    for _ in 0..900 {
        world.pass(MS);
        assert!(!world.answer_all(false), "there is no room");
    }
    let mut ack = free.answer(Opcode::FreeAck, Status::Ok);
    // An answer to any attempt counts.
    ack.incarnation = 5;
    world.receive(ack, &[]);
    // The second batch is sent, and there is room at once, long before the next second.
    world.pass(0);
    world.pass(0);
    assert!(world.last(Opcode::Inventory).is_some());
}
