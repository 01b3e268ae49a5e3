// SPDX-License-Identifier: GPL-2.0

//! Servers that are added, removed, and added again.

use super::*;

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
    let own = MacAddress([2, 0, 0, 0, 9, 9]);
    world.cluster.set_address(0, own);
    assert_eq!(
        world.cluster.add(0, own, &world.table),
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
fn a_server_drains_until_it_is_closed_and_bye_is_repeated_until_it_answers() {
    let mut world = World::open(1500);
    assert_eq!(
        world.cluster.remove(0, MacAddress([2; 6]), &world.table),
        None
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
    assert!(changes.to_sweep.contains(slot) && !changes.copies_lost.contains(slot));
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
fn a_bye_that_is_not_answered_ends() {
    let mut world = World::open(1500);
    let Some(Removal::Draining(slot, session)) = world.cluster.remove(0, MAC, &world.table) else {
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
fn a_server_that_is_added_again_while_it_is_quiescing_stays() {
    let mut world = World::open(1500);
    let Some(Removal::Draining(slot, session)) = world.cluster.remove(0, MAC, &world.table) else {
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
fn a_server_that_is_added_again_while_it_drains_stays() {
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
    assert!(world
        .cluster
        .take_changes()
        .copies_lost
        .contains(world.slot));
}

#[test]
fn a_server_that_never_answered_is_removed_at_once() {
    let mut world = World::new(1500);
    assert_eq!(
        world.cluster.remove(0, MAC, &world.table),
        Some(Removal::Done)
    );
    assert_eq!(world.cluster.slot_of(MAC), None);
    assert_eq!(world.cluster.remove(0, MAC, &world.table), None);
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
    let Some(Removal::Draining(slot, session)) = world.cluster.remove(0, MAC, &world.table) else {
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
