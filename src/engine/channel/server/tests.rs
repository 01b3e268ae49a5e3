// SPDX-License-Identifier: GPL-2.0

//! A keyed client and a keyed server, and what strangers, other clients and the network may do to them.

use super::*;
use crate::aead::{Cipher, Key};
use crate::crc::crc32c;
use crate::engine::channel::client::{Channel, ClientChannels, NewKeys, Outgoing, LIFETIME_NS};
use crate::engine::client::cluster::{self, Random};
use crate::engine::client::ids::SERVER_SLOTS;
use crate::engine::server::tests::bench::{self, Answer, Bench, NO_QUOTA};
use crate::wire::{Hello, HelloAck, PageVersion, SIGNATURE_LEN};
use std::vec;
use zerocopy::{FromBytes, IntoBytes};

const SERVER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xaa]);
const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

struct Numbers(u64);

impl Random for Numbers {
    fn number(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 7
    }
}

#[derive(Default)]
struct Sent(Vec<(Header, Vec<u8>)>);

impl cluster::Outbox for Sent {
    fn send(&mut self, to: MacAddress, header: &Header, payload: &[u8]) {
        assert_eq!(to, SERVER);
        self.0.push((*header, payload.to_vec()));
    }
}

/// The keys of a client's session.
struct Keys {
    number: u8,
    transmit: Key,
    receive: Key,
    sent: u64,
}

/// A client with one server.
struct Station {
    mac: MacAddress,
    session: u64,
    channels: ClientChannels<Vec<Channel>>,
    numbers: Numbers,
    keys: Option<Keys>,
    old: Option<Keys>,
}

fn pair(byte: u8) -> PairKey {
    PairKey::new(Secret::new(&[byte; 32])).unwrap()
}

impl Station {
    fn new(number: u8, key: u8) -> Self {
        Self::with(number, key, Cipher::AesGcm)
    }

    fn with(number: u8, key: u8, cipher: Cipher) -> Self {
        let mut station = Self {
            mac: MacAddress([2, 0, 0, 0, 0, number]),
            session: 1000 + u64::from(number),
            channels: ClientChannels::new(
                vec![Channel::default(); SERVER_SLOTS],
                cipher,
                LIFETIME_NS,
            )
            .unwrap(),
            numbers: Numbers(number.into()),
            keys: None,
            old: None,
        };
        station
            .channels
            .set_address(0, station.mac, &mut station.numbers);
        assert!(station.channels.set_pair(SERVER, pair(key)));
        station
    }

    /// Frames that are due.
    fn due(&mut self, now_ns: u64) -> Vec<Vec<u8>> {
        let station = (SERVER, self.session);
        let stations = || core::iter::once(station);
        self.channels
            .follow(now_ns, stations, &mut self.numbers, |_| ());
        let mut sent = Sent::default();
        self.channels
            .handle_timeout(now_ns, &mut self.numbers, &mut sent);
        let mut frames = Vec::new();
        for (header, payload) in sent.0 {
            frames.extend(self.frame(header, &payload));
        }
        frames
    }

    /// The frame, signed if there are keys.
    fn frame(&mut self, header: Header, payload: &[u8]) -> Option<Vec<u8>> {
        let header = Header {
            session: self.session,
            payload_crc: match header.opcode {
                Opcode::Write => header.payload_crc,
                _ => crc32c(payload),
            },
            ..header
        };
        match self.channels.outgoing(SERVER, &header, payload) {
            Outgoing::Held => None,
            Outgoing::Plain => Some([&header.emit(payload.len() as u16)[..], payload].concat()),
            Outgoing::Signed(_) => Some(self.signed(header, payload)),
        }
    }

