// SPDX-License-Identifier: GPL-2.0

//! The server as clients, strangers and the network may treat it.

mod bench;
#[cfg(not(MODULE))]
mod chance;
mod lives;

use super::*;
use crate::crc::crc32c;
use crate::engine::server::store::tests::{arrays, content, small, Heap};
use crate::wire::{
    Ack, ClientId, Flags, FragmentMask, Fragmentation, HelloAck, Inventory, InventoryReply,
    PageVersion, Stats, HEADER_LEN, MAX_ACKS, PAGE_SIZE,
};
use bench::*;
use std::vec::Vec;
use zerocopy::FromBytes;

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
    // Nor do they restore the older session when the newer one has ended.
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

#[test]
fn foreign_and_damaged_frames_change_nothing() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    let bytes = content(10);
    let good = frame(me.of(write(1, 10, &bytes)), &bytes);
    for len in [0, 1, 40, 87, 88, 100, good.len() - 1] {
        assert_eq!(bench.raw(me.mac, &good[..len]), []);
    }
    let mut bad = good.clone();
    bad[30] ^= 4;
    assert_eq!(bench.raw(me.mac, &bad), []);
    assert_eq!(bench.raw(MacAddress::BROADCAST, &good), []);
    assert_eq!(bench.raw(MacAddress::default(), &good), []);
    let hello = frame(me.of(Header::new(Opcode::Hello)), &[0; 55]);
    assert_eq!(bench.raw(me.mac, &hello), []);
    let stranger = Client { session: 0, ..me };
    let hello = frame(
        stranger.of(Header::new(Opcode::Hello)),
        stranger.hello(0).as_bytes(),
    );
    assert_eq!(bench.raw(me.mac, &hello), []);
    assert_eq!(bench.server.counters().bad, 12);
    assert_eq!(bench.server.store().free_pages(), 8);
    // A server ignores frames of servers.
    for opcode in [Opcode::Announce, Opcode::Reject, Opcode::ReadReply] {
        let header = Header {
            status: Status::Missing,
            ..me.of(Header::new(opcode))
        };
        assert_eq!(bench.ask(me.mac, header, &[]), []);
    }
    assert_eq!(bench.server.counters().bad, 12);
}

#[test]
fn another_protocol_version_is_answered_but_never_a_servers() {
    let mut bench = bench(8, NO_QUOTA);
    for (opcode, answers) in [(Opcode::Ping, 1), (Opcode::Announce, 0)] {
        let mut bytes = Header::new(opcode).emit(0);
        bytes[0] = 9;
        let crc = crc32c(&bytes[..HEADER_LEN - 4]).to_be_bytes();
        bytes[HEADER_LEN - 4..].copy_from_slice(&crc);
        let got = bench.raw(client(1).mac, &bytes);
        assert_eq!(got.len(), answers);
        for answer in got {
            assert_eq!(answer.header.opcode, Opcode::Reject);
            assert_eq!(answer.header.status, Status::UnknownVersion);
        }
    }
    assert_eq!(bench.server.counters().bad, 2);
}

#[test]
fn a_page_in_fragments_is_acknowledged_once() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    let bytes = content(10);
    let cut = Fragmentation::from_count(3).unwrap();
    for index in 0..3 {
        let (offset, len) = cut.span(index).unwrap();
        let header = Header {
            fragment_count: 3,
            fragment_index: index,
            ..write(1, 10, &bytes)
        };
        let part = &bytes[usize::from(offset)..usize::from(offset + len)];
        let answers = bench.ask(me.mac, me.of(header), part);
        if index < 2 {
            assert_eq!(answers, []);
            continue;
        }
        let [answer] = &answers[..] else { panic!() };
        assert_eq!(answer.header.opcode, Opcode::WriteAck);
        assert_eq!(answer.header.status, Status::Ok);
        assert_eq!(answer.header.fragment_mask, cut.all());
        assert_eq!((answer.header.tag, answer.header.attempt), (77, 3));
        assert_eq!((answer.header.page, answer.header.version), (1, 10));
    }
    assert_eq!(bench.get(&me, 1, 10), Some(bytes.clone()));
    // Only the requested fragments.
    let header = Header {
        fragment_mask: FragmentMask::from_bits(0b100),
        ..read(1, 10)
    };
    let answer = bench.one(me.mac, me.of(header), &[]);
    assert_eq!(answer.payload, bytes[2736..]);
    assert_eq!((answer.header.tag, answer.header.attempt), (78, 4));
}

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
fn what_is_below_low_water_never_comes_back() {
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
    assert_eq!(bench.put(&other, 1, 1), Status::NoSpace);
    bench.pass(2100);
    assert_eq!(bench.put(&other, 1, 1), Status::Ok);
    assert_eq!(bench.status(&me, read(0, 1), &[]), Status::NoSession);
    assert_eq!(bench.server.counters().sessions_expired, 1);
    assert_eq!(bench.put(&other, 2, 1), Status::Ok);
}

