// SPDX-License-Identifier: GPL-2.0

//! Servers list what they hold.

use super::*;

fn listed(world: &mut World) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    let peer = &mut world.cluster.peers[world.slot];
    peer.inventory.retain(|one| {
        all.push((one.page.get(), one.version.get()));
        false
    });
    all.sort_unstable();
    all
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