    fn signed(&mut self, header: Header, payload: &[u8]) -> Vec<u8> {
        let keys = self.keys.as_mut().unwrap();
        keys.sent += 1;
        let flags = header.flags.union(Flags::SIGNED);
        let head = Header { flags, ..header }.emit(payload.len() as u16);
        let mut signature = Signature::new(keys.number, 3, keys.sent, [7; 4]);
        signature.tag = keys.transmit.mac(
            &signature.nonce(),
            &[&Signature::head(&head)[..], payload].concat(),
        );
        [&head[..], signature.as_bytes(), payload].concat()
    }

    /// Takes a frame of the server. Returns it if it is signed.
    fn take(&mut self, now_ns: u64, bytes: &[u8]) -> Option<Answer> {
        let frame = Frame::parse(bytes).unwrap();
        if let Some(signature) = frame.signature(bytes) {
            let covered = match covers_payload(frame.header.flags) {
                true => frame.payload,
                false => &[],
            };
            let head = Signature::head(bytes.first_chunk().unwrap());
            let text = [&head[..], covered].concat();
            let all = [&self.keys, &self.old].into_iter().flatten();
            let key = all.into_iter().find(|keys| keys.number == signature.key)?;
            assert!(key
                .receive
                .verify_mac(&signature.nonce(), &signature.tag, &text));
        }
        match frame.header.opcode {
            Opcode::KeyReply => {
                if let Some(new) = self.channels.handle_reply(now_ns, SERVER, &frame) {
                    self.set_keys(&new, Cipher::AesGcm);
                }
                None
            }
            Opcode::Reject if frame.signature(bytes).is_none() => {
                self.channels.hint(now_ns, SERVER, &mut self.numbers);
                None
            }
            _ => frame.signature(bytes).map(|_| Answer {
                to: self.mac,
                header: frame.header,
                payload: frame.payload.to_vec(),
            }),
        }
    }

    fn set_keys(&mut self, new: &NewKeys, cipher: Cipher) {
        assert_eq!((new.server, new.session), (SERVER, self.session));
        self.old = self.keys.take();
        self.keys = Some(Keys {
            number: new.number,
            transmit: Key::with_cipher(cipher, new.transmit.bytes()),
            receive: Key::with_cipher(cipher, new.receive.bytes()),
            sent: 0,
        });
    }
}

/// A keyed server.
struct Segment {
    bench: Bench,
    channels: ServerChannels,
}

fn clients() -> Vec<KeyedClient> {
    (1..=3)
        .map(|number| KeyedClient {
            identity: ClientId([number; 16]),
            keys: [Some(pair(number)), None],
        })
        .collect()
}

impl Segment {
    fn new() -> Self {
        let mut channels =
            ServerChannels::new(clients(), Secret::new(&[77; 32]), bench::INCARNATION);
        channels.set_address(SERVER);
        Self {
            bench: bench::bench(8, NO_QUOTA),
            channels,
        }
    }

    /// What is sent in answer to a frame: to whom, and the bytes.
    fn send(&mut self, from: MacAddress, bytes: &[u8]) -> Vec<(MacAddress, Vec<u8>)> {
        let Bench {
            server,
            network,
            now_ns,
        } = &mut self.bench;
        self.channels
            .handle_frame(*now_ns, from, bytes, server, network);
        server.flush(&mut Signing::new(&mut self.channels, network));
        network.sent.drain(..).collect()
    }

    /// Delivers a client's frames, and the answers to it. Returns the signed ones.
    fn exchange(&mut self, station: &mut Station, frames: Vec<Vec<u8>>) -> Vec<Answer> {
        let mut got = Vec::new();
        for frame in frames {
            for (to, bytes) in self.send(station.mac, &frame) {
                assert_eq!(to, station.mac);
                got.extend(station.take(self.bench.now_ns, &bytes));
            }
        }
        got
    }

    /// Lets time pass until the client has nothing due.
    fn settle(&mut self, station: &mut Station) {
        for _ in 0..8 {
            self.bench.now_ns += MS;
            let due = station.due(self.bench.now_ns);
            self.exchange(station, due);
        }
    }

