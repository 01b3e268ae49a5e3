// SPDX-License-Identifier: GPL-2.0

//! A server that is silent, and one that answers again.

use super::*;

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

#[test]
fn a_server_that_answers_on_the_data_path_is_not_suspected_for_a_slow_pong() {
    let mut world = World::open(1500);
    let since_ns = world.now_ns + 1;
    for _ in 0..200 {
        world.now_ns += MS;
        let (now_ns, table, sent) = (world.now_ns, &world.table, &mut world.sent);
        let confirmed = world.cluster.confirm(now_ns, since_ns, table, sent);
        assert!(!confirmed.is_complete && confirmed.slots.is_empty());
        let heard_ns = |_| now_ns.saturating_sub(50 * MS);
        world.cluster.handle_timeout(now_ns, table, heard_ns, sent);
        assert!(world.table.usable().contains(world.slot));
    }
    answer_ping(&mut world);
    let (now_ns, table, sent) = (world.now_ns, &world.table, &mut world.sent);
    let confirmed = world.cluster.confirm(now_ns, since_ns, table, sent);
    assert!(confirmed.is_complete && confirmed.slots.contains(world.slot));
}
