// SPDX-License-Identifier: GPL-2.0

//! A client that is rolled back while its servers are not. Two shards use the same
//! real servers; the second begins in the state that the first had before it continued.

mod chance;

use std::vec;
use std::vec::Vec;

use zerocopy::IntoBytes;

use super::super::super::ids::{Generation, SlotSet};
use super::super::{Send, SendPayload};
use super::bench::Bench;
use super::*;
use crate::crc::crc32c;
use crate::engine::server::store::tests::{arrays, content, small, Heap};
use crate::engine::server::{
    Admission, Config, CookieClaim, Outbox, Payload, Server, ServerArrays, Session,
};
use crate::wire::{
    ClientId, ClusterName, FragmentMask, Frame, Header, Hello, HelloAck, MacAddress, HEADER_LEN,
    PAGE_SIZE,
};

const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 9, 1]);
const SERVERS: usize = 2;

struct AdmitAll;

impl Admission for AdmitAll {
    fn cookie(&self, _: &CookieClaim) -> u64 {
        7
    }
    fn nonce(&mut self) -> u64 {
        9
    }
    fn admits(&self, _: ClientId, _: MacAddress) -> bool {
        true
    }
}

#[derive(Default)]
struct Wire(Vec<Vec<u8>>);

impl Outbox for Wire {
    fn send(&mut self, _: MacAddress, header: &[u8], payload: Payload<'_>) {
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(payload.bytes());
        self.0.push(bytes);
    }
}

/// Servers that are not rolled back together with a client.
struct Servers {
    servers: Vec<Server<Heap, AdmitAll>>,
    /// What each has received, which determines its state.
    received: Vec<Vec<Vec<u8>>>,
}

impl Servers {
    fn new() -> Self {
        let mut servers = Self {
            servers: (0..SERVERS).map(Self::begin).collect(),
            received: vec![Vec::new(); SERVERS],
        };
        for number in 0..SERVERS {
            let hello = Hello {
                client: ClientId([1; 16]),
                cookie: 7.into(),
                cluster: ClusterName::default(),
            };
            let mut header = Header::new(Opcode::Hello);
            header.session = 100 + number as u64;
            let answers = servers.ask(number, header, hello.as_bytes());
            let status = Frame::parse(&answers[0]).unwrap().header.status;
            assert_eq!(status, Status::Ok);
            assert!(answers[0].len() >= HEADER_LEN + size_of::<HelloAck>());
        }
        servers
    }

    fn begin(number: usize) -> Server<Heap, AdmitAll> {
        let layout = small(64);
        let config = Config {
            incarnation: 200 + number as u64,
            seed: 5,
            cluster: ClusterName::default(),
            lease_s: 60,
            quota_pages: u64::MAX,
        };
        let arrays = ServerArrays {
            store: arrays(&layout),
            sessions: vec![Session::default(); layout.owners.into()],
            session_heads: vec![0; 2],
        };
        Server::new(config, &layout, arrays, AdmitAll, 0).unwrap()
    }

    /// How much each server has received: a snapshot of its state.
    fn snapshot(&self) -> Vec<usize> {
        self.received.iter().map(Vec::len).collect()
    }

    /// Puts the server back to a snapshot.
    fn put_back(&mut self, number: usize, snapshot: &[usize]) {
        self.servers[number] = Self::begin(number);
        self.received[number].truncate(snapshot[number]);
        for bytes in &self.received[number] {
            let mut wire = Wire::default();
            self.servers[number].handle_frame(0, CLIENT, bytes, &mut wire);
            self.servers[number].flush(&mut wire);
        }
    }

    fn ask(&mut self, number: usize, mut header: Header, payload: &[u8]) -> Vec<Vec<u8>> {
        if !matches!(header.opcode, Opcode::Write) {
            header.payload_crc = crc32c(payload);
        }
        let mut bytes = header.emit(payload.len() as u16).to_vec();
        bytes.extend_from_slice(payload);
        let mut wire = Wire::default();
        self.received[number].push(bytes.clone());
        let server = &mut self.servers[number];
        server.handle_frame(0, CLIENT, &bytes, &mut wire);
        server.flush(&mut wire);
        wire.0
    }