    fn ask(&mut self, station: &mut Station, header: Header, payload: &[u8]) -> Vec<Answer> {
        let frame = station.frame(header, payload).into_iter().collect();
        self.exchange(station, frame)
    }

    fn open(&mut self, station: &mut Station) {
        self.settle(station);
        assert!(station.keys.is_some());
        let mut cookie = 0;
        for status in [Status::Cookie, Status::Ok] {
            let hello = Hello {
                // A client is who has signed.
                client: ClientId([0xee; 16]),
                cookie: u64::into(cookie),
                cluster: Default::default(),
            };
            let answers = self.ask(station, Header::new(Opcode::Hello), hello.as_bytes());
            assert_eq!(answers[0].header.status, status);
            let ack = HelloAck::read_from_bytes(&answers[0].payload).unwrap();
            cookie = ack.cookie.get();
        }
    }

    fn put(&mut self, station: &mut Station, page: u64, version: u64) -> Option<Status> {
        let bytes = bench_content(version);
        let answers = self.ask(station, bench::write(page, version, &bytes), &bytes);
        answers.first().map(|answer| answer.header.status)
    }

    fn get(
        &mut self,
        station: &mut Station,
        page: u64,
        version: u64,
        flags: Flags,
    ) -> Option<Vec<u8>> {
        let header = Header {
            flags: match flags == Flags::HEADER_ONLY {
                true => flags.union(Flags::SIGNED),
                false => flags,
            },
            ..bench::read(page, version)
        };
        let answers = self.ask(station, header, &[]);
        if answers.first()?.header.status == Status::Missing {
            return None;
        }
        for answer in &answers {
            assert_eq!(answer.header.flags.without(Flags::SIGNED), flags);
        }
        Some(
            answers
                .into_iter()
                .flat_map(|answer| answer.payload)
                .collect(),
        )
    }
}

fn bench_content(seed: u64) -> Vec<u8> {
    crate::engine::server::store::tests::content(seed)
}

#[test]
fn pages_go_out_and_in_under_keys() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    assert_eq!(segment.put(&mut me, 5, 10), Some(Status::Ok));
    for flags in [Flags::default(), Flags::HEADER_ONLY] {
        assert!(segment.get(&mut me, 5, 10, flags) == Some(bench_content(10)));
    }
    let counters = segment.channels.counters();
    let expected = Counters {
        keys: 1,
        verified: 5,
        ..Counters::default()
    };
    assert_eq!(counters, expected);
}

#[test]
fn both_ciphers_work() {
    for cipher in [Cipher::AesGcm, Cipher::ChaCha20Poly1305] {
        let mut segment = Segment::new();
        let mut me = Station::with(1, 1, cipher);
        let mut keys = None;
        for _ in 0..4 {
            for frame in me.due(segment.bench.now_ns) {
                for (_, bytes) in segment.send(me.mac, &frame) {
                    let frame = Frame::parse(&bytes).unwrap();
                    keys = keys.or(me
                        .channels
                        .handle_reply(segment.bench.now_ns, SERVER, &frame));
                }
            }
            segment.bench.now_ns += MS;
        }
        me.set_keys(&keys.unwrap(), cipher);
        let got = segment.ask(&mut me, Header::new(Opcode::Ping), b"x");
        assert_eq!(got[0].header.status, Status::NoSession);
    }
}

