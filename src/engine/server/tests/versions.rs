// SPDX-License-Identifier: GPL-2.0

//! Versions of pages, and low water.

use super::*;

#[test]
fn versions_only_go_up() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    assert_eq!(bench.put(&me, 1, 300), Status::Ok);
    assert_eq!(bench.put(&me, 1, 299), Status::Stale);
    assert_eq!(bench.put(&me, 1, 300), Status::Ok);
    assert_eq!(bench.get(&me, 1, 300), Some(content(300)));
    // Another generation: the answer states which version is held.
    let answer = bench.one(me.mac, me.of(read(1, 299)), &[]);
    assert_eq!(answer.header.status, Status::Missing);
    assert_eq!(answer.header.version, 300);
    let answer = bench.one(me.mac, me.of(read(2, 299)), &[]);
    assert_eq!(answer.header.status, Status::Missing);
    assert_eq!(answer.header.version, 0);
    // A FREE of an older version changes nothing; one of a newer version drops the page.
    for (below, held) in [(300, true), (301, false)] {
        let payload = free(&[(1, below), (9, 9)]);
        let answer = bench.one(me.mac, me.of(Header::new(Opcode::Free)), &payload);
        assert_eq!(answer.header.opcode, Opcode::FreeAck);
        assert_eq!(bench.get(&me, 1, 300).is_some(), held);
    }
}

#[test]
fn a_version_below_low_water_never_returns() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    assert_eq!(bench.put(&me, 1, 20), Status::Ok);
    // Half of version 21 has arrived when everything below 30 is settled and the page freed.
    let bytes = content(21);
    let cut = Fragmentation::from_count(2).unwrap();
    let half = |index: u8| {
        let (offset, len) = cut.span(index).unwrap();
        let header = Header {
            fragment_count: 2,
            fragment_index: index,
            ..write(1, 21, &bytes)
        };
        (
            header,
            &bytes[usize::from(offset)..usize::from(offset + len)],
        )
    };
    let (header, part) = half(0);
    assert_eq!(bench.ask(me.mac, me.of(header), part), []);
    let payload = free(&[(1, 30)]);
    let header = Header {
        low_water: 30,
        ..Header::new(Opcode::Free)
    };
    assert_eq!(bench.status(&me, header, &payload), Status::Ok);
    let (header, part) = half(1);
    assert_eq!(bench.status(&me, header, part), Status::Stale);
    for version in [20, 21, 29] {
        assert_eq!(bench.put(&me, 1, version), Status::Stale);
    }
    assert_eq!(bench.put(&me, 1, 30), Status::Ok);
    // Pages held below the low water stay: only new writes are refused.
    let header = Header {
        low_water: 1000,
        ..Header::new(Opcode::Ping)
    };
    assert_eq!(bench.status(&me, header, &[]), Status::Ok);
    assert_eq!(bench.get(&me, 1, 30), Some(content(30)));
}

#[test]
fn answers_say_which_versions_a_session_has_used() {
    let mut bench = bench(8, NO_QUOTA);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);
    let mut high_water = |client: &Client, header: Header, payload: &[u8]| {
        let answer = bench.one(client.mac, client.of(header), payload);
        answer.header.low_water
    };
    let ping = Header::new(Opcode::Ping);
    assert_eq!(high_water(&me, ping, &[]), 0);
    let bytes = content(20);
    assert_eq!(high_water(&me, write(1, 20, &bytes), &bytes), 21);
    // A refused version counts too; a lower one does not lower it.
    assert_eq!(high_water(&me, write(1, 19, &bytes), &bytes), 21);
    let settled = Header {
        low_water: 30,
        ..ping
    };
    assert_eq!(high_water(&me, settled, &[]), 30);
    assert_eq!(high_water(&me, write(1, 25, &bytes), &bytes), 30);
    assert_eq!(high_water(&me, Header::new(Opcode::Stats), &[]), 30);
    assert_eq!(high_water(&other, ping, &[]), 0, "another session");
    let stranger = Client { session: 9, ..me };
    assert_eq!(high_water(&stranger, ping, &[]), 0, "none");
}
