// SPDX-License-Identifier: GPL-2.0

//! Earlier instances of a client, and clients that do not answer: which session ends for which.

use super::super::*;
use super::bench::*;
use crate::engine::server::store::tests::content;
use crate::wire::Nonce;
use std::vec::Vec;
use zerocopy::FromBytes;

const MS: u64 = 1_000_000;

/// Lets `ms` pass, a millisecond at a time; returns the challenged clients and the nonces.
fn pass(bench: &mut Bench, ms: u64) -> Vec<(MacAddress, u64, u64)> {
    let mut sent = bench.pass(ms);
    sent.retain(|answer| answer.header.opcode == Opcode::Challenge);
    let asked = sent.iter().map(|answer| {
        let nonce = Nonce::read_from_bytes(&answer.payload).unwrap();
        (answer.to, answer.header.session, nonce.nonce.get())
    });
    asked.collect()
}

/// Answers a challenge.
fn alive(bench: &mut Bench, client: &Client, nonce: u64) {
    let nonce = Nonce {
        nonce: nonce.into(),
    };
    let header = client.of(Header::new(Opcode::Alive));
    assert_eq!(bench.ask(client.mac, header, nonce.as_bytes()), []);
}

/// Sends a HELLO with the current cookie.
fn claim(bench: &mut Bench, client: &Client) -> Status {
    let (status, ack) = bench.hello(client, 0);
    match status {
        Status::Cookie => bench.hello(client, ack.cookie.get()).0,
        status => status,
    }
}

/// The same client, after it has lost all its state.
fn reborn(client: &Client, session: u64) -> Client {
    Client { session, ..*client }
}

#[test]
fn a_new_life_ends_an_older_that_does_not_answer_for_two_seconds() {
    let mut bench = bench(8, NO_QUOTA);
    let old = client(1);
    bench.open(&old);
    assert_eq!(bench.put(&old, 1, 10), Status::Ok);
    let new = reborn(&old, 5555);
    let begun_ns = bench.now_ns;
    assert_eq!(claim(&mut bench, &new), Status::Wait);
    // Nothing has changed: the older session is served.
    assert_eq!(bench.server.open_sessions(), 1);
    let mut asked = Vec::new();
    loop {
        asked.extend(pass(&mut bench, 100));
        match claim(&mut bench, &new) {
            Status::Wait => assert_eq!(bench.server.store().free_pages(), 7),
            status => {
                assert_eq!(status, Status::Ok);
                break;
            }
        }
    }
    assert!((2000..2200).contains(&((bench.now_ns - begun_ns) / MS)));
    assert_eq!(
        asked.len(),
        5,
        "so often it was asked, of which four may be lost"
    );
    assert!(asked
        .iter()
        .all(|one| *one == (old.mac, old.session, asked[0].2)));
    assert_eq!(bench.server.open_sessions(), 1);
    assert_eq!(
        bench.server.store().free_pages(),
        8,
        "all of it is the new one's"
    );
    assert_eq!(bench.server.counters().sessions_replaced, 1);
    assert_eq!(bench.get(&new, 1, 10), None);
    assert_eq!(bench.put(&new, 2, 11), Status::Ok);
    // Frames of the older session are refused, and its late answers change nothing.
    assert_eq!(bench.status(&old, read(1, 10), &[]), Status::NoSession);
    assert_eq!(bench.get(&new, 2, 11), Some(content(11)));
}

#[test]
fn a_life_that_answers_keeps_its_session() {
    let mut bench = bench(8, NO_QUOTA);
    let old = client(1);
    bench.open(&old);
    assert_eq!(bench.put(&old, 1, 10), Status::Ok);
    let twin = Client {
        mac: client(2).mac,
        ..reborn(&old, 5555)
    };
    let mut nonces = Vec::new();
    for _ in 0..20 {
        assert_eq!(claim(&mut bench, &twin), Status::Wait);
        let asked = pass(&mut bench, 1);
        let [(mac, session, nonce)] = asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!((mac, session), (old.mac, old.session));
        assert!(!nonces.contains(&nonce), "a nonce is used once");
        nonces.push(nonce);
        alive(&mut bench, &old, nonce);
        assert_eq!(claim(&mut bench, &twin), Status::InUse);
        // The result is valid for a while only.
        pass(&mut bench, 5100);
    }
    assert_eq!(bench.server.counters().sessions_in_use, 20);
    assert_eq!(bench.get(&old, 1, 10), Some(content(10)));
}

