// SPDX-License-Identifier: GPL-2.0

//! A client with keys, on an interface of the server's segment.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anemone::aead::{Cipher, Key};
use anemone::crc::crc32c;
use anemone::engine::channel::client::{Channel, ClientChannels, Outgoing, LIFETIME_NS};
use anemone::engine::channel::PairKey;
use anemone::engine::client::cluster::{Outbox, Random};
use anemone::engine::client::ids::SERVER_SLOTS;
use anemone::wire::{
    Flags, Frame, Header, Hello, HelloAck, MacAddress, Opcode, Signature, Status, ETHERNET_LEN,
    HEADER_LEN,
};
use rand::Rng;
use zerocopy::{FromBytes, IntoBytes};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

struct Numbers;

impl Random for Numbers {
    fn number(&mut self) -> u64 {
        rand::rng().random()
    }
}

#[derive(Default)]
struct Sent(Vec<(Header, Vec<u8>)>);

impl Outbox for Sent {
    fn send(&mut self, _: MacAddress, header: &Header, payload: &[u8]) {
        self.0.push((*header, payload.to_vec()));
    }
}

struct Keys {
    number: u8,
    transmit: Key,
    receive: Key,
    sent: u64,
}

/// An answer of the server.
pub struct Answer {
    pub header: Header,
    pub payload: Vec<u8>,
    pub is_signed: bool,
}

/// A client.
pub struct Station<'a> {
    link: &'a UnixDatagram,
    own: MacAddress,
    server: MacAddress,
    session: u64,
    channels: ClientChannels<Vec<Channel>>,
    keys: Option<Keys>,
    begin: Instant,
}

impl<'a> Station<'a> {
    pub fn new(link: &'a UnixDatagram, own: MacAddress, server: MacAddress, pair: PairKey) -> Self {
        let slots = vec![Channel::default(); SERVER_SLOTS];
        let mut channels = ClientChannels::new(slots, Cipher::AesGcm, LIFETIME_NS).unwrap();
        channels.set_address(0, own, &mut Numbers);
        assert!(channels.set_pair(server, pair));
        Self {
            link,
            own,
            server,
            session: Numbers.number() | 1,
            channels,
            keys: None,
            begin: Instant::now(),
        }
    }

    fn now_ns(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Requests keys. Returns whether there are some.
    pub fn get_keys(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        while self.keys.is_none() && Instant::now() < end {
            let (now_ns, station) = (self.now_ns(), (self.server, self.session));
            let mut sent = Sent::default();
            self.channels
                .follow(now_ns, || std::iter::once(station), &mut Numbers, |_| ());
            self.channels
                .handle_timeout(now_ns, &mut Numbers, &mut sent);
            for (header, payload) in sent.0 {
                let outgoing = self.channels.outgoing(self.server, &header, &payload);
                assert_eq!(outgoing, Outgoing::Plain);
                self.send_unsigned(header, &payload);
            }
            self.receive(Duration::from_millis(20));
        }
        self.keys.is_some()
    }

    /// Sends a frame of the session without a signature.
    pub fn send_unsigned(&mut self, header: Header, payload: &[u8]) {
        let head = self.head(header, payload);
        self.transmit(&[&head[..], payload].concat());
    }

    fn head(&self, header: Header, payload: &[u8]) -> [u8; HEADER_LEN] {
        let header = Header {
            session: self.session,
            payload_crc: crc32c(payload),
            ..header
        };
        header.emit(payload.len() as u16)
    }

    /// Sends a signed frame of the session, and returns the answer to it.
    pub fn ask(&mut self, header: Header, payload: &[u8]) -> Option<Answer> {
        let flags = Flags::SIGNED;
        let head = self.head(Header { flags, ..header }, payload);
        let keys = self.keys.as_mut().unwrap();
        keys.sent += 1;
        let mut signature = Signature::new(keys.number, 0, keys.sent, [7; 4]);
        signature.tag = keys.transmit.mac(
            &signature.nonce(),
            &[&Signature::head(&head)[..], payload].concat(),
        );
        self.transmit(&[&head[..], signature.as_bytes(), payload].concat());
        self.answer()
    }

    /// The next frame.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = Instant::now() + PATIENCE;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let got = self.receive(left.max(Duration::from_millis(1)));
            if got.is_some() {
                return got;
            }
        }
        None
    }

    /// Opens the session. Returns the pages that this client may keep.
    pub fn open(&mut self) -> u64 {
        let mut cookie = 0;
        loop {
            let hello = Hello {
                client: Default::default(),
                cookie: u64::into(cookie),
                cluster: Default::default(),
            };
            let answer = self
                .ask(Header::new(Opcode::Hello), hello.as_bytes())
                .unwrap();
            assert!(answer.is_signed);
            let ack = HelloAck::read_from_bytes(&answer.payload).unwrap();
            match answer.header.status {
                Status::Cookie => cookie = ack.cookie.get(),
                status => {
                    assert_eq!(status, Status::Ok);
                    return ack.quota_pages.get();
                }
            }
        }
    }

    /// Whether the server answers in this session.
    pub fn is_served(&mut self) -> bool {
        let answer = self.ask(Header::new(Opcode::Ping), b"ping");
        answer.is_some_and(|answer| answer.is_signed && answer.header.opcode == Opcode::Pong)
    }

    /// Whether the server answers under this session's keys, if only that the session is not open.
    pub fn is_answered(&mut self) -> bool {
        let answer = self.ask(Header::new(Opcode::Ping), b"ping");
        answer.is_some_and(|answer| answer.is_signed)
    }

    fn transmit(&self, frame: &[u8]) {
        let ethernet = [&self.server.0[..], &self.own.0, &[0x88, 0xb5]].concat();
        self.link.send(&[&ethernet, frame].concat()).unwrap();
    }

    /// The next frame of the server, if it is of this session and no KEY_REPLY.
    fn receive(&mut self, wait: Duration) -> Option<Answer> {
        self.link.set_read_timeout(Some(wait)).unwrap();
        let mut packet = [0; 10_000];
        let len = self.link.recv(&mut packet).ok()?;
        let (ethernet, bytes) = packet[..len].split_first_chunk::<ETHERNET_LEN>()?;
        if ethernet[6..12] != self.server.0 {
            return None;
        }
        let frame = Frame::parse(bytes).unwrap();
        // Stations here have one address, so announcements signed for one come to all.
        if frame.header.session != self.session || frame.header.opcode == Opcode::Announce {
            return None;
        }
        if frame.header.opcode == Opcode::KeyReply {
            let now_ns = self.now_ns();
            if let Some(new) = self.channels.handle_reply(now_ns, self.server, &frame) {
                self.keys = Some(Keys {
                    number: new.number,
                    transmit: Key::with_cipher(Cipher::AesGcm, new.transmit.bytes()),
                    receive: Key::with_cipher(Cipher::AesGcm, new.receive.bytes()),
                    sent: 0,
                });
            }
            return None;
        }
        let signature = frame.signature(bytes);
        if let Some(signature) = signature {
            let keys = self.keys.as_ref().unwrap();
            assert_eq!(signature.key, keys.number);
            let head = Signature::head(bytes.first_chunk().unwrap());
            let text = [&head[..], frame.payload].concat();
            assert!(keys
                .receive
                .verify_mac(&signature.nonce(), &signature.tag, &text));
        }
        Some(Answer {
            header: frame.header,
            payload: frame.payload.to_vec(),
            is_signed: signature.is_some(),
        })
    }
}
