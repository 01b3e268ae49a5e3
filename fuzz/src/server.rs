// SPDX-License-Identifier: GPL-2.0

//! A memory server under any frames, of clients that it admits and of others, in any order and at any time.
//!
//! Whatever arrives, answers are few, short and well formed, they go to the sender, and a page that is read
//! was written in that session.

use std::collections::{HashMap, HashSet};

use anemone::crc::crc32c;
use anemone::engine::server::{Outbox, Server};
use anemone::wire::{
    ClientId, ClusterName, Flags, FragmentMask, Fragmentation, Frame, Header, Hello, HelloAck,
    Inventory, MacAddress, Nonce, Opcode, PageVersion, Status, PAGE_SIZE,
};
use arbitrary::{Result, Unstructured};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::content;
use crate::host::{self, Door, Heap, Sent, Size, Wire, STRANGER};
use crate::mutation::{alter, any_opcode, any_status, emit, make_right};
use crate::MS;

const SERVER: MacAddress = MacAddress([2, 0, 0, 0, 1, 0]);
const INCARNATION: u64 = 77;
/// Stations. The last one is the client that is not admitted.
const STATIONS: usize = 4;

/// Runs a server with this input.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    // The input is over in the middle of something: that is no error.
    let _ = Bench::of(&mut u).and_then(|mut bench| bench.run(&mut u));
}

struct Bench {
    size: Size,
    server: Server<Heap, Door>,
    now_ns: u64,
    /// The last cookie and nonce that each station has received.
    cookies: [u64; STATIONS],
    nonces: [u64; STATIONS],
    /// The last frame that each station has sent.
    last: [Vec<u8>; STATIONS],
    /// What has been written: session, page, version, and the bytes' checksum.
    written: HashSet<([u64; 3], u32)>,
    /// The bytes with this checksum, if they are known.
    contents: HashMap<u32, Box<[u8; PAGE_SIZE]>>,
}

fn mac(station: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 2, station as u8])
}

/// What a station writes as version `version` of a page. A station may write several things as one version.
fn number(session: u64, page: u64, version: u64, salt: u64) -> u64 {
    ((session * 16 + page % 16) * 16 + version % 16) * 4 + salt
}

impl Bench {
    fn of(u: &mut Unstructured<'_>) -> Result<Self> {
        let size = Size {
            capacity_pages: u.int_in_range(1..=8)?,
            quota_pages: u.int_in_range(1..=9)?,
            max_clients: u.int_in_range(1..=3)?,
        };
        Ok(Self {
            size,
            server: host::start(size, INCARNATION, 0),
            now_ns: 0,
            cookies: [0; STATIONS],
            nonces: [0; STATIONS],
            last: Default::default(),
            written: HashSet::new(),
            contents: HashMap::new(),
        })
    }

    fn run(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        while !u.is_empty() {
            let station = u.choose_index(STATIONS)?;
            match u.int_in_range(0..=9_u8)? {
                0 => self.wait(u)?,
                1 => {
                    let len = u.int_in_range(0..=200)?;
                    let mut bytes = u.bytes(len.min(u.len()))?.to_vec();
                    if u.arbitrary()? {
                        make_right(&mut bytes);
                    }
                    self.deliver(station, &bytes);
                }
                2 => {
                    let mut bytes = self.last[station].clone();
                    alter(u, &mut bytes)?;
                    self.deliver(station, &bytes);
                }
                // Again, perhaps from another station.
                3 => {
                    let bytes = self.last[u.choose_index(STATIONS)?].clone();
                    self.deliver(station, &bytes);
                }
                4 => self.hello(u, station)?,
                5 => self.write(u, station)?,
                _ => self.request(u, station)?,
            }
        }
        Ok(())
    }

    /// Time passes, and the server's timers run as they are due.
    fn wait(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let until_ns = self.now_ns + u64::from(u.int_in_range(0..=4000_u16)?) * MS;
        loop {
            let due_ns = self.server.next_timeout_ns();
            if due_ns > until_ns {
                break;
            }
            self.now_ns = self.now_ns.max(due_ns);
            let mut sent = Sent::by(SERVER);
            self.server.handle_timeout(self.now_ns, &mut sent);
            assert!(
                self.server.next_timeout_ns() > self.now_ns,
                "the timer does not advance"
            );
            for wire in sent.wires {
                let is_announcement = wire.destination == MacAddress::BROADCAST;
                let opcode = self.receive(&wire).opcode;
                assert_eq!(is_announcement, opcode == Opcode::Announce);
                assert!(is_announcement || opcode == Opcode::Challenge);
            }
        }
        self.now_ns = until_ns;
        Ok(())
    }