#[test]
fn only_an_answer_from_the_session_to_the_fresh_nonce_counts() {
    let mut bench = bench(8, NO_QUOTA);
    let (old, other) = (client(1), client(2));
    bench.open(&old);
    bench.open(&other);
    let new = reborn(&old, 5555);
    assert_eq!(claim(&mut bench, &new), Status::Wait);
    let nonce = pass(&mut bench, 1)[0].2;
    // From another session, from another address, and with another nonce.
    alive(&mut bench, &other, nonce);
    let forger = Client {
        mac: other.mac,
        ..old
    };
    alive(&mut bench, &forger, nonce);
    alive(&mut bench, &old, nonce ^ 1);
    assert_eq!(claim(&mut bench, &new), Status::Wait);
    // The last was at least a frame of the session: its silence restarts.
    assert_eq!(pass(&mut bench, 1900).len(), 4);
    assert_eq!(claim(&mut bench, &new), Status::Wait);
    // The last of five challenges may be answered as well as the first.
    alive(&mut bench, &old, nonce);
    pass(&mut bench, 200);
    assert_eq!(claim(&mut bench, &new), Status::InUse);
    let short = old.of(Header::new(Opcode::Alive));
    bench.ask(old.mac, short, &[0; 7]);
    assert_eq!(bench.server.counters().bad, 1);
}

#[test]
fn late_frames_of_an_older_life_only_delay_its_end() {
    // After the first challenge, and after the last.
    for ms in [250, 1900] {
        let mut bench = bench(8, NO_QUOTA);
        let old = client(1);
        bench.open(&old);
        let new = reborn(&old, 5555);
        assert_eq!(claim(&mut bench, &new), Status::Wait);
        pass(&mut bench, ms);
        assert_eq!(bench.put(&old, 1, 10), Status::Ok);
        pass(&mut bench, 1900);
        assert_eq!(claim(&mut bench, &new), Status::Wait);
        pass(&mut bench, 500);
        assert_eq!(claim(&mut bench, &new), Status::Ok);
    }
}

#[test]
fn a_lost_question_is_repeated_however_much_the_client_sends() {
    let mut bench = bench(8, NO_QUOTA);
    let old = client(1);
    bench.open(&old);
    assert_eq!(claim(&mut bench, &reborn(&old, 5555)), Status::Wait);
    let mut asked = 0;
    for page in 0..20 {
        asked += pass(&mut bench, 100).len();
        assert_eq!(bench.put(&old, page % 4, 10 + page), Status::Ok);
    }
    assert!((4..=6).contains(&asked), "{asked} times in two seconds");
}

#[test]
fn a_claim_that_is_not_repeated_ends_nothing() {
    let mut bench = bench(8, NO_QUOTA);
    let old = client(1);
    bench.open(&old);
    let new = reborn(&old, 5555);
    assert_eq!(claim(&mut bench, &new), Status::Wait);
    assert_eq!(pass(&mut bench, 10_000).len(), 5);
    assert_eq!(bench.server.open_sessions(), 1);
    assert_eq!(
        bench.status(&old, Header::new(Opcode::Ping), &[]),
        Status::Ok
    );
    // It is challenged again, because the result has expired.
    assert_eq!(claim(&mut bench, &new), Status::Wait);
    assert_eq!(pass(&mut bench, 2100).len(), 5);
    assert_eq!(claim(&mut bench, &new), Status::Ok);
}

#[test]
fn a_session_whose_client_does_not_answer_makes_room() {
    let mut bench = bench(4, NO_QUOTA);
    let (dead, me) = (client(1), client(2));
    bench.open(&dead);
    bench.open(&me);
    for page in 0..4 {
        assert_eq!(bench.put(&dead, page, 1), Status::Ok);
    }
    // Within its lease it is not even challenged.
    bench.hear_nothing(u64::from(LEASE_S));
    assert_eq!(bench.put(&me, 0, 1), Status::NoSpace);
    assert_eq!(pass(&mut bench, 1), []);
    // After that it is, and keeps its pages if it answers.
    bench.hear_nothing(1);
    assert_eq!(bench.put(&me, 0, 1), Status::Wait);
    let nonce = pass(&mut bench, 1)[0].2;
    alive(&mut bench, &dead, nonce);
    pass(&mut bench, 3000);
    assert_eq!(bench.put(&me, 0, 1), Status::NoSpace);
    assert_eq!(bench.get(&dead, 0, 1), Some(content(1)));
    // It also keeps them as long as no client needs the room.
    bench.hear_nothing(50 * u64::from(LEASE_S));
    assert_eq!(pass(&mut bench, 1), []);
    assert_eq!(bench.put(&me, 0, 1), Status::Wait);
    assert_eq!(bench.server.counters().pages_refused, 2);
    assert_eq!(pass(&mut bench, 2100).len(), 5);
    assert_eq!(bench.put(&me, 0, 1), Status::Ok);
    assert_eq!(bench.server.counters().sessions_expired, 1);
    assert_eq!(bench.status(&dead, read(1, 1), &[]), Status::NoSession);
    for page in 1..4 {
        assert_eq!(bench.put(&me, page, 1), Status::Ok);
    }
}

