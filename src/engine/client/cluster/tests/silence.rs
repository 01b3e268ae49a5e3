// SPDX-License-Identifier: GPL-2.0

//! How long requests wait for servers.

use super::*;

const IO_TIMEOUT_NS: u64 = 5 * NS_PER_S;

/// No server answers any more: runs until nothing waits for this server nor for any, at most this long.
fn wait_until_hopeless(world: &mut World, at_most_ns: u64) -> u64 {
    let from_ns = world.now_ns;
    while !world.table.given_up().contains(world.slot) || world.table.expected() > 0 {
        assert!(world.now_ns - from_ns < at_most_ns, "still waited for");
        // As the driver does: when a timer is due, at the latest after a second.
        let due_ns = world.cluster.next_timeout_ns().min(world.now_ns + NS_PER_S);
        world.pass(due_ns.saturating_sub(world.now_ns).max(1));
    }
    world.now_ns - from_ns
}

#[test]
fn a_silent_server_is_waited_for_as_long_as_a_request_may_wait_and_until_it_answers() {
    let mut world = World::open(1500);
    world.cluster.set_io_timeout_ns(IO_TIMEOUT_NS);
    for _ in 0..2 {
        assert!(world.table.expected() > 0 && world.table.given_up().is_empty());
        let took_ns = wait_until_hopeless(&mut world, 3 * IO_TIMEOUT_NS);
        assert!(
            (IO_TIMEOUT_NS..IO_TIMEOUT_NS + 3 * NS_PER_S).contains(&took_ns),
            "{took_ns}"
        );
        assert_eq!(world.table.expected(), 0);
        assert!(world.cluster.take_changes().servers_changed);
        assert!(world.table.valid().contains(world.slot), "it may come back");
        answer_ping(&mut world);
        world.pass(1);
        assert!(world.cluster.take_changes().servers_changed);
    }
    // With a longer timeout they wait again.
    wait_until_hopeless(&mut world, 3 * IO_TIMEOUT_NS);
    world.cluster.set_io_timeout_ns(3 * IO_TIMEOUT_NS);
    world.pass(MS);
    assert!(world.table.expected() > 0 && world.table.given_up().is_empty());
}

#[test]
fn a_client_that_was_stopped_continues_to_wait() {
    let mut world = World::open(1500);
    world.cluster.set_io_timeout_ns(8 * NS_PER_S);
    while world.table.usable().contains(world.slot) {
        world.pass(MS);
    }
    for _ in 0..5 {
        world.pass(1000 * NS_PER_S);
        assert!(world.table.expected() > 0 && world.table.given_up().is_empty());
    }
    wait_until_hopeless(&mut world, 20 * NS_PER_S);
}

#[test]
fn time_without_a_request_does_not_count_as_silence() {
    let mut world = World::open(1500);
    let io_timeout_ns = NS_PER_S / 2;
    world.cluster.set_io_timeout_ns(io_timeout_ns);
    world.pass(MS);
    // It is not checked meanwhile, as no timer is due. Then a shard suspects it.
    world.now_ns += io_timeout_ns;
    world.table.suspect(world.slot);
    world.pass(MS);
    assert!(!world.table.usable().contains(world.slot));
    assert!(world.table.given_up().is_empty());
    world.pass(io_timeout_ns - MS);
    assert!(world.table.given_up().is_empty());
    world.pass(MS);
    assert!(world.table.given_up().contains(world.slot));
}

#[test]
fn an_answer_to_a_request_under_way_is_a_sign_of_life() {
    let mut world = World::open(1500);
    world.cluster.set_io_timeout_ns(IO_TIMEOUT_NS);
    while world.table.usable().contains(world.slot) {
        world.pass(MS);
    }
    for _ in 0..200 {
        world.now_ns += 100 * MS;
        let (now_ns, table) = (world.now_ns, &world.table);
        let heard_ns = now_ns - 50 * MS;
        world
            .cluster
            .handle_timeout(now_ns, table, |_| heard_ns, &mut world.sent);
        assert!(world.table.given_up().is_empty());
    }
    wait_until_hopeless(&mut world, 2 * IO_TIMEOUT_NS);
}

