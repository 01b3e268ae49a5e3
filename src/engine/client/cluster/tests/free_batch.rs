// SPDX-License-Identifier: GPL-2.0

//! Frees that are sent until they are acknowledged.

use super::*;

#[test]
fn frees_are_sent_again_until_acknowledged() {
    use crate::engine::client::ids::{PageIndex, Version};
    use crate::engine::client::stale_copy::StaleCopy;
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
fn frees_for_a_silent_server_delay_no_others() {
    let mut world = World::open(1500);
    let copy = StaleCopy {
        page: crate::engine::client::ids::PageIndex(1),
        slots: SlotSet::one(world.slot),
        below: crate::engine::client::ids::Version(9),
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

#[test]
fn frees_are_sent_at_once_when_a_silent_server_is_back() {
    use crate::engine::client::ids::{PageIndex, Version};
    use crate::engine::client::stale_copy::StaleCopy;
    let mut world = World::open(1500);
    while world.table.usable().contains(world.slot) {
        world.pass(MS);
    }
    let copy = StaleCopy {
        page: PageIndex(3),
        slots: SlotSet::one(world.slot),
        below: Version(8),
    };
    assert!(world.cluster.free(world.now_ns, &copy));
    for _ in 0..20 {
        world.pass(MS);
    }
    assert_eq!(world.last(Opcode::Free), None);
    answer_ping(&mut world);
    assert!(world.cluster.next_timeout_ns() <= world.now_ns);
    world.pass(0);
    assert!(world.last(Opcode::Free).is_some());
}