    fn header(&self, u: &mut Unstructured<'_>, station: usize, opcode: Opcode) -> Result<Header> {
        let session = match u.ratio(1_u8, 16)? {
            true => u.int_in_range(0..=STATIONS as u64)?,
            false => station as u64 + 1,
        };
        let incarnation = match u.ratio(1_u8, 8)? {
            true => u.int_in_range(0..=INCARNATION + 1)?,
            false => INCARNATION,
        };
        Ok(Header {
            tag: u.int_in_range(0..=7)?,
            attempt: u.int_in_range(0..=3)?,
            session,
            incarnation,
            page: u.int_in_range(0..=11)?,
            version: u.int_in_range(0..=15)?,
            low_water: u.int_in_range(0..=3)?,
            ..Header::new(opcode)
        })
    }

    fn hello(&mut self, u: &mut Unstructured<'_>, station: usize) -> Result<()> {
        let mut header = self.header(u, station, Opcode::Hello)?;
        if u.ratio(7_u8, 8)? {
            header.incarnation = 0;
        }
        let client = match station + 1 == STATIONS {
            true => STRANGER,
            false => ClientId([1 + u.int_in_range(0..=1_u8)?; 16]),
        };
        let hello = Hello {
            client,
            cookie: self.cookies[station].into(),
            cluster: ClusterName::default(),
        };
        self.send(station, header, hello.as_bytes());
        Ok(())
    }

    fn write(&mut self, u: &mut Unstructured<'_>, station: usize) -> Result<()> {
        let mut header = self.header(u, station, Opcode::Write)?;
        let salt = u.int_in_range(0..=1)?;
        let number = number(header.session, header.page, header.version, salt);
        let bytes = content::bytes(number);
        if let Some(fill) = content::fill(number).filter(|_| salt == 0) {
            header.flags = Flags::SAME_FILLED;
            header.fragment_count = 1;
            header.payload_crc = crc32c(&fill.to_be_bytes());
            self.send_as_it_is(station, header, &fill.to_be_bytes());
            return Ok(());
        }
        header.fragment_count = u.int_in_range(1..=8)?;
        header.payload_crc = crc32c(&bytes[..]);
        self.contents
            .entry(header.payload_crc)
            .or_insert_with(|| bytes.clone());
        if u.ratio(1_u8, 16)? {
            header.payload_crc ^= 1;
        }
        let cut = Fragmentation::from_count(header.fragment_count).expect("1 to 8");
        let wanted = FragmentMask::from_bits(u.arbitrary()?);
        for index in 0..header.fragment_count {
            let (offset, len) = cut.span(index).expect("below the count");
            if wanted.contains(index) || header.fragment_count == 1 {
                header.fragment_index = index;
                let part = &bytes[usize::from(offset)..usize::from(offset + len)];
                self.send_as_it_is(station, header, part);
            }
        }
        Ok(())
    }

    fn request(&mut self, u: &mut Unstructured<'_>, station: usize) -> Result<()> {
        let mut header = match u.ratio(1_u8, 16)? {
            true => {
                let opcode = any_opcode(u)?;
                self.header(u, station, opcode)?
            }
            false => {
                let opcodes = [
                    Opcode::Read,
                    Opcode::Free,
                    Opcode::Ping,
                    Opcode::Stats,
                    Opcode::Bye,
                ];
                let more = [Opcode::Inventory, Opcode::Alive, Opcode::Read, Opcode::Read];
                let opcode = *u.choose(&[&opcodes[..], &more[..]].concat())?;
                self.header(u, station, opcode)?
            }
        };
        let mut payload = Vec::new();
        match header.opcode {
            Opcode::Read => {
                header.fragment_count = u.int_in_range(1..=8)?;
                header.fragment_mask = FragmentMask::from_bits(u.arbitrary()?);
            }
            Opcode::Free => {
                for _ in 0..u.int_in_range(0..=81_u8)? {
                    let one = PageVersion {
                        page: u.int_in_range(0..=11_u64)?.into(),
                        version: u.int_in_range(0..=16_u64)?.into(),
                    };
                    payload.extend_from_slice(one.as_bytes());
                }
            }
            Opcode::Ping => payload = vec![7; u.int_in_range(0..=8912)?],
            Opcode::Alive => {
                let nonce = Nonce {
                    nonce: self.nonces[station].into(),
                };
                payload = nonce.as_bytes().to_vec();
            }
            Opcode::Inventory => {
                let mut inventory = Inventory::new_zeroed();
                inventory.cursor = u.int_in_range(0..=12_u64)?.into();
                inventory.max_pages = u.int_in_range(0..=100_u32)?.into();
                payload = inventory.as_bytes().to_vec();
            }
            _ => header.status = any_status(u)?,
        }
        self.send(station, header, &payload);
        Ok(())
    }