#[test]
fn a_page_out_does_not_wait_forever_for_too_few_servers() {
    let mut shortage = super::super::silence::Shortage::default();
    let mut now_ns = 0;
    // `times` checks, a tenth of a second apart. The time counts from the first one.
    let mut look = |usable, times| {
        let mut expected = 0;
        for _ in 0..times {
            now_ns += NS_PER_S / 10;
            expected = shortage.look(now_ns, now_ns, usable, IO_TIMEOUT_NS);
        }
        expected
    };
    assert_eq!(look(2, 50), 3);
    assert_eq!(look(2, 1), 2, "a third has not been there for 5 s");
    assert_eq!(look(0, 40), 2);
    assert_eq!(look(1, 11), 1);
    assert_eq!(look(0, 50), 1);
    assert_eq!(look(0, 1), 0);
    assert_eq!(look(3, 1), 3);
    // Checks may be far apart: when it began is not known.
    now_ns += NS_PER_S * 2;
    assert_eq!(shortage.look(now_ns, now_ns, 0, NS_PER_S), 3);
}

/// The server answers a ping that it does not know the session.
fn restart_session(world: &mut World) {
    let ping = world.wait_for(Opcode::Ping);
    let mut reject = ping.answer(Opcode::Reject, Status::NoSession);
    reject.incarnation = 6;
    world.receive(reject, &[]);
    assert!(!world.table.valid().contains(world.slot));
}

fn awaits(world: &World) -> bool {
    !world
        .table
        .awaited(world.table.usable(), SlotSet::EMPTY)
        .is_empty()
}

#[test]
fn a_server_that_restarts_is_awaited_until_its_session_is_open() {
    let mut world = World::open(1500);
    assert!(!awaits(&world));
    restart_session(&mut world);
    assert!(awaits(&world));
    let next = world.cluster.slot_of(MAC).unwrap();
    // If another one was full, this one need not be.
    world.table.set_full(next, true);
    let usable = world.table.usable();
    assert!(!world.table.awaited(usable, world.table.full()).is_empty());
    world.pass(MS);
    assert!(awaits(&world));
    world.acknowledge_hello(Status::Cookie, 6);
    assert!(awaits(&world));
    world.acknowledge_hello(Status::Ok, 6);
    assert!(world.table.usable().contains(next) && !awaits(&world));
}

#[test]
fn a_server_that_restarts_and_is_not_heard_again_is_awaited_for_the_io_timeout() {
    let mut world = World::open(1500);
    world.cluster.set_io_timeout_ns(IO_TIMEOUT_NS);
    restart_session(&mut world);
    let from_ns = world.now_ns;
    world.cluster.take_changes();
    while awaits(&world) {
        assert!(world.now_ns < from_ns + 2 * IO_TIMEOUT_NS);
        let due_ns = world.cluster.next_timeout_ns().min(world.now_ns + NS_PER_S);
        world.pass(due_ns.saturating_sub(world.now_ns).max(1));
    }
    assert!(world.now_ns >= from_ns + IO_TIMEOUT_NS);
    assert!(world.cluster.take_changes().servers_changed);
}

#[test]
fn a_server_that_refuses_us_or_has_never_answered_or_is_removed_is_not_awaited() {
    let mut world = World::new(1500);
    assert!(!awaits(&world), "a wrong address perhaps");
    world.acknowledge_hello(Status::Cookie, 5);
    assert!(awaits(&world));
    world.acknowledge_hello(Status::TooManyClients, 5);
    assert!(!awaits(&world));

    let mut world = World::open(1500);
    restart_session(&mut world);
    assert!(awaits(&world));
    world.cluster.take_changes();
    let (now_ns, table) = (world.now_ns, &world.table);
    world.cluster.remove(now_ns, MAC, table).unwrap();
    assert!(!awaits(&world));
    assert!(world.cluster.take_changes().servers_changed);
}
