// SPDX-License-Identifier: GPL-2.0

//! Opening a session: cookies, challenges, and answers that ask the client to wait.

use super::*;

#[test]
fn a_session_opens_with_the_cookie_only() {
    let mut world = World::new(1500);
    let first = world.last(Opcode::Hello).unwrap();
    // An acknowledgement of something else: another nonce, another session.
    for change in [
        |h: &mut Header| h.attempt ^= 1,
        |h: &mut Header| h.session ^= 1,
    ] {
        let mut forged = first.answer(Opcode::HelloAck, Status::Ok);
        change(&mut forged);
        forged.incarnation = 5;
        world.receive(forged, &[0; 32]);
        assert!(!world.table.valid().contains(world.slot));
    }
    world.acknowledge_hello(Status::Cookie, 5);
    let second = world.last(Opcode::Hello).unwrap();
    assert_ne!(first.attempt, second.attempt);
    world.acknowledge_hello(Status::Ok, 5);
    assert!(world.is_current(5));
    assert!(world.cluster.take_changes().opened.contains(world.slot));
}

#[test]
fn a_challenge_is_answered_for_the_open_session_only() {
    let nonce = [1, 2, 3, 4, 5, 6, 7, 8];
    let mut world = World::new(1500);
    let mut challenge = world
        .last(Opcode::Hello)
        .unwrap()
        .answer(Opcode::Challenge, Status::Ok);
    challenge.incarnation = 5;
    // Not for a session that is not open: the challenge may be for an earlier instance.
    world.receive(challenge, &nonce);
    assert_eq!(world.last(Opcode::Alive), None);
    world.acknowledge_hello(Status::Cookie, 5);
    world.acknowledge_hello(Status::Ok, 5);
    for change in [
        |h: &mut Header| h.session ^= 1,
        |h: &mut Header| h.incarnation ^= 1,
    ] {
        let mut foreign = challenge;
        change(&mut foreign);
        world.receive(foreign, &nonce);
    }
    world.receive(challenge, &nonce[..7]);
    assert_eq!(world.last(Opcode::Alive), None);
    // At once, every time, even from a suspected server.
    for _ in 0..3 {
        world.sent.0.clear();
        world.receive(challenge, &nonce);
        let answer = world.last(Opcode::Alive).unwrap();
        assert_eq!(answer.session, challenge.session);
        assert_eq!(answer.incarnation, 5);
        assert_eq!(answer.payload_crc, crate::crc::crc32c(&nonce));
        world.pass(3000 * MS);
    }
}

#[test]
fn endless_cookies_are_answered_ever_more_slowly() {
    for cookie in [0_u64, 99] {
        let mut world = World::new(1500);
        let mut hellos = 0;
        let mut answered = None;
        while world.now_ns < 10 * NS_PER_S {
            for _ in 0..10 {
                let hello = world.last(Opcode::Hello).unwrap();
                if answered.replace(hello.attempt) == Some(hello.attempt) {
                    break;
                }
                hellos += 1;
                let mut header = hello.answer(Opcode::HelloAck, Status::Cookie);
                header.incarnation = 5;
                let cookie = cookie + hellos * cookie.min(1);
                let mut ack = [0; size_of::<HelloAck>()];
                ack[..8].copy_from_slice(&cookie.to_be_bytes());
                world.receive(header, &ack);
            }
            world.pass(MS);
        }
        assert!((5..40).contains(&hellos), "{hellos}");
    }
}

#[test]
fn a_client_that_is_answered_wait_retries_soon_with_the_same_cookie() {
    let mut world = World::new(1500);
    world.acknowledge_hello(Status::Cookie, 5);
    for _ in 0..20 {
        world.acknowledge_hello(Status::Wait, 5);
        world.sent.0.clear();
        world.pass(199 * MS);
        assert_eq!(world.last(Opcode::Hello), None);
        world.pass(MS);
        assert!(world.last(Opcode::Hello).is_some());
        assert_eq!(world.cluster.peers[world.slot].cookie, 99);
    }
    assert!(world.cluster.take_changes().refused.is_empty());
    // Reported once, however often it is refused, and whatever is answered in between.
    world.acknowledge_hello(Status::InUse, 5);
    assert!(world.cluster.take_changes().refused.contains(world.slot));
    let report = world.cluster.report(world.slot).unwrap();
    assert_eq!(report.refusal, Some(Status::InUse));
    for round in 0..20 {
        for answer in [Status::InUse, Status::Wait] {
            world.wait_for(Opcode::Hello);
            world.acknowledge_hello(answer, 5);
        }
        if round % 4 == 0 {
            world.wait_for(Opcode::Hello);
            world.acknowledge_hello(Status::TooManyClients, 5);
            let is_new = world.cluster.take_changes().refused.contains(world.slot);
            assert_eq!(is_new, round == 0);
        }
    }
    assert!(world.cluster.take_changes().refused.is_empty());
    world.wait_for(Opcode::Hello);
    world.acknowledge_hello(Status::Cookie, 5);
    world.acknowledge_hello(Status::Ok, 5);
    assert!(world.table.usable().contains(world.slot));
}

#[test]
fn a_hello_is_repeated_until_it_is_answered() {
    let mut world = World::new(1500);
    for _ in 0..3000 {
        world.pass(MS);
    }
    let hellos = world.sent.0.len();
    assert!((6..=12).contains(&hellos), "{hellos} in three seconds");
}

#[test]
fn another_incarnation_counts_after_it_has_answered_a_fresh_ping() {
    let mut world = World::open(1500);
    let mut announce = Header::new(Opcode::Announce);
    announce.incarnation = 6;
    let payload = Announce {
        cluster: ClusterName::default(),
        capacity_pages: 10.into(),
        free_pages: 10.into(),
        frames_per_s: 0.into(),
    };
    world.sent.0.clear();
    world.receive(announce, payload.as_bytes());
    assert!(world.is_current(5), "an announcement proves nothing");
    let ping = world.last(Opcode::Ping).expect("it is asked");

    let mut stale = ping.answer(Opcode::Reject, Status::NoSession);
    stale.attempt ^= 1;
    stale.incarnation = 6;
    world.receive(stale, &[]);
    assert!(world.is_current(5), "nor does an old answer");

    let mut fresh = ping.answer(Opcode::Reject, Status::NoSession);
    fresh.incarnation = 6;
    world.receive(fresh, &[]);
    assert!(!world.table.valid().contains(world.slot));
    let changes = world.cluster.take_changes();
    assert!(changes.to_sweep.contains(world.slot));

    // It has another slot; the old one stays unused until it is swept.
    let next = world.cluster.slot_of(MAC).unwrap();
    assert_ne!(next, world.slot);
    let health = |world: &World, slot| world.cluster.report(slot).map(|report| report.health);
    assert_eq!(health(&world, world.slot), Some(Health::Sweeping));
    world.cluster.swept(world.now_ns, world.slot);
    assert_eq!(health(&world, world.slot), None);
}