#[test]
fn a_server_that_was_stopped_challenges_before_it_ends_a_session() {
    let mut bench = bench(4, NO_QUOTA);
    let (quiet, me) = (client(1), client(2));
    bench.open(&quiet);
    bench.open(&me);
    for page in 0..4 {
        assert_eq!(bench.put(&quiet, page, 1), Status::Ok);
    }
    // Several leases later, in the middle of the challenges.
    bench.hear_nothing(5 * u64::from(LEASE_S));
    assert_eq!(bench.put(&me, 0, 1), Status::Wait);
    let nonce = pass(&mut bench, 900)[0].2;
    bench.now_ns += 1000 * u64::from(LEASE_S) * SECOND;
    pass(&mut bench, 300);
    assert_eq!(bench.put(&me, 0, 1), Status::Wait);
    alive(&mut bench, &quiet, nonce);
    pass(&mut bench, 2000);
    assert_eq!(bench.put(&me, 0, 1), Status::NoSpace);
    assert_eq!(bench.get(&quiet, 0, 1), Some(content(1)));
}

#[test]
fn a_server_that_was_stopped_after_its_last_challenge_receives_first() {
    // After the fifth challenge; then in the last part of the wait for its answer.
    for (before_ms, stopped_ms) in [(1650, 400), (1650, 500), (1650, 900), (1950, 600)] {
        let mut bench = bench(4, NO_QUOTA);
        let (quiet, me) = (client(1), client(2));
        bench.open(&quiet);
        bench.open(&me);
        for page in 0..4 {
            assert_eq!(bench.put(&quiet, page, 1), Status::Ok);
        }
        bench.hear_nothing(u64::from(LEASE_S) + 1);
        assert_eq!(bench.put(&me, 0, 1), Status::Wait);
        let asked = pass(&mut bench, before_ms);
        assert_eq!(asked.len(), 5);
        // Timers run first, then the frames in the ring: the answer is not the first of them.
        bench.now_ns += stopped_ms * MS;
        pass(&mut bench, 1);
        assert_eq!(bench.put(&me, 0, 1), Status::Wait, "{stopped_ms} ms");
        alive(&mut bench, &quiet, asked[4].2);
        pass(&mut bench, 2000);
        assert_eq!(bench.put(&me, 0, 1), Status::NoSpace);
        assert_eq!(bench.get(&quiet, 0, 1), Some(content(1)));
    }
}

#[test]
fn a_hello_of_the_older_life_restarts_its_silence() {
    let mut bench = bench(8, NO_QUOTA);
    let old = client(1);
    bench.open(&old);
    let new = reborn(&old, 5555);
    assert_eq!(claim(&mut bench, &new), Status::Wait);
    pass(&mut bench, 1950);
    assert_eq!(bench.hello(&old, 0).0, Status::Ok);
    pass(&mut bench, 1000);
    assert_eq!(claim(&mut bench, &new), Status::Wait);
    pass(&mut bench, 1100);
    assert_eq!(claim(&mut bench, &new), Status::Ok);
}

#[test]
fn one_address_does_not_take_all_owners_by_ending_sessions() {
    let mut bench = bench(64, NO_QUOTA);
    let mac = client(1).mac;
    let mut ended = 0;
    // Faster than the pages of ended sessions are dropped.
    let refused = (1..=50)
        .map(|number| {
            let greedy = Client {
                mac,
                ..client(number)
            };
            let status = claim(&mut bench, &greedy);
            if status == Status::Ok {
                assert_eq!(bench.put(&greedy, 1, 10), Status::Ok);
                let bye = bench.status(&greedy, Header::new(Opcode::Bye), &[]);
                assert_eq!(bye, Status::Ok);
                ended += 1;
            }
            status
        })
        .find(|&status| status != Status::Ok);
    assert_eq!(refused, Some(Status::Wait));
    assert!(ended >= 2, "a client that restarts need not wait");
    bench.open(&client(200));
    bench.open(&client(201));
    // In time it may restart, when there is room.
    let bye = bench.status(&client(201), Header::new(Opcode::Bye), &[]);
    assert_eq!(bye, Status::Ok);
    pass(&mut bench, 10);
    assert_eq!(claim(&mut bench, &client(1)), Status::Ok);
}

