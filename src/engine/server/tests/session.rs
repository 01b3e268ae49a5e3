// SPDX-License-Identifier: GPL-2.0

//! Sessions: how they begin, move, and end.

use super::*;

#[test]
fn a_session_begins_with_a_cookie_that_came_back() {
    let mut bench = bench(8, 5);
    let me = client(1);
    let (status, ack) = bench.hello(&me, 0);
    assert_eq!(status, Status::Cookie);
    assert_eq!(bench.server.open_sessions(), 0);
    // A wrong cookie, another client's, one for another address, and one for another session.
    let cookie = ack.cookie.get();
    assert_eq!(bench.hello(&me, cookie ^ 1).0, Status::Cookie);
    assert_eq!(bench.hello(&client(2), cookie).0, Status::Cookie);
    let elsewhere = Client {
        mac: client(2).mac,
        ..me
    };
    assert_eq!(bench.hello(&elsewhere, cookie).0, Status::Cookie);
    let other = Client { session: 9, ..me };
    assert_eq!(bench.hello(&other, cookie).0, Status::Cookie);
    assert_eq!(bench.server.open_sessions(), 0);

    let (status, ack) = bench.hello(&me, cookie);
    assert_eq!(status, Status::Ok);
    assert_eq!(ack.quota_pages.get(), 5);
    assert_eq!(ack.held_pages.get(), 0);
    assert_eq!(bench.server.open_sessions(), 1);
    // Repeated: the same answer, nothing changed.
    assert_eq!(bench.put(&me, 1, 10), Status::Ok);
    for _ in 0..3 {
        let (status, ack) = bench.hello(&me, cookie);
        assert_eq!((status, ack.held_pages.get()), (Status::Ok, 1));
    }
    assert_eq!(bench.get(&me, 1, 10), Some(content(10)));
}

#[test]
fn a_new_session_ends_the_older_and_begins_empty() {
    let mut bench = bench(8, NO_QUOTA);
    let old = client(1);
    let old_cookie = bench.open(&old);
    assert_eq!(bench.put(&old, 1, 10), Status::Ok);
    let new = Client {
        session: 5555,
        ..old
    };
    let (_, ack) = bench.hello(&new, 0);
    let new_cookie = ack.cookie.get();
    assert_eq!(bench.hello(&new, new_cookie).0, Status::Wait);
    bench.pass(2100);
    assert_eq!(bench.hello(&new, new_cookie).0, Status::Ok);
    assert_eq!(bench.server.open_sessions(), 1);
    assert_eq!(bench.server.store().free_pages(), 8);
    assert_eq!(bench.get(&new, 1, 10), None);
    assert_eq!(bench.put(&new, 2, 11), Status::Ok);
    // Frames of the older session are refused.
    assert_eq!(bench.status(&old, read(1, 10), &[]), Status::NoSession);
    // Its delayed HELLOs, with any cookie that was ever valid, do not end the newer session.
    for cookie in [0, old_cookie, new_cookie] {
        assert_eq!(bench.hello(&old, cookie).0, Status::Cookie);
    }
    assert_eq!(bench.get(&new, 2, 11), Some(content(11)));
    // They do not restore the older session when the newer one has ended either.
    let bye = bench.status(&new, Header::new(Opcode::Bye), &[]);
    assert_eq!(bye, Status::Ok);
    for cookie in [0, old_cookie, new_cookie] {
        assert_eq!(bench.hello(&old, cookie).0, Status::Cookie);
        assert_eq!(bench.hello(&new, cookie).0, Status::Cookie);
    }
    assert_eq!(bench.server.open_sessions(), 0);
}

#[test]
fn a_session_moves_to_a_new_address_with_its_pages() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    assert_eq!(bench.put(&me, 1, 10), Status::Ok);
    let moved = Client {
        mac: MacAddress([2, 0, 0, 0, 9, 9]),
        ..me
    };
    // Until the client has moved, frames from there count as forged and are not answered.
    assert_eq!(bench.ask(moved.mac, moved.of(read(1, 10)), &[]), []);
    let bye = moved.of(Header::new(Opcode::Bye));
    assert_eq!(bench.ask(moved.mac, bye, &[]), []);
    assert_eq!(bench.server.counters().forged, 2);
    let cookie = bench.open(&moved);
    assert_eq!(bench.get(&moved, 1, 10), Some(content(10)));
    // A replay of the move does not move it again.
    bench.open(&me);
    assert_eq!(bench.hello(&moved, cookie).0, Status::Cookie);
    assert_eq!(bench.get(&me, 1, 10), Some(content(10)));
    assert_eq!(bench.server.open_sessions(), 1);
}