#[test]
fn without_a_key_nothing_is_begun() {
    let mut segment = Segment::new();
    // No key of this server's, and the key of another pair under the identity of this one.
    for key in [9, 66] {
        let mut stranger = Station::new(4, key);
        for _ in 0..10 {
            segment.bench.now_ns += 50 * MS;
            segment.settle(&mut stranger);
        }
        assert!(stranger.keys.is_none());
    }
    assert!(segment.channels.counters().forged > 4);
    assert_eq!(segment.channels.sessions.len(), 0);
    // Frames of a client without keys are refused, and no more often than a hint is sent.
    let mut rejects = 0;
    for _ in 0..100 {
        segment.bench.now_ns += MS;
        let hello = bench::client(1).hello(0);
        let frame = bench::frame(
            bench::client(1).of(Header::new(Opcode::Hello)),
            hello.as_bytes(),
        );
        for (_, bytes) in segment.send(bench::client(1).mac, &frame) {
            let frame = Frame::parse(&bytes).unwrap();
            assert_eq!(frame.header.opcode, Opcode::Reject);
            assert_eq!(frame.header.status, Status::KeyWanted);
            rejects += 1;
        }
    }
    assert_eq!(rejects, 10);
    assert_eq!(segment.bench.server.open_sessions(), 0);
}