    /// Delivers the frames and their answers.
    fn serve(&mut self, client: &mut Bench, send: &Send, page: &mut [u8]) {
        let number = client.slot_of(send.destination).index();
        let mut header = send.header;
        let payload = match send.payload {
            SendPayload::Nothing => Vec::new(),
            SendPayload::Page { .. } => page.to_vec(),
            SendPayload::Fill(_) => panic!("no page is filled"),
        };
        header.fragment_index = 0;
        for answer in self.ask(number, header, &payload) {
            let frame = Frame::parse(&answer).unwrap();
            let (now_ns, device) = (client.now_ns, &client.device);
            let receive =
                client
                    .shard
                    .handle_frame(now_ns, send.destination, &frame.header, device);
            if let Some(receive) = receive {
                page.copy_from_slice(frame.payload);
                let received = receive.verify.unwrap().compare(crc32c(page), None);
                client.shard.received(now_ns, &receive, received, device);
            }
        }
    }

    /// Runs until the op has ended.
    fn finish(&mut self, client: &mut Bench, page: &mut [u8]) -> Outcome {
        for _ in 0..100 {
            match client.poll() {
                Some(Action::Send(send)) => {
                    let send = client.sent(send);
                    self.serve(client, &send, page);
                }
                Some(Action::Complete(completion)) => return completion.outcome,
                other => panic!("{other:?}"),
            }
        }
        panic!("it never ends");
    }

    fn page_out(&mut self, client: &mut Bench, page: u32, seed: u64) -> Outcome {
        let mut bytes = content(seed);
        start(client, page, seed);
        self.finish(client, &mut bytes)
    }

    fn page_in(&mut self, client: &mut Bench, page: u32) -> Result<Vec<u8>, Outcome> {
        let mut bytes = vec![0; PAGE_SIZE];
        client.start_page_in(0, PageIndex(page));
        match self.finish(client, &mut bytes) {
            Outcome::Done => Ok(bytes),
            other => Err(other),
        }
    }
}

fn start(client: &mut Bench, page: u32, seed: u64) {
    let crc = Some(crc32c(&content(seed)));
    client
        .shard
        .start_page_out(client.now_ns, 0, PageIndex(page), None, crc, &client.device)
        .unwrap();
}

/// The number of pages that were written before the client is rolled back.
const KNOWN: u32 = 8;

/// The servers, a client, and the same client rolled back to the state after it had written the known
/// pages: the first and the second.
fn clients() -> (Servers, Bench, Bench) {
    let mut servers = Servers::new();
    let (mut first, mut second) = (Bench::new(SERVERS), Bench::new(SERVERS));
    for page in 0..KNOWN {
        assert_eq!(
            servers.page_out(&mut first, page, page.into()),
            Outcome::Done
        );
        let holders: Vec<_> = first
            .device
            .map
            .load(PageIndex(page))
            .replicas()
            .iter()
            .collect();
        let holders: Vec<_> = holders.iter().map(|slot| slot.index()).collect();
        second.write(PageIndex(page), &holders);
    }
    assert_eq!(first.device.next_version(), second.device.next_version());
    (servers, first, second)
}

/// The first client writes `page` in another version of the same generation, and then `more` pages.
fn resume(servers: &mut Servers, first: &mut Bench, page: u32, more: u32) {
    let generation = first.device.map.load(PageIndex(page)).generation();
    let before = Generation(generation.0.wrapping_sub(1));
    first.device.take_version_of(before);
    assert_eq!(servers.page_out(first, page, 500), Outcome::Done);
    let entry = first.device.map.load(PageIndex(page));
    assert_eq!(entry.generation(), generation, "the same by chance");
    for number in 0..more {
        let page = KNOWN + number % 16;
        assert_eq!(servers.page_out(first, page, 600), Outcome::Done);
    }
}

#[test]
fn a_page_of_the_forgotten_life_is_an_error_and_the_others_are_right() {
    let (mut servers, mut first, mut second) = clients();
    resume(&mut servers, &mut first, 3, 20);
    // The server's first answer reports that it knows of later versions.
    assert_eq!(servers.page_in(&mut second, 3), Err(Outcome::Failed));
    assert_eq!(second.device.versions().jumps(), 1);
    assert_eq!(second.device.versions().unannounced_jumps(), 1);
    for page in (0..KNOWN).filter(|page| *page != 3) {
        assert_eq!(servers.page_in(&mut second, page), Ok(content(page.into())));
    }
    assert_eq!(servers.page_in(&mut second, 3), Err(Outcome::Failed));
    // Once it is written again, it is an ordinary page.
    assert_eq!(servers.page_out(&mut second, 3, 77), Outcome::Done);
    assert_eq!(servers.page_in(&mut second, 3), Ok(content(77)));
    assert_eq!(second.device.versions().jumps(), 1);
}

