// SPDX-License-Identifier: GPL-2.0

//! A server, clients that may be hostile, and a network that delays frames.

use super::super::*;
use crate::crc::crc32c;
use crate::engine::server::store::tests::{arrays, content, small, Heap};
use crate::engine::server::store::{Page, PageSlice};
use crate::wire::{ClientId, FragmentMask, Hello, HelloAck, PageVersion};
use std::vec::Vec;
use zerocopy::FromBytes;

pub(in crate::engine) const SECOND: u64 = 1_000_000_000;
pub(in crate::engine) const INCARNATION: u64 = 0xfeed;
pub(in crate::engine) const LEASE_S: u32 = 100;

/// An outbox that keeps slices of the arena until it is flushed, like the real one.
#[derive(Default)]
pub(in crate::engine) struct Network {
    kept: Vec<(MacAddress, Vec<u8>, Kept)>,
    pub(in crate::engine) sent: Vec<(MacAddress, Vec<u8>)>,
}

pub(in crate::engine) enum Kept {
    Bytes(Vec<u8>),
    Slice(PageSlice),
}

impl Outbox for Network {
    fn send(&mut self, destination: MacAddress, header: &[u8], payload: Payload<'_>) {
        let payload = match payload {
            Payload::Bytes(bytes) => Kept::Bytes(bytes.to_vec()),
            Payload::Page(slice, _) => Kept::Slice(slice),
        };
        self.kept.push((destination, header.to_vec(), payload));
    }

    fn flush(&mut self, arena: &[Page]) {
        for (destination, header, payload) in self.kept.drain(..) {
            let mut bytes = header;
            match payload {
                Kept::Bytes(payload) => bytes.extend_from_slice(&payload),
                Kept::Slice(slice) => bytes.extend_from_slice(slice.bytes(arena)),
            }
            self.sent.push((destination, bytes));
        }
    }
}

/// Not a good hash, but one over every byte.
pub(in crate::engine) struct CookieAdmission {
    pub(in crate::engine) banned: ClientId,
    pub(in crate::engine) nonces: u64,
    /// A client with a quota of its own.
    pub(in crate::engine) own_quota: Option<(ClientId, u64)>,
}

impl Admission for CookieAdmission {
    fn cookie(&self, claim: &CookieClaim) -> u64 {
        claim.as_bytes().iter().fold(99, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces
    }

    fn quota_pages(&self, client: ClientId) -> Option<u64> {
        let own = self.own_quota.filter(|(one, _)| *one == client);
        own.map(|(_, pages)| pages)
    }

    fn admits(&self, client: ClientId, _: MacAddress) -> bool {
        client != self.banned
    }
}

/// An answer, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Answer {
    pub(in crate::engine) to: MacAddress,
    pub(in crate::engine) header: Header,
    pub(in crate::engine) payload: Vec<u8>,
}

pub(in crate::engine) struct Bench {
    pub(in crate::engine) server: Server<Heap, CookieAdmission>,
    pub(in crate::engine) network: Network,
    pub(in crate::engine) now_ns: u64,
}

pub(in crate::engine) fn bench(capacity_pages: u32, quota_pages: u64) -> Bench {
    let layout = small(capacity_pages);
    let config = Config {
        incarnation: INCARNATION,
        seed: 5,
        cluster: ClusterName::default(),
        lease_s: LEASE_S,
        quota_pages,
    };
    let arrays = ServerArrays {
        store: arrays(&layout),
        sessions: vec![Session::default(); layout.owners.into()],
        session_heads: vec![0; 2],
    };
    let admission = CookieAdmission {
        banned: ClientId([66; 16]),
        nonces: 7000,
        own_quota: None,
    };
    Bench {
        server: Server::new(config, &layout, arrays, admission, 0).unwrap(),
        network: Network::default(),
        now_ns: 0,
    }
}

impl Bench {
    pub(in crate::engine) fn raw(&mut self, from: MacAddress, bytes: &[u8]) -> Vec<Answer> {
        self.server
            .handle_frame(self.now_ns, from, bytes, &mut self.network);
        self.answers()
    }

    /// Handles a frame without flushing; returns how many frames the outbox got for it.
    pub(in crate::engine) fn take_in(&mut self, from: MacAddress, bytes: &[u8]) -> usize {
        let before = self.network.kept.len();
        self.server
            .handle_frame(self.now_ns, from, bytes, &mut self.network);
        self.network.kept.len() - before
    }

    pub(in crate::engine) fn answers(&mut self) -> Vec<Answer> {
        self.server.flush(&mut self.network);
        let parse = |(to, bytes): (MacAddress, Vec<u8>)| {
            let frame = Frame::parse(&bytes).unwrap();
            assert!(frame.header.opcode.is_from_server());
            assert_eq!(frame.header.incarnation, INCARNATION);
            Answer {
                to,
                header: frame.header,
                payload: frame.payload.to_vec(),
            }
        };
        self.network.sent.drain(..).map(parse).collect()
    }

    /// Lets `ms` pass; returns what is sent meanwhile.
    pub(in crate::engine) fn pass(&mut self, ms: u64) -> Vec<Answer> {
        let mut sent = Vec::new();
        for _ in 0..ms {
            self.now_ns += SECOND / 1000;
            while self.server.next_timeout_ns() <= self.now_ns {
                self.server.handle_timeout(self.now_ns, &mut self.network);
                sent.extend(self.answers());
            }
        }
        sent
    }