#[test]
fn no_changed_bit_is_accepted_and_no_frame_twice() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    assert_eq!(segment.put(&mut me, 5, 10), Some(Status::Ok));
    let batch = [PageVersion {
        page: 5.into(),
        version: 11.into(),
    }];
    let free = me
        .frame(Header::new(Opcode::Free), batch.as_bytes())
        .unwrap();
    for bit in 0..free.len() * 8 {
        let mut bad = free.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // Right checksums are no secret.
        if bit / 8 < HEADER_LEN - 4 {
            let crc = crc32c(&bad[..HEADER_LEN - 4]).to_be_bytes();
            bad[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
        }
        if bit / 8 >= HEADER_LEN + SIGNATURE_LEN {
            let crc = crc32c(&bad[HEADER_LEN + SIGNATURE_LEN..]).to_be_bytes();
            bad[20..24].copy_from_slice(&crc);
            let crc = crc32c(&bad[..HEADER_LEN - 4]).to_be_bytes();
            bad[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
        }
        segment.bench.now_ns += MS;
        for (_, bytes) in segment.send(me.mac, &bad) {
            let frame = Frame::parse(&bytes).unwrap();
            assert_eq!(frame.header.opcode, Opcode::Reject, "bit {bit}");
            assert!(frame.signature(&bytes).is_none());
        }
        assert_eq!(segment.bench.server.store().free_pages(), 7, "bit {bit}");
    }
    // From another address.
    segment.send(MacAddress([2, 0, 0, 0, 0, 9]), &free);
    assert_eq!(segment.bench.server.store().free_pages(), 7);
    // As it is, once.
    let answers = segment.exchange(&mut me, vec![free.clone()]);
    assert_eq!(answers[0].header.opcode, Opcode::FreeAck);
    assert_eq!(segment.bench.server.store().free_pages(), 8);
    assert_eq!(segment.put(&mut me, 5, 10), Some(Status::Ok));
    let before = segment.channels.counters().replayed;
    assert_eq!(segment.exchange(&mut me, vec![free]), []);
    assert_eq!(segment.bench.server.store().free_pages(), 7);
    assert_eq!(segment.channels.counters().replayed, before + 1);
}

#[test]
fn a_client_cannot_use_anothers_session() {
    let mut segment = Segment::new();
    let (mut me, mut other) = (Station::new(1, 1), Station::new(2, 2));
    segment.open(&mut me);
    segment.open(&mut other);
    assert_eq!(segment.put(&mut me, 5, 10), Some(Status::Ok));
    // Under its own keys, in my session, from its address and from mine.
    let header = Header {
        session: me.session,
        ..bench::read(5, 10)
    };
    let frame = other.signed(header, &[]);
    for from in [other.mac, me.mac] {
        for (_, bytes) in segment.send(from, &frame) {
            assert_eq!(Frame::parse(&bytes).unwrap().header.opcode, Opcode::Reject);
        }
    }
    // It requests keys of a session with the number of mine, and gets them. The session is not its own.
    other.session = me.session;
    other.keys = None;
    segment.settle(&mut other);
    for header in [bench::read(5, 10), Header::new(Opcode::Bye)] {
        let answers = segment.ask(&mut other, header, &[]);
        assert!(answers
            .iter()
            .all(|answer| matches!(answer.header.opcode, Opcode::Reject | Opcode::ByeAck)));
    }
    let hello = Hello {
        client: ClientId([1; 16]),
        cookie: 0.into(),
        cluster: Default::default(),
    };
    let answers = segment.ask(&mut other, Header::new(Opcode::Hello), hello.as_bytes());
    assert_eq!(answers[0].header.status, Status::NotAdmitted);
    assert!(segment.get(&mut me, 5, 10, Flags::default()) == Some(bench_content(10)));
}

#[test]
fn a_client_that_takes_anothers_session_and_address_gets_nothing() {
    let mut segment = Segment::new();
    let mut me = Station::new(2, 2);
    segment.open(&mut me);
    assert_eq!(segment.put(&mut me, 5, 10), Some(Status::Ok));
    // It comes before me in the list.
    let mut thief = Station::new(2, 1);
    thief.session = me.session;
    segment.settle(&mut thief);
    assert!(thief.keys.is_some());
    for header in [bench::read(5, 10), Header::new(Opcode::Bye)] {
        let answers = segment.ask(&mut thief, header, &[]);
        assert!(answers
            .iter()
            .all(|answer| matches!(answer.header.opcode, Opcode::Reject | Opcode::ByeAck)));
    }
    // My frames are still verified under my keys, and the answers signed under them; announcements as well.
    assert!(segment.get(&mut me, 5, 10, Flags::default()) == Some(bench_content(10)));
    assert_eq!(segment.put(&mut me, 6, 11), Some(Status::Ok));
    assert_eq!(segment.channels.addresses(), [(me.session, me.mac, 1)]);
    let header = Header {
        session: me.session,
        ..Header::new(Opcode::Pong)
    };
    let signed = segment
        .channels
        .sign(me.session, me.mac, None, &header.emit(0), &[]);
    let signed = signed.unwrap();
    assert!(me.take(0, &signed).is_some());
    // The thief is not heard with my frames, nor am I with its.
    let counters = segment.channels.counters();
    let frame = thief.frame(bench::read(5, 10), &[]).unwrap();
    segment.send(thief.mac, &frame);
    assert_eq!(segment.channels.counters().verified, counters.verified + 1);
}

#[test]
fn lost_and_repeated_requests_change_nothing() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    // The answer to the request with the cookie is lost.
    let first = me.due(0);
    segment.exchange(&mut me, first.clone());
    let second = me.due(0);
    let lost = segment.send(me.mac, &second[0]);
    assert!(me.keys.is_none());
    segment.bench.now_ns += 50 * MS;
    let again = me.due(segment.bench.now_ns);
    segment.exchange(&mut me, again);
    assert!(me.keys.is_some());
    assert_eq!(segment.channels.counters().keys, 1);
    segment.open(&mut me);
    assert_eq!(segment.put(&mut me, 5, 10), Some(Status::Ok));
    // Old requests and old answers come again, at any time.
    for _ in 0..3 {
        segment.bench.now_ns += SECOND;
        for frame in first.iter().chain(&second) {
            segment.exchange(&mut me, vec![frame.clone()]);
        }
        for (_, bytes) in &lost {
            me.take(segment.bench.now_ns, bytes);
        }
        assert!(segment.get(&mut me, 5, 10, Flags::default()) == Some(bench_content(10)));
    }
    assert_eq!(segment.channels.counters().keys, 1);
}