#[test]
fn a_client_that_continues_a_session_is_not_given_an_empty_one() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    let resume = |bench: &mut Bench, me: &Client, incarnation, cookie| {
        let header = Header {
            incarnation,
            ..Header::new(Opcode::Hello)
        };
        let answer = bench.one(me.mac, me.of(header), me.hello(cookie).as_bytes());
        let ack = HelloAck::read_from_bytes(&answer.payload).ok();
        let status = answer.header.status;
        (
            answer.header.opcode,
            status,
            ack.map_or(0, |ack| ack.cookie.get()),
        )
    };
    let nothing = (Opcode::Reject, Status::NoSession, 0);
    assert_eq!(resume(&mut bench, &me, INCARNATION, 0), nothing);
    let cookie = bench.open(&me);
    assert_eq!(bench.put(&me, 1, 10), Status::Ok);
    let ok = (Opcode::HelloAck, Status::Ok, 0);
    assert_eq!(resume(&mut bench, &me, INCARNATION, 0), ok);
    assert_eq!(resume(&mut bench, &me, INCARNATION + 1, 0), nothing);
    // From another address, with the cookie for that.
    let moved = Client {
        mac: MacAddress([2, 0, 0, 0, 9, 9]),
        ..me
    };
    let (_, status, fresh) = resume(&mut bench, &moved, INCARNATION, cookie);
    assert_eq!(status, Status::Cookie);
    assert_eq!(resume(&mut bench, &moved, INCARNATION, fresh), ok);
    assert_eq!(bench.get(&moved, 1, 10), Some(content(10)));
    // Another client, and this one with another session, have no session to continue.
    let thief = Client {
        session: me.session,
        ..client(2)
    };
    assert_eq!(resume(&mut bench, &thief, INCARNATION, 0), nothing);
    let other = Client {
        session: 9,
        ..moved
    };
    assert_eq!(resume(&mut bench, &other, INCARNATION, 0), nothing);
    assert_eq!(bench.get(&moved, 1, 10), Some(content(10)));
    // Once the session has ended, no cookie restores it.
    bench.status(&moved, Header::new(Opcode::Bye), &[]);
    let (_, ack) = bench.hello(&moved, 0);
    let cookie = ack.cookie.get();
    assert_eq!(resume(&mut bench, &moved, INCARNATION, cookie), nothing);
    assert_eq!(bench.server.open_sessions(), 0);
}

#[test]
fn a_client_that_is_not_served_gets_the_reason() {
    let mut bench = bench(8, NO_QUOTA);
    assert_eq!(bench.hello(&client(66), 0).0, Status::NotAdmitted);
    // Another cluster's client.
    let me = client(1);
    let mut hello = me.hello(0);
    hello.cluster.0[0] = b'x';
    let header = me.of(Header::new(Opcode::Hello));
    let answer = bench.one(me.mac, header, hello.as_bytes());
    assert_eq!(answer.header.status, Status::NotAdmitted);
    // A client that uses another's session number.
    bench.open(&me);
    let thief = Client {
        session: me.session,
        ..client(2)
    };
    assert_eq!(bench.hello(&thief, 0).0, Status::NotAdmitted);
    // As many clients as there is room for.
    bench.open(&client(2));
    let late = client(3);
    let (_, ack) = bench.hello(&late, 0);
    let cookie = ack.cookie.get();
    assert_eq!(bench.hello(&late, cookie).0, Status::TooManyClients);
    // Until a lease expires: of the client that was silent longest.
    bench.hear_nothing(60);
    assert_eq!(bench.put(&client(2), 1, 1), Status::Ok);
    bench.hear_nothing(41);
    assert_eq!(bench.hello(&late, cookie).0, Status::Wait);
    bench.pass(2100);
    assert_eq!(bench.hello(&late, cookie).0, Status::Ok);
    assert_eq!(bench.status(&me, read(1, 1), &[]), Status::NoSession);
    assert_eq!(bench.get(&client(2), 1, 1), Some(content(1)));
}

#[test]
fn only_a_live_session_of_this_incarnation_is_served() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    for opcode in [Opcode::Ping, Opcode::Stats, Opcode::Free] {
        let answer = bench.one(me.mac, me.of(Header::new(opcode)), &[]);
        assert_eq!(answer.header.opcode, Opcode::Reject);
        assert_eq!(answer.header.status, Status::NoSession);
    }
    bench.open(&me);
    assert_eq!(bench.put(&me, 1, 10), Status::Ok);
    let stale = Header {
        incarnation: INCARNATION + 1,
        ..read(1, 10)
    };
    assert_eq!(bench.status(&me, stale, &[]), Status::NoSession);
    let bye = Header {
        incarnation: INCARNATION + 1,
        ..Header::new(Opcode::Bye)
    };
    assert_eq!(bench.status(&me, bye, &[]), Status::Ok);
    assert_eq!(bench.get(&me, 1, 10), Some(content(10)));
    // The end, and its repetition.
    for _ in 0..2 {
        let answer = bench.one(me.mac, me.of(Header::new(Opcode::Bye)), &[]);
        assert_eq!(answer.header.opcode, Opcode::ByeAck);
    }
    assert_eq!(bench.status(&me, read(1, 10), &[]), Status::NoSession);
}