#[test]
fn same_filled_pages_are_eight_bytes() {
    let mut bench = bench(4, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    let value = 0x1122_3344_5566_7788_u64.to_be_bytes();
    let header = Header {
        flags: Flags::SAME_FILLED,
        ..write(1, 5, &value)
    };
    let damaged = Header {
        payload_crc: 1,
        ..header
    };
    assert_eq!(bench.status(&me, damaged, &value), Status::Corrupt);
    assert_eq!(bench.status(&me, header, &value), Status::Ok);
    let answer = bench.one(me.mac, me.of(read(1, 5)), &[]);
    assert_eq!(answer.header.flags, Flags::SAME_FILLED);
    assert_eq!(answer.payload, value);
    assert_eq!(answer.header.payload_crc, crc32c(&value));
    assert_eq!(bench.put(&me, 1, 6), Status::Ok);
    assert_eq!(bench.get(&me, 1, 6), Some(content(6)));
}

#[test]
fn answers_on_their_way_out_are_not_overwritten() {
    let mut bench = bench(3, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    for page in 0..3 {
        bench.put(&me, page, 1);
    }
    for version in 2..20 {
        // Read, then overwrite often enough to go once round the arena, without a flush.
        let old = read(0, version - 1);
        let old = frame(me.of(old), &[]);
        bench
            .server
            .handle_frame(0, me.mac, &old, &mut bench.network);
        for again in 0..12 {
            let version = if again == 0 {
                version
            } else {
                version * 100 + again
            };
            let page = u64::from(again != 0);
            let bytes = content(version);
            let new = frame(me.of(write(page, version, &bytes)), &bytes);
            bench
                .server
                .handle_frame(0, me.mac, &new, &mut bench.network);
        }
        let got: Vec<u8> = bench
            .answers()
            .into_iter()
            .filter(|answer| answer.header.opcode == Opcode::ReadReply)
            .flat_map(|answer| answer.payload)
            .collect();
        assert_eq!(got, content(version - 1));
        assert_eq!(got.len(), PAGE_SIZE);
    }
}

#[test]
fn ping_is_echoed_and_stats_are_this_sessions() {
    let mut bench = bench(8, NO_QUOTA);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);
    for len in [0, 1, 1412, 8912] {
        let payload = vec![7; len];
        let answer = bench.one(me.mac, me.of(Header::new(Opcode::Ping)), &payload);
        assert_eq!(answer.header.opcode, Opcode::Pong);
        assert_eq!(answer.payload, payload);
    }
    bench.put(&me, 1, 1);
    bench.put(&me, 2, 2);
    bench.put(&other, 1, 1);
    bench.get(&me, 1, 1);
    bench.status(&me, Header::new(Opcode::Free), &free(&[(2, 9), (2, 9)]));
    bench.raw(me.mac, &[0; 100]);
    bench.server.set_frames_dropped(11);
    let answer = bench.one(me.mac, me.of(Header::new(Opcode::Stats)), &[]);
    let stats = Stats::read_from_bytes(&answer.payload).unwrap();
    assert_eq!(stats.capacity_pages.get(), 8);
    assert_eq!(stats.free_pages.get(), 6);
    assert_eq!(stats.held_pages.get(), 1);
    assert_eq!(stats.pages_written.get(), 2);
    assert_eq!(stats.pages_read.get(), 1);
    assert_eq!(stats.pages_freed.get(), 1);
    assert_eq!(stats.frames_bad.get(), 1);
    assert_eq!(stats.frames_dropped.get(), 11);
}

/// Requests a part of the inventory; returns the pages listed and the cursor.
fn list(bench: &mut Bench, client: &Client, cursor: u64, most: u32) -> (Vec<(u64, u64)>, u64) {
    let question = Inventory {
        cursor: cursor.into(),
        max_pages: most.into(),
        reserved: 0.into(),
    };
    let header = client.of(Header::new(Opcode::Inventory));
    let answer = bench.one(client.mac, header, question.as_bytes());
    assert_eq!(answer.header.opcode, Opcode::InventoryReply);
    let (reply, pages) = InventoryReply::read_from_prefix(&answer.payload).unwrap();
    let pages = <[PageVersion]>::ref_from_bytes(pages).unwrap();
    let named = pages.iter().map(|one| (one.page.get(), one.version.get()));
    (named.collect(), reply.cursor.get())
}

#[test]
fn an_inventory_names_the_sessions_pages_each_once() {
    let mut bench = bench(300, NO_QUOTA);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);
    assert_eq!(list(&mut bench, &me, 0, 30), (vec![], 0));
    for page in 0..200 {
        bench.put(&me, page, page + 1000);
        bench.put(&other, page / 2, 7);
    }
    bench.status(&me, Header::new(Opcode::Free), &free(&[(3, 9999)]));
    let expected: Vec<_> = (0..200)
        .filter(|&page| page != 3)
        .map(|page| (page, page + 1000))
        .collect();
    for most in [1, 7, 80, 5000] {
        let (mut named, mut cursor) = (Vec::new(), 0);
        loop {
            let (some, next) = list(&mut bench, &me, cursor, most);
            assert!(some.len() <= 80.min(most as usize));
            named.extend(some);
            if next == 0 {
                break;
            }
            assert!(next > cursor);
            cursor = next;
        }
        named.sort_unstable();
        assert_eq!(named, expected);
    }
    assert_eq!(list(&mut bench, &me, u64::MAX, 30), (vec![], 0));
    let header = me.of(Header::new(Opcode::Inventory));
    assert_eq!(bench.ask(me.mac, header, &[0; 15]), []);
    assert_eq!(bench.server.counters().bad, 1);
}