#[test]
fn keys_change_while_the_session_goes_on() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    assert_eq!(segment.put(&mut me, 5, 10), Some(Status::Ok));
    let late = me.frame(bench::read(5, 10), &[]).unwrap();
    let later = me.frame(bench::read(5, 10), &[]).unwrap();
    segment.bench.now_ns += 15 * 60 * SECOND;
    segment.settle(&mut me);
    assert_eq!(me.keys.as_ref().unwrap().number, 2);
    // Until the client has used the new key, the server uses the old one.
    let answers = segment.exchange(&mut me, vec![late]);
    assert_eq!(answers.len(), 3);
    assert!(segment.get(&mut me, 5, 10, Flags::default()) == Some(bench_content(10)));
    // The old one ends after a while.
    segment.bench.now_ns += 31 * SECOND;
    assert_eq!(segment.exchange(&mut me, vec![later]), []);
    assert!(segment.get(&mut me, 5, 10, Flags::default()) == Some(bench_content(10)));
}

#[test]
fn a_hint_leads_to_a_question_and_no_more() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    let mut asked = 0;
    for _ in 0..1000 {
        segment.bench.now_ns += MS;
        me.channels
            .hint(segment.bench.now_ns, SERVER, &mut me.numbers);
        let due = me.due(segment.bench.now_ns);
        asked += due.len();
        segment.exchange(&mut me, due);
    }
    assert!((9..=11).contains(&asked), "{asked}");
    assert_eq!(me.keys.as_ref().unwrap().number, 1);
}

#[test]
fn a_restarted_server_gives_other_keys() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    let mut other = Segment::new();
    other.bench.now_ns = segment.bench.now_ns + SECOND;
    // It does not know the session, says so, and is asked. Its keys have another number.
    let ping = me.frame(Header::new(Opcode::Ping), b"x").unwrap();
    assert_eq!(other.exchange(&mut me, vec![ping]), []);
    other.settle(&mut me);
    assert_eq!(me.keys.as_ref().unwrap().number, 2);
    let got = other.ask(&mut me, Header::new(Opcode::Ping), b"x");
    assert_eq!(got[0].header.opcode, Opcode::Reject);
    assert_eq!(got[0].header.status, Status::NoSession);
}

#[test]
fn the_next_key_of_a_client_ends_the_one_before() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    let mut all = clients();
    all[0].keys = [Some(pair(101)), Some(pair(1))];
    segment.channels.set_clients(all);
    // The client has not got it yet.
    assert_eq!(segment.put(&mut me, 5, 10), Some(Status::Ok));
    assert!(me.channels.set_pair(SERVER, pair(101)));
    let old = me.frame(bench::read(5, 10), &[]).unwrap();
    me.channels
        .change_all(segment.bench.now_ns, &mut me.numbers);
    segment.settle(&mut me);
    // All that followed from the old one is over once the new one is used, and the session goes on.
    assert!(segment.get(&mut me, 5, 10, Flags::default()) == Some(bench_content(10)));
    assert_eq!(segment.exchange(&mut me, vec![old]), []);
    // Whoever has the old one gets nothing.
    let mut thief = Station::new(1, 1);
    thief.session = 77;
    segment.settle(&mut thief);
    assert!(thief.keys.is_none());
    // Nor when the clients are set again, with both keys as before.
    let mut all = clients();
    all[0].keys = [Some(pair(101)), Some(pair(1))];
    segment.channels.set_clients(all);
    thief.session = 78;
    segment.bench.now_ns += SECOND;
    segment.settle(&mut thief);
    assert!(thief.keys.is_none());
    assert!(segment.get(&mut me, 5, 10, Flags::default()) == Some(bench_content(10)));
    // Without its client the key is of no use.
    segment.channels.set_clients(clients().split_off(1));
    assert_eq!(segment.put(&mut me, 6, 11), None);
}

