// SPDX-License-Identifier: GPL-2.0

//! Full servers, quotas, and how full a server reports to be.

use super::*;

#[test]
fn a_full_server_still_takes_overwrites() {
    let mut bench = bench(3, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    for page in 0..3 {
        assert_eq!(bench.put(&me, page, 1), Status::Ok);
    }
    assert_eq!(bench.put(&me, 3, 1), Status::NoSpace);
    for version in 2..50 {
        for page in 0..3 {
            assert_eq!(bench.put(&me, page, version), Status::Ok);
        }
    }
    let answer = bench.one(me.mac, me.of(Header::new(Opcode::Ping)), &[]);
    assert_eq!(answer.header.utilisation, u16::MAX);
    let payload = free(&[(0, 100)]);
    assert_eq!(
        bench.status(&me, Header::new(Opcode::Free), &payload),
        Status::Ok
    );
    assert_eq!(bench.put(&me, 3, 100), Status::Ok);
}

#[test]
fn every_answer_says_how_full_the_server_is_for_its_client() {
    let mut bench = bench(6, 4);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);
    let full = |bench: &mut Bench, client: &Client| {
        let ping = client.of(Header::new(Opcode::Ping));
        let answer = bench.one(client.mac, ping, &[]);
        u32::from(answer.header.utilisation)
    };
    for page in 0..4 {
        assert_eq!(full(&mut bench, &me), page as u32 * 65535 / 4);
        // Until 2 pages are left, the others do not limit the second client's quota of 4.
        assert_eq!(full(&mut bench, &other) == 0, page <= 2);
        assert_eq!(bench.put(&me, page, 1), Status::Ok);
    }
    assert_eq!(bench.put(&me, 4, 1), Status::Quota);
    assert_eq!(full(&mut bench, &me), 65535);
    assert_eq!(full(&mut bench, &other), 65535 / 2, "2 of its 4 are left");
    for page in 0..2 {
        assert_eq!(bench.put(&other, page, 1), Status::Ok);
    }
    assert_eq!(bench.put(&other, 2, 1), Status::NoSpace);
    // The answer to a HELLO states it too.
    let again = other.of(Header::new(Opcode::Hello));
    let answer = bench.one(other.mac, again, other.hello(0).as_bytes());
    assert_eq!(
        (answer.header.status, answer.header.utilisation),
        (Status::Ok, 65535)
    );
}

#[test]
fn a_client_may_have_a_quota_of_its_own() {
    let mut bench = bench(8, 2);
    let (me, other) = (client(1), client(2));
    bench.server.admission_mut().own_quota = Some((me.id, 4));
    bench.open(&me);
    bench.open(&other);
    let fill = |bench: &mut Bench, client: &Client| {
        let pages = 0..8;
        let taken = pages.take_while(|&page| bench.put(client, page, 1) == Status::Ok);
        taken.count()
    };
    assert_eq!(fill(&mut bench, &me), 4);
    assert_eq!(fill(&mut bench, &other), 2);
    // It may change while the session is open. What is held beyond it stays.
    for (quota, held) in [(5, 5), (1, 5), (6, 6)] {
        bench.server.admission_mut().own_quota = Some((me.id, quota));
        bench.server.update_quotas();
        assert_eq!(fill(&mut bench, &me), held);
    }
    assert_eq!(fill(&mut bench, &other), 2);
}

#[test]
fn quota_and_expired_leases() {
    let mut bench = bench(4, 3);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);
    for page in 0..3 {
        assert_eq!(bench.put(&me, page, 1), Status::Ok);
    }
    assert_eq!(bench.put(&me, 3, 1), Status::Quota);
    assert_eq!(bench.put(&me, 2, 2), Status::Ok);
    assert_eq!(bench.put(&other, 0, 1), Status::Ok);
    assert_eq!(bench.put(&other, 1, 1), Status::NoSpace);
    // An expired lease has no effect while no client needs the room.
    bench.hear_nothing(500);
    assert_eq!(bench.get(&me, 0, 1), Some(content(1)));
    assert_eq!(bench.get(&other, 0, 1), Some(content(1)));
    // From here on only `other` sends frames.
    bench.hear_nothing(u64::from(LEASE_S));
    assert_eq!(bench.put(&other, 1, 1), Status::NoSpace);
    bench.now_ns += 1;
    assert_eq!(bench.put(&other, 1, 1), Status::Wait);
    bench.pass(2100);
    assert_eq!(bench.put(&other, 1, 1), Status::Ok);
    assert_eq!(bench.status(&me, read(0, 1), &[]), Status::NoSession);
    assert_eq!(bench.server.counters().sessions_expired, 1);
    assert_eq!(bench.put(&other, 2, 1), Status::Ok);
}