#[test]
fn a_batch_of_frees_is_all_or_nothing_in_form() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    bench.put(&me, 1, 1);
    let header = me.of(Header::new(Opcode::Free));
    let most = free(&[(1, 1); crate::wire::MAX_PAGE_VERSIONS]);
    assert_eq!(bench.status(&me, header, &most), Status::Ok);
    let more = free(&[(1, 9); crate::wire::MAX_PAGE_VERSIONS + 1]);
    assert_eq!(bench.ask(me.mac, header, &more), []);
    assert_eq!(bench.ask(me.mac, header, &more[..17]), []);
    assert_eq!(bench.server.counters().bad, 2);
    assert_eq!(bench.get(&me, 1, 1), Some(content(1)));
}

#[test]
fn announcements_every_second_and_sweeps_in_between() {
    let mut bench = bench(6, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    bench.put(&me, 1, 1);
    assert_eq!(bench.server.next_timeout_ns(), 0);
    for second in 0..3_u64 {
        bench.now_ns = second * SECOND + 17;
        bench
            .server
            .handle_timeout(bench.now_ns, &mut bench.network);
        let answers = bench.answers();
        let [announce] = &answers[..] else { panic!() };
        assert_eq!(announce.to, MacAddress::BROADCAST);
        assert_eq!(announce.header.opcode, Opcode::Announce);
        assert_eq!(announce.header.session, 0);
        let message = Announce::read_from_bytes(&announce.payload).unwrap();
        assert_eq!(message.capacity_pages.get(), 6);
        assert_eq!(message.free_pages.get(), 5);
        assert_eq!(message.frames_per_s.get(), if second == 0 { 3 } else { 0 });
        assert_eq!(bench.server.next_timeout_ns(), (second + 1) * SECOND);
    }
    // After a pause, one announcement and not many.
    bench.now_ns = 100 * SECOND + 5;
    bench
        .server
        .handle_timeout(bench.now_ns, &mut bench.network);
    assert_eq!(bench.answers().len(), 1);
    assert_eq!(bench.server.next_timeout_ns(), 101 * SECOND + 5);
    // An ended session's pages are dropped soon.
    bench.status(&me, Header::new(Opcode::Bye), &[]);
    assert!(bench.server.store().is_sweeping());
    assert_eq!(bench.server.next_timeout_ns(), bench.now_ns);
    bench
        .server
        .handle_timeout(bench.now_ns, &mut bench.network);
    assert!(!bench.server.store().is_sweeping());
    assert_eq!(bench.server.next_timeout_ns(), 101 * SECOND + 5);
}

#[test]
fn a_server_is_not_made_of_wrong_parts() {
    let layout = small(8);
    let config = Config {
        incarnation: 0,
        seed: 0,
        cluster: ClusterName::default(),
        lease_s: 1,
        quota_pages: 1,
    };
    let make = |config, sessions: usize, layout: &Layout| {
        let arrays = ServerArrays {
            store: arrays(&small(8)),
            sessions: vec![Session::default(); sessions],
            session_heads: vec![0; 3],
        };
        let admission = CookieAdmission {
            banned: ClientId([0; 16]),
            nonces: 0,
        };
        Server::<Heap, _>::new(config, layout, arrays, admission, 0).is_some()
    };
    assert!(!make(config, 4, &layout));
    let config = Config {
        incarnation: 1,
        ..config
    };
    assert!(make(config, 4, &layout));
    assert!(!make(config, 3, &layout));
    assert!(!make(config, 4, &small(9)));
}

/// Writes whole pages whose version is their number, without a flush in between.
fn put_at_once(bench: &mut Bench, writes: &[(&Client, u64)]) -> Vec<Answer> {
    for (client, page) in writes {
        let bytes = content(*page);
        let header = Header {
            tag: 500 + *page as u32,
            ..client.of(write(*page, *page, &bytes))
        };
        bench.take_in(client.mac, &frame(header, &bytes));
    }
    bench.answers()
}

#[test]
fn acknowledgements_for_one_client_share_a_frame() {
    let mut bench = bench(40, NO_QUOTA);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);

    // A single acknowledgement is an ordinary WRITE_ACK.
    let answers = put_at_once(&mut bench, &[(&me, 1)]);
    let [answer] = &answers[..] else { panic!() };
    assert_eq!(answer.header.opcode, Opcode::WriteAck);
    assert_eq!(answer.header.tag, 501);

    // Each client gets its own frames, and no frame more than it holds.
    let mut writes: Vec<_> = (2..2 + MAX_ACKS as u64 + 3)
        .map(|page| (&me, page))
        .collect();
    writes.extend([(&other, 1), (&other, 2)]);
    let answers = put_at_once(&mut bench, &writes);
    let counts: Vec<_> = answers
        .iter()
        .map(|answer| (answer.to, answer.payload.len() / size_of::<Ack>()))
        .collect();
    assert_eq!(counts, [(me.mac, MAX_ACKS), (me.mac, 3), (other.mac, 2)]);
    let mut acknowledged = Vec::new();
    for answer in &answers {
        assert_eq!(answer.header.opcode, Opcode::WriteAcks);
        assert_eq!(answer.header.payload_crc, crc32c(&answer.payload));
        for ack in <[Ack]>::ref_from_bytes(&answer.payload).unwrap() {
            let header = ack.header(&answer.header).unwrap();
            assert_eq!(header.opcode, Opcode::WriteAck);
            assert_eq!(header.status, Status::Ok);
            assert_eq!(header.incarnation, INCARNATION);
            assert_eq!(u64::from(header.tag), 500 + header.page);
            assert_eq!((header.version, header.attempt), (header.page, 3));
            assert_eq!(header.fragment_mask, FragmentMask::from_bits(1));
            acknowledged.push((header.session, header.page));
        }
    }
    let wanted: Vec<_> = writes
        .iter()
        .map(|(client, page)| (client.session, *page))
        .collect();
    assert_eq!(acknowledged, wanted);
}

#[test]
fn kept_acknowledgements_fit_in_what_an_outbox_keeps_free() {
    let mut bench = bench(80, NO_QUOTA);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);
    let mut most = 0;
    for page in 1..2 * MAX_ACKS as u64 {
        // An acknowledgement to the second client sends the first client's.
        for client in [&me, &other] {
            let bytes = content(page);
            let bytes = frame(client.of(write(page, page, &bytes)), &bytes);
            most = most.max(bench.take_in(client.mac, &bytes));
        }
    }
    assert_eq!(most, 1);
    assert!(bench.server.has_kept());
    bench.answers();
    assert!(!bench.server.has_kept());
    assert!(
        most + 8 <= <Network as Outbox>::MOST,
        "beside a page's fragments"
    );
}