#[test]
fn the_first_page_out_takes_a_version_that_servers_take() {
    let (mut servers, mut first, mut second) = clients();
    resume(&mut servers, &mut first, 3, 20);
    // The machine's later activity is settled there.
    let low_water = first.device.next_version();
    for number in 0..SERVERS {
        let mut header = Header::new(Opcode::Ping);
        header.session = 100 + number as u64;
        header.low_water = low_water.0;
        assert_eq!(servers.ask(number, header, &[]).len(), 1);
    }
    for (page, seed) in [(3, 41), (0, 42), (30, 43)] {
        assert_eq!(servers.page_out(&mut second, page, seed), Outcome::Done);
        let entry = second.device.map.load(PageIndex(page));
        assert_eq!(entry.replicas().len(), 2);
        assert_eq!(servers.page_in(&mut second, page), Ok(content(seed)));
    }
    assert_eq!(second.device.versions().jumps(), 1);
    let counters = second.shard.counters();
    assert!((1..3).contains(&counters.versions_renewed), "{counters:?}");
    assert_eq!(counters.pages_out_failed, 0);
}

#[test]
fn a_jump_that_was_announced_keeps_the_lives_apart() {
    let (mut servers, mut first, mut second) = clients();
    resume(&mut servers, &mut first, 3, 20);
    second.device.versions().jump(12345);
    // The counter has passed that version, which is of the requested generation.
    assert_eq!(servers.page_out(&mut second, 0, 42), Outcome::Done);
    assert_eq!(servers.page_in(&mut second, 3), Err(Outcome::Failed));
    assert_eq!(servers.page_in(&mut second, 0), Ok(content(42)));
    assert_eq!(second.shard.counters().versions_renewed, 0);
    assert_eq!(second.device.versions().jumps(), 1);
}

#[test]
fn a_version_that_both_lives_gave_out_belongs_to_neither() {
    let (mut servers, mut first, mut second) = clients();
    let generation = first.device.map.load(PageIndex(3)).generation();
    for client in [&first, &second] {
        client
            .device
            .take_version_of(Generation(generation.0.wrapping_sub(1)));
    }
    // The first client's next version belongs to page 3, in the generation that the map has. The
    // second's belongs to another page, and is not entered when the first answer arrives.
    assert_eq!(servers.page_out(&mut first, 3, 500), Outcome::Done);
    assert_eq!(servers.page_out(&mut first, 30, 501), Outcome::Done);
    assert_eq!(servers.page_out(&mut second, 30, 502), Outcome::Done);
    assert_eq!(servers.page_in(&mut second, 3), Err(Outcome::Failed));
    assert_eq!(servers.page_in(&mut second, 30), Ok(content(502)));
    assert_eq!(servers.page_in(&mut second, 7), Ok(content(7)));
}

#[test]
fn the_same_snapshot_again_and_again() {
    let (mut servers, mut first, _) = clients();
    resume(&mut servers, &mut first, 3, 20);
    for round in 0..5 {
        let mut client = Bench::new(SERVERS);
        for page in 0..KNOWN {
            client.write(PageIndex(page), &[0, 1]);
        }
        if round % 2 == 0 {
            client.device.versions().jump(round * 1000);
        }
        for page in [0, 5, 30] {
            let seed = 1000 * round + u64::from(page);
            assert_eq!(servers.page_out(&mut client, page, seed), Outcome::Done);
            assert_eq!(servers.page_in(&mut client, page), Ok(content(seed)));
        }
        assert_eq!(servers.page_in(&mut client, 3), Err(Outcome::Failed));
        assert_eq!(servers.page_in(&mut client, 7), Ok(content(7)));
    }
}

#[test]
fn requests_under_way_when_the_versions_jump_restart() {
    let (_, _, mut client) = clients();
    start(&mut client, 3, 50);
    let old: Vec<_> = (0..SERVERS).map(|_| client.next_send()).collect();
    client.device.versions().jump(5);
    client.shard.versions_jumped(client.now_ns, &client.device);
    // Answers to the other client, or to this one for versions that it no longer uses.
    for send in &old {
        client.acknowledge(send, Status::Ok);
    }
    let new: Vec<_> = (0..SERVERS).map(|_| client.next_send()).collect();
    assert_eq!(client.poll(), None);
    for send in &new {
        assert!(
            send.header.version > old[0].header.version + super::super::super::versions::jump::JUMP
        );
        client.acknowledge(send, Status::Ok);
    }
    assert_eq!(client.next_completion().outcome, Outcome::Done);
    let entry = client.device.map.load(PageIndex(3));
    assert_eq!(entry.replicas(), SlotSet::from_bits(0b11));
    assert_eq!(entry.generation().0, new[0].header.version as u8);
}

