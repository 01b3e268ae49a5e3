// SPDX-License-Identifier: GPL-2.0

//! A client whose hardware address changes.

use super::*;

#[test]
fn a_session_moves_to_another_address() {
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
    assert!(world
        .cluster
        .take_changes()
        .copies_lost
        .contains(world.slot));
}

#[test]
fn a_server_that_does_not_answer_is_sent_the_new_address() {
    let mut world = World::open(1500);
    let hello = world.wait_for(Opcode::Hello);
    assert_eq!(hello.incarnation, 5);
    assert!(
        !world.table.usable().contains(world.slot),
        "only one that is silent"
    );
    // A HELLO is shorter than a fragment: the answer to a ping shows that pages cross as well.
    world.acknowledge_hello(Status::Ok, 5);
    assert!(!world.table.usable().contains(world.slot));
    world.pass(0);
    let ping = world.last(Opcode::Ping).unwrap();
    let mut pong = ping.answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 5;
    world.receive(pong, &[0; PING_LEN]);
    assert!(world.table.usable().contains(world.slot));
}

#[test]
fn a_server_that_a_shard_suspects_is_sent_the_address_too() {
    let mut world = World::open(1500);
    world.pass(MS);
    let (now_ns, slot) = (world.now_ns, world.slot);
    world.cluster.suspect(now_ns, slot, &world.table);
    world.pass(0);
    assert_eq!(world.last(Opcode::Hello).unwrap().incarnation, 5);
    // Its answer does not show that it can be relied on.
    let since_ns = world.now_ns;
    world.pass(MS);
    world.acknowledge_hello(Status::Ok, 5);
    let (now_ns, table) = (world.now_ns, &world.table);
    let confirmed = world
        .cluster
        .confirm(now_ns, since_ns, table, &mut world.sent);
    assert!(!confirmed.slots.contains(slot));
}

#[test]
fn our_own_address_is_added_as_a_server_only_with_a_list() {
    let mut world = World::open(1500);
    let own = MacAddress([2, 0, 0, 0, 7, 1]);
    // The interface's address may be known before the list is added.
    world.cluster.set_address(world.now_ns, own);
    let (now_ns, table) = (world.now_ns, &world.table);
    let added = world.cluster.add(now_ns, own, table);
    assert_eq!(added, Err(AddError::NotUnicast));
    let added = world.cluster.add_listed(now_ns, &[own], Some(own), table);
    assert_eq!(added, Ok(true));
}