#[test]
fn announcements_are_hints_to_all_and_signed_to_each() {
    let mut segment = Segment::new();
    let (mut me, mut other) = (Station::new(1, 1), Station::new(2, 2));
    segment.open(&mut me);
    segment.open(&mut other);
    segment.bench.now_ns += 2 * SECOND;
    let Bench {
        server,
        network,
        now_ns,
    } = &mut segment.bench;
    let mut signing = Signing::new(&mut segment.channels, network);
    server.handle_timeout(*now_ns, &mut signing);
    server.flush(&mut signing);
    let sent: Vec<_> = network.sent.drain(..).collect();
    assert_eq!(sent.len(), 3);
    for (to, bytes) in sent {
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.header.opcode, Opcode::Announce);
        assert_eq!(
            frame.signature(&bytes).is_none(),
            to == MacAddress::BROADCAST
        );
        let station = match to == me.mac {
            true => &mut me,
            false => &mut other,
        };
        if to != MacAddress::BROADCAST {
            assert_eq!(to, station.mac);
            assert!(station.take(*now_ns, &bytes).is_some());
        }
    }
}

#[test]
fn an_ended_session_gets_no_announcements() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    assert_eq!(segment.channels.addresses(), [(me.session, me.mac, 0)]);
    // The one that replaces it has none yet.
    let mut new = Station::new(1, 1);
    new.session = 5000;
    new.numbers = Numbers(99);
    segment.settle(&mut new);
    assert_eq!(segment.channels.addresses(), [(me.session, me.mac, 0)]);
    assert_eq!(segment.ask(&mut me, Header::new(Opcode::Bye), &[]).len(), 1);
    assert!(segment.channels.addresses().is_empty());
    // The answer may have been lost.
    assert_eq!(segment.ask(&mut me, Header::new(Opcode::Bye), &[]).len(), 1);
}

#[test]
fn a_new_life_gets_keys_beside_the_old_one() {
    let mut segment = Segment::new();
    let mut old = Station::new(1, 1);
    segment.open(&mut old);
    assert_eq!(segment.put(&mut old, 5, 10), Some(Status::Ok));
    let mut new = Station::new(1, 1);
    new.session = 5000;
    new.numbers = Numbers(99);
    segment.settle(&mut new);
    assert!(new.keys.is_some());
    // A third one takes the place of the second, never that of the open session.
    let mut third = Station::new(1, 1);
    third.session = 6000;
    third.numbers = Numbers(100);
    segment.settle(&mut third);
    assert!(third.keys.is_some());
    assert!(segment.get(&mut old, 5, 10, Flags::default()) == Some(bench_content(10)));
    assert_eq!(segment.channels.sessions.len(), 2);
}

#[test]
fn a_flood_costs_a_bounded_share() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    segment.bench.now_ns += SECOND;
    let bytes = bench_content(1);
    let good = me.frame(bench::write(1, 1, &bytes), &bytes).unwrap();
    let mut bad = good.clone();
    bad[HEADER_LEN + 20] ^= 1;
    let mut other = Station::new(2, 2);
    segment.open(&mut other);
    segment.bench.now_ns += SECOND;
    let before = segment.channels.counters();
    for round in 0..50 {
        for _ in 0..100 {
            segment.send(me.mac, &bad);
        }
        // A flood in one session takes nothing from another one.
        let got = segment.ask(&mut other, Header::new(Opcode::Ping), b"x");
        assert_eq!(got.len(), 1, "round {round}");
    }
    let counters = segment.channels.counters();
    let (forged, flooded) = (
        counters.forged - before.forged,
        counters.flooded - before.flooded,
    );
    assert!(forged < 1200 && forged + flooded == 5000, "{counters:?}");
    // After that the client's frames are served.
    segment.bench.now_ns += MS;
    assert_eq!(segment.exchange(&mut me, vec![good]).len(), 1);
    // Requests for keys have a budget of their own.
    let mut request = Station::new(3, 3).due(0).remove(0);
    *request.last_mut().unwrap() ^= 1;
    let crc = crc32c(&request[HEADER_LEN..]).to_be_bytes();
    request[20..24].copy_from_slice(&crc);
    let crc = crc32c(&request[..HEADER_LEN - 4]).to_be_bytes();
    request[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
    for _ in 0..1000 {
        segment.send(MacAddress([2, 0, 0, 0, 0, 3]), &request);
    }
    let after = segment.channels.counters();
    assert_eq!(after.forged - counters.forged, 512 + 16);
    assert_eq!(after.flooded - counters.flooded, 488 - 16);
    // A flood in the name of one client takes nothing from the others.
    let mut new = Station::new(2, 2);
    new.session = 9000;
    new.numbers = Numbers(77);
    segment.settle(&mut new);
    assert!(new.keys.is_some());
}

