// SPDX-License-Identifier: GPL-2.0

//! The server as clients, strangers and the network may treat it.

mod acknowledgements;
pub(in crate::engine) mod bench;
#[cfg(not(MODULE))]
mod chance;
mod inventory;
mod session;
mod session_eviction;
mod space;
mod versions;

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
fn a_server_is_not_built_from_arrays_of_wrong_sizes() {
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
            own_quota: None,
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