#[test]
fn one_address_does_not_take_all_sessions() {
    // There is room for two clients, of which an address may have one.
    let mut bench = bench(8, NO_QUOTA);
    let greedy = client(1);
    bench.open(&greedy);
    let more = Client {
        mac: greedy.mac,
        ..client(3)
    };
    assert_eq!(claim(&mut bench, &more), Status::TooManyClients);
    let other = client(2);
    bench.open(&other);
    // Moving there does not help.
    let moved = Client {
        mac: greedy.mac,
        ..other
    };
    assert_eq!(claim(&mut bench, &moved), Status::TooManyClients);
    assert_eq!(
        bench.status(&other, Header::new(Opcode::Ping), &[]),
        Status::Ok
    );
    // An older session from there ends if its client does not answer.
    bench.hear_nothing(u64::from(LEASE_S) + 1);
    assert_eq!(
        bench.status(&other, Header::new(Opcode::Ping), &[]),
        Status::Ok
    );
    assert_eq!(claim(&mut bench, &more), Status::Wait);
    let asked = pass(&mut bench, 2100);
    assert!(asked.iter().all(|one| one.0 == greedy.mac));
    assert_eq!(claim(&mut bench, &more), Status::Ok);
    assert_eq!(bench.server.open_sessions(), 2);
}

#[test]
fn a_dead_session_does_not_keep_a_live_one_from_moving_to_its_address() {
    // There is room for two clients, of which an address may have one.
    let mut bench = bench(8, NO_QUOTA);
    let (dead, me) = (client(1), client(2));
    bench.open(&dead);
    bench.open(&me);
    assert_eq!(bench.put(&me, 1, 10), Status::Ok);
    let moved = Client {
        mac: dead.mac,
        ..me
    };
    // Its lease protects it.
    assert_eq!(claim(&mut bench, &moved), Status::TooManyClients);
    bench.hear_nothing(u64::from(LEASE_S) + 1);
    assert_eq!(claim(&mut bench, &moved), Status::Wait);
    let asked = pass(&mut bench, 2100);
    let of_dead = |one: &(MacAddress, u64, u64)| (one.0, one.1) == (dead.mac, dead.session);
    assert!(!asked.is_empty() && asked.iter().all(of_dead));
    assert_eq!(claim(&mut bench, &moved), Status::Ok);
    assert_eq!(bench.server.open_sessions(), 1);
    assert_eq!(bench.server.counters().sessions_expired, 1);
    assert_eq!(bench.get(&moved, 1, 10), Some(content(10)));

    // A session whose client answers stays, and the other one stays where it was.
    let survivor = client(3);
    bench.open(&survivor);
    bench.hear_nothing(u64::from(LEASE_S) + 1);
    let here = Client {
        mac: survivor.mac,
        ..me
    };
    assert_eq!(claim(&mut bench, &here), Status::Wait);
    let asked = pass(&mut bench, 1);
    let [(_, _, nonce)] = asked[..] else {
        panic!("{asked:?}")
    };
    alive(&mut bench, &survivor, nonce);
    assert_eq!(claim(&mut bench, &here), Status::TooManyClients);
    assert_eq!(bench.get(&moved, 1, 10), Some(content(10)));
}

#[test]
fn pages_beyond_the_last_are_refused_and_no_session_ends() {
    let mut bench = bench(4, 1);
    let (dead, me) = (client(1), client(2));
    bench.open(&dead);
    bench.open(&me);
    bench.now_ns = 10 * u64::from(LEASE_S) * SECOND;
    assert_eq!(bench.put(&me, 1 << 48, 1), Status::NoSpace);
    assert_eq!(bench.put(&me, u64::MAX, 1), Status::NoSpace);
    assert_eq!(pass(&mut bench, 2100), []);
    assert_eq!(bench.status(&me, read(1 << 48, 1), &[]), Status::Missing);
    assert_eq!(bench.put(&me, (1 << 48) - 1, 1), Status::Ok);
    // This one is below the low water as well.
    let header = Header {
        low_water: 9,
        ..Header::new(Opcode::Ping)
    };
    assert_eq!(bench.status(&me, header, &[]), Status::Ok);
    assert_eq!(bench.put(&me, 1 << 48, 1), Status::Stale);
}

#[test]
fn a_server_that_was_stopped_takes_no_client_for_silent() {
    let mut bench = bench(1, NO_QUOTA);
    let (old, new) = (client(1), client(2));
    bench.open(&old);
    bench.open(&new);
    assert_eq!(bench.put(&old, 1, 10), Status::Ok);
    // Its clock jumps ahead, and a page arrives before the timer runs.
    bench.now_ns += 100 * u64::from(LEASE_S) * 1000 * MS;
    assert_eq!(bench.put(&new, 2, 11), Status::Wait);
    pass(&mut bench, 4000);
    assert_eq!(bench.put(&new, 2, 11), Status::NoSpace);
    assert_eq!(bench.get(&old, 1, 10), Some(content(10)));
    // The lease still counts from the last frame.
    pass(&mut bench, u64::from(LEASE_S) * 1000 + 1000);
    assert_eq!(bench.put(&new, 2, 11), Status::Wait);
    pass(&mut bench, 4000);
    assert_eq!(bench.put(&new, 2, 11), Status::Ok);
}