#[test]
fn an_older_cookie_and_an_older_answer_do_not_come_back() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    // The attacker sees all, and keeps back what the server answers.
    let first = me.due(0);
    let cookie = segment.send(me.mac, &first[0]);
    me.take(0, &cookie[0].1);
    let second = me.due(0);
    let kept = segment.send(me.mac, &second[0]);
    let other_cookie = segment.send(me.mac, &first[0]);
    me.take(0, &other_cookie[0].1);
    segment.bench.now_ns += 50 * MS;
    let third = me.due(segment.bench.now_ns);
    segment.send(me.mac, &third[0]);
    me.take(segment.bench.now_ns, &cookie[0].1);
    me.take(segment.bench.now_ns, &kept[0].1);
    // Whatever the client believes, both sides agree in the end.
    for _ in 0..20 {
        segment.bench.now_ns += 100 * MS;
        segment.settle(&mut me);
    }
    let got = segment.ask(&mut me, Header::new(Opcode::Ping), b"x");
    assert_eq!(got[0].header.status, Status::NoSession);
}

#[test]
fn keys_that_differ_on_both_sides_are_changed() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    // The same number, and other keys.
    let keys = me.keys.as_mut().unwrap();
    keys.transmit = Key::new(&[9; 32]);
    assert_eq!(segment.ask(&mut me, Header::new(Opcode::Ping), b"x"), []);
    me.channels
        .change_all(segment.bench.now_ns, &mut me.numbers);
    segment.settle(&mut me);
    assert_eq!(
        segment.ask(&mut me, Header::new(Opcode::Ping), b"x").len(),
        1
    );
}

#[test]
fn a_client_that_was_put_back_gets_other_keys() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    let seed = |key| NewKeys {
        channel: 0,
        server: SERVER,
        session: me.session,
        number: key,
        transmit: Secret::new(&[1; 32]),
        receive: Secret::new(&[2; 32]),
    };
    // Keys that the server does not have any more.
    let old = seed(200);
    me.set_keys(&old, Cipher::AesGcm);
    segment.bench.now_ns += SECOND;
    assert_eq!(segment.ask(&mut me, Header::new(Opcode::Ping), b"x"), []);
    segment.settle(&mut me);
    assert_eq!(
        segment.ask(&mut me, Header::new(Opcode::Ping), b"x").len(),
        1
    );
}

#[test]
fn hints_do_not_put_off_a_change_of_keys() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    segment.open(&mut me);
    for minute in 1..=20 {
        segment.bench.now_ns += 60 * SECOND;
        me.channels
            .hint(segment.bench.now_ns, SERVER, &mut me.numbers);
        segment.settle(&mut me);
        let changed = me.keys.as_ref().unwrap().number == 2;
        assert_eq!(changed, minute >= 15, "minute {minute}");
    }
}

#[test]
fn a_client_that_comes_back_to_the_list_has_no_old_cookie() {
    let mut segment = Segment::new();
    let mut me = Station::new(1, 1);
    let first = me.due(0);
    segment.exchange(&mut me, first);
    let second = me.due(0);
    segment.exchange(&mut me, second.clone());
    assert_eq!(segment.channels.counters().keys, 1);
    segment.channels.set_clients(Vec::new());
    segment.channels.set_clients(clients());
    segment.exchange(&mut me, second);
    assert_eq!(segment.channels.counters().keys, 1);
}