    /// Lets `seconds` pass without frames, half a second at a time.
    pub(in crate::engine) fn hear_nothing(&mut self, seconds: u64) {
        for _ in 0..2 * seconds {
            self.now_ns += SECOND / 2;
            self.server.handle_timeout(self.now_ns, &mut self.network);
        }
        self.answers();
    }

    pub(in crate::engine) fn ask(
        &mut self,
        from: MacAddress,
        header: Header,
        payload: &[u8],
    ) -> Vec<Answer> {
        self.raw(from, &frame(header, payload))
    }

    pub(in crate::engine) fn one(
        &mut self,
        from: MacAddress,
        header: Header,
        payload: &[u8],
    ) -> Answer {
        let answers = self.ask(from, header, payload);
        let [answer] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(answer.to, from);
        answer.clone()
    }

    pub(in crate::engine) fn status(
        &mut self,
        client: &Client,
        header: Header,
        payload: &[u8],
    ) -> Status {
        self.one(client.mac, client.of(header), payload)
            .header
            .status
    }

    pub(in crate::engine) fn hello(&mut self, client: &Client, cookie: u64) -> (Status, HelloAck) {
        let hello = client.hello(cookie);
        let header = client.of(Header::new(Opcode::Hello));
        let answer = self.one(client.mac, header, hello.as_bytes());
        assert_eq!(answer.header.opcode, Opcode::HelloAck);
        assert_eq!(answer.header.session, client.session);
        (
            answer.header.status,
            HelloAck::read_from_bytes(&answer.payload).unwrap(),
        )
    }

    /// The whole handshake; returns the cookie that was accepted.
    pub(in crate::engine) fn open(&mut self, client: &Client) -> u64 {
        let (status, ack) = self.hello(client, 0);
        assert_eq!(status, Status::Cookie);
        let cookie = ack.cookie.get();
        let (status, ack) = self.hello(client, cookie);
        assert_eq!(status, Status::Ok);
        assert_eq!(ack.lease_s.get(), LEASE_S);
        cookie
    }

    pub(in crate::engine) fn put(&mut self, client: &Client, page: u64, version: u64) -> Status {
        let bytes = content(version);
        self.status(client, write(page, version, &bytes), &bytes)
    }

    /// The page's bytes, read in three fragments.
    pub(in crate::engine) fn get(
        &mut self,
        client: &Client,
        page: u64,
        version: u64,
    ) -> Option<Vec<u8>> {
        let answers = self.ask(client.mac, client.of(read(page, version)), &[]);
        if answers[0].header.status == Status::Missing {
            return None;
        }
        let mut bytes = Vec::new();
        for (index, answer) in answers.iter().enumerate() {
            assert_eq!(answer.header.opcode, Opcode::ReadReply);
            assert_eq!(usize::from(answer.header.fragment_index), index);
            assert_eq!(answer.header.version, version);
            bytes.extend_from_slice(&answer.payload);
        }
        assert_eq!(crc32c(&bytes), answers[0].header.payload_crc);
        Some(bytes)
    }
}

#[derive(Clone, Copy)]
pub(in crate::engine) struct Client {
    pub(in crate::engine) id: ClientId,
    pub(in crate::engine) session: u64,
    pub(in crate::engine) mac: MacAddress,
}

pub(in crate::engine) fn client(number: u8) -> Client {
    Client {
        id: ClientId([number; 16]),
        session: 1000 + u64::from(number),
        mac: MacAddress([2, 0, 0, 0, 0, number]),
    }
}

impl Client {
    pub(in crate::engine) fn of(&self, header: Header) -> Header {
        Header {
            session: self.session,
            ..header
        }
    }

    pub(in crate::engine) fn hello(&self, cookie: u64) -> Hello {
        Hello {
            client: self.id,
            cookie: cookie.into(),
            cluster: ClusterName::default(),
        }
    }
}

pub(in crate::engine) fn frame(header: Header, payload: &[u8]) -> Vec<u8> {
    let payload_crc = match header.opcode {
        Opcode::Write => header.payload_crc,
        _ => crc32c(payload),
    };
    let header = Header {
        payload_crc,
        ..header
    };
    let mut bytes = header.emit(payload.len() as u16).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

pub(in crate::engine) fn write(page: u64, version: u64, bytes: &[u8]) -> Header {
    Header {
        tag: 77,
        attempt: 3,
        page,
        version,
        fragment_count: 1,
        payload_crc: crc32c(bytes),
        ..Header::new(Opcode::Write)
    }
}

pub(in crate::engine) fn read(page: u64, version: u64) -> Header {
    Header {
        tag: 78,
        attempt: 4,
        page,
        version: version & 0xff,
        fragment_count: 3,
        fragment_mask: FragmentMask::from_bits(0b111),
        ..Header::new(Opcode::Read)
    }
}

pub(in crate::engine) fn free(batch: &[(u64, u64)]) -> Vec<u8> {
    let element = |&(page, version): &(u64, u64)| PageVersion {
        page: page.into(),
        version: version.into(),
    };
    let batch: Vec<_> = batch.iter().map(element).collect();
    batch.as_bytes().to_vec()
}

pub(in crate::engine) const NO_QUOTA: u64 = u64::MAX;