#[test]
fn a_server_that_always_answers_stale_is_not_used() {
    let mut bench = Bench::new(3);
    bench.start_page_out(0, PAGE);
    let mut sent = 0;
    let completion = loop {
        match bench.poll() {
            Some(Action::Send(send)) => {
                let send = bench.sent(send);
                sent += 1;
                let status = match send.destination == bench.mac(0) {
                    true => Status::Stale,
                    false => Status::Ok,
                };
                bench.acknowledge_part(&send, status, FragmentMask::from_bits(1));
            }
            Some(Action::Complete(completion)) => break completion,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(completion.outcome, Outcome::Done);
    let holders = bench.device.map.load(PAGE).replicas();
    assert_eq!(holders, SlotSet::from_bits(0b110));
    assert!(sent <= 12, "{sent}");
    // No answer concerned a version that was never given out.
    assert_eq!(bench.device.versions().jumps(), 0);
}

#[test]
fn a_server_that_reports_impossible_versions_is_not_used_and_loses_no_page() {
    let mut bench = Bench::new(3);
    let old = bench.write(PageIndex(9), &[1, 2]);
    for page in 0..100 {
        bench.now_ns += US;
        bench.start_page_out(0, PageIndex(page + 20));
        let mut sent = 0;
        let completion = loop {
            match bench.poll() {
                Some(Action::Send(send)) => {
                    let send = bench.sent(send);
                    sent += 1;
                    assert!(sent < 40, "for ever");
                    let next = bench.device.next_version().0;
                    let high_water = match send.destination == bench.mac(0) {
                        true => next + 2,
                        false => next,
                    };
                    bench.acknowledge_high(&send, high_water);
                }
                Some(Action::Complete(completion)) => break completion,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(completion.outcome, Outcome::Done);
    }
    let jumps = bench.device.versions().jumps();
    assert!((1..8).contains(&jumps), "{jumps}");
    assert_eq!(bench.device.versions().is_ours(old), Some(true));
    assert!(bench.shard.take_suspicion());
    assert!(!bench.device.servers.usable().contains(bench.slot(0)));
    let holders = bench.device.map.load(PageIndex(20)).replicas();
    assert_eq!(holders, SlotSet::from_bits(0b110));
}

#[test]
fn a_page_that_a_server_put_back_lacks_is_read_from_another() {
    let (mut servers, mut client, _) = clients();
    let snapshot = servers.snapshot();
    for (page, seed) in [(3, 41), (30, 42)] {
        assert_eq!(servers.page_out(&mut client, page, seed), Outcome::Done);
    }
    servers.put_back(0, &snapshot);
    // It holds page 3 in an older version, page 30 not at all, and page 5 as it should.
    for _ in 0..4 {
        for (page, seed) in [(3, 41), (30, 42), (5, 5)] {
            assert_eq!(servers.page_in(&mut client, page), Ok(content(seed)));
        }
    }
    let holders = |page| client.device.map.load(PageIndex(page)).replicas();
    assert_eq!(holders(3), SlotSet::from_bits(0b10));
    assert_eq!(holders(30), SlotSet::from_bits(0b10));
    assert_eq!(holders(5), SlotSet::from_bits(0b11));
    assert_eq!(client.shard.counters().copies_missing, 2);
    assert_eq!(client.shard.counters().misses, 2);
    assert_eq!(client.device.servers.lacking(), SlotSet::from_bits(0b01));
    assert!(client.device.degraded().unwrap().count() > 0, "for repair");
    assert_eq!(client.shard.take_frees_lost(), SlotSet::from_bits(0b01));
    // Once it is written again, it is an ordinary page.
    assert_eq!(servers.page_out(&mut client, 30, 43), Outcome::Done);
    for _ in 0..2 {
        assert_eq!(servers.page_in(&mut client, 30), Ok(content(43)));
    }
    assert_eq!(client.shard.counters().misses, 2);
}

#[test]
fn a_page_that_all_servers_have_lost_is_an_error_each_time() {
    let (mut servers, mut client, _) = clients();
    let snapshot = servers.snapshot();
    for (page, seed) in [(3, 41), (30, 42)] {
        assert_eq!(servers.page_out(&mut client, page, seed), Outcome::Done);
    }
    for number in 0..SERVERS {
        servers.put_back(number, &snapshot);
    }
    for _ in 0..4 {
        for page in [3, 30] {
            assert_eq!(servers.page_in(&mut client, page), Err(Outcome::Failed));
            let entry = client.device.map.load(PageIndex(page));
            assert!(entry.is_written());
            assert_eq!(entry.replicas().len(), 1, "the last one stays");
        }
        assert_eq!(servers.page_in(&mut client, 5), Ok(content(5)));
    }
    assert_eq!(client.shard.counters().copies_missing, 2);
}