    /// Sends a frame whose checksum is right.
    fn send(&mut self, station: usize, mut header: Header, payload: &[u8]) {
        header.payload_crc = crc32c(payload);
        self.send_as_it_is(station, header, payload);
    }

    fn send_as_it_is(&mut self, station: usize, header: Header, payload: &[u8]) {
        self.last[station] = emit(&header, payload);
        self.deliver(station, &self.last[station].clone());
    }

    /// The server receives a frame, and its answers are checked.
    fn deliver(&mut self, station: usize, bytes: &[u8]) {
        if let Ok(Frame { header, .. }) = Frame::parse(bytes) {
            if header.opcode == Opcode::Write {
                let page = [header.session, header.page, header.version];
                self.written.insert((page, header.payload_crc));
            }
        }
        let mut sent = Sent::by(SERVER);
        self.server
            .handle_frame(self.now_ns, mac(station), bytes, &mut sent);
        self.server.flush(&mut sent);
        assert!(
            sent.wires.len() <= Sent::MOST,
            "{} frames for one",
            sent.wires.len()
        );
        let payload: usize = sent.wires.iter().map(|wire| wire.bytes.len()).sum();
        let headers = sent.wires.len() * anemone::wire::HEADER_LEN;
        assert!(
            payload - headers <= bytes.len().max(PAGE_SIZE),
            "more bytes than were requested"
        );
        let is_servers = bytes.get(1).is_some_and(|opcode| opcode & 1 == 1);
        assert!(
            !is_servers || sent.wires.is_empty(),
            "a server's frame is answered"
        );
        for wire in sent.wires {
            assert_eq!(
                wire.destination,
                mac(station),
                "an answer to another station"
            );
            self.receive(&wire);
        }
        assert!(self.server.store().free_pages() <= u64::from(self.size.capacity_pages));
        assert!(self.server.open_sessions() <= usize::from(self.size.max_clients));
    }

    /// A station receives a frame of the server.
    fn receive(&mut self, wire: &Wire) -> Header {
        let frame = Frame::parse(&wire.bytes).expect("a server's frames are well formed");
        let header = frame.header;
        assert!(header.opcode.is_from_server());
        assert!(
            header.incarnation == INCARNATION
                || header.status == Status::UnknownVersion
                || header.opcode == Opcode::Reject
        );
        let station = usize::from(wire.destination.0[5]).min(STATIONS - 1);
        match header.opcode {
            Opcode::HelloAck => {
                let ack = HelloAck::read_from_bytes(frame.payload).expect("32 bytes");
                if header.status == Status::Cookie {
                    self.cookies[station] = ack.cookie.get();
                }
            }
            Opcode::Challenge => {
                let nonce = Nonce::read_from_bytes(frame.payload).expect("8 bytes");
                self.nonces[station] = nonce.nonce.get();
            }
            Opcode::ReadReply if header.status == Status::Ok => self.check_read(&frame),
            _ => {}
        }
        header
    }

    /// What is read was written in this session, as this version of this page.
    fn check_read(&self, frame: &Frame<'_>) {
        let (header, payload) = (frame.header, frame.payload);
        let page = [header.session, header.page, header.version];
        let is_known = self.written.contains(&(page, header.payload_crc));
        assert!(is_known, "nobody wrote what was read: {header:?}");
        if header.fragment_count == 1 {
            assert_eq!(crc32c(payload), header.payload_crc);
        } else if let Some(bytes) = self.contents.get(&header.payload_crc) {
            let cut = Fragmentation::from_count(header.fragment_count).expect("1 to 8");
            let (offset, len) = cut.span(header.fragment_index).expect("below the count");
            let (from, to) = (usize::from(offset), usize::from(offset + len));
            assert_eq!(payload, &bytes[from..to]);
        }
    }
}
