// SPDX-License-Identifier: GPL-2.0

//! A memory server that looks into the pages that it gets, and gives others back: with right checksums, so
//! that only a page's seal shows it.

use std::collections::HashMap;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use anemone::crc::crc32c;
use anemone::engine::server::store::{
    Arrays, Assembly, Held, Layout, Memory, Owner, Page, Record, Store,
};
use anemone::engine::server::{
    Admission, Config, CookieClaim, Outbox, Payload, Server, ServerArrays, Session,
};
use anemone::wire::{
    ClientId, Flags, Fragmentation, Frame, Header, MacAddress, Opcode, PageSum, Status,
    ETHERNET_LEN,
};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use zerocopy::IntoBytes;

use crate::frames::ETHERTYPE;
use crate::sys::PacketSocket;
use crate::PAGE_SIZE;

/// The server.
#[derive(clap::Args)]
pub struct Options {
    /// The interface
    #[arg(long)]
    interface: String,
    /// Pages that it holds
    #[arg(long, default_value_t = 16384)]
    pages: u32,
    /// Prints `seen in PAGE` for each frame with a part of a page that contains this text, and `filled PAGE`
    /// for each that it learns to be same-filled
    #[arg(long, value_name = "TEXT")]
    look_for: Option<String>,
    /// What it does with pages that it returns; it prints `altered PAGE`
    #[arg(long)]
    lie: Option<Lie>,
}

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lie {
    /// It alters the page, or returns another one.
    Alter,
    /// It returns the first version that it got, if the map cannot tell it from the newest one.
    RollBack,
}

/// What is returned instead of a page.
#[derive(Clone)]
struct Given {
    version: u64,
    bytes: Vec<u8>,
    sum: PageSum,
    filled: bool,
}

/// The first versions of pages.
type FirstVersions = HashMap<u64, Given>;

const CLIENTS: u16 = 2;
const ASSEMBLIES: u16 = 64;

struct Heap;

impl Memory for Heap {
    type Array<T: 'static> = Vec<T>;
}

/// Admits everyone.
struct Door {
    secret: RandomState,
    nonces: u64,
}

impl Admission for Door {
    fn cookie(&self, claim: &CookieClaim) -> u64 {
        self.secret.hash_one(claim.as_bytes())
    }

    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.secret.hash_one(self.nonces)
    }

    fn admits(&self, _: ClientId, _: MacAddress) -> bool {
        true
    }
}

/// Frames to be sent, without their Ethernet headers.
#[derive(Default)]
struct Sent(Vec<(MacAddress, Vec<u8>)>);

impl Outbox for Sent {
    fn send(&mut self, destination: MacAddress, header: &[u8], payload: Payload<'_>) {
        let bytes = [header, payload.bytes()].concat();
        self.0.push((destination, bytes));
    }
}

fn new_server(pages: u32) -> Result<Server<Heap, Door>, Box<dyn Error>> {
    let owners = CLIENTS + 2;
    let layout = Layout {
        pages: pages + u32::from(CLIENTS) * u32::from(ASSEMBLIES) + 1,
        capacity_pages: pages,
        max_clients: CLIENTS,
        owners,
        assemblies_per_owner: ASSEMBLIES,
    };
    let count = layout.pages as usize;
    let arrays = ServerArrays {
        store: Arrays {
            pages: vec![Page::default(); count],
            records: vec![Record::default(); count],
            heads: vec![0; count],
            owners: vec![Owner::default(); owners.into()],
            assemblies: vec![Assembly::default(); layout.assemblies()],
        },
        sessions: vec![Session::default(); owners.into()],
        session_heads: vec![0; owners.into()],
    };
    let secret = RandomState::new();
    let config = Config {
        incarnation: secret.hash_one("incarnation"),
        seed: secret.hash_one("seed"),
        cluster: Default::default(),
        lease_s: 60,
        quota_pages: pages.into(),
    };
    let door = Door { secret, nonces: 0 };
    Ok(Server::new(config, &layout, arrays, door, 0).ok_or("the arrays do not fit the layout")?)
}

/// Serves until a signal ends it.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let socket = PacketSocket::new(&options.interface, ETHERTYPE)?;
    let address = socket.address()?;
    let mut server = new_server(options.pages)?;
    let mut first = FirstVersions::new();
    let begun = Instant::now();
    let mut bytes = vec![0; 1 << 16];
    println!("ready");
    loop {
        let now_ns = u64::try_from(begun.elapsed().as_nanos())?;
        let mut sent = Sent::default();
        if server.next_timeout_ns() <= now_ns {
            server.handle_timeout(now_ns, &mut sent);
        } else if has_frame(&socket, server.next_timeout_ns() - now_ns)? {
            let len = socket.receive(&mut bytes)?;
            let (ethernet, frame) = bytes[..len].split_at(ETHERNET_LEN.min(len));
            if let Some(source) = ethernet.get(6..12).filter(|_| ethernet[..6] == address) {
                options.look_into(frame);
                server.handle_frame(now_ns, MacAddress(source.try_into()?), frame, &mut sent);
                keep_first(&mut first, server.store(), frame);
            }
        }
        server.flush(&mut sent);
        for (destination, frame) in sent.0 {
            let lie = options
                .lie
                .and_then(|lie| lie.tell(server.store(), &first, &frame));
            let frame = lie.unwrap_or(frame);
            let ethernet = [&destination.0[..], &address, &ETHERTYPE.to_be_bytes()].concat();
            socket.send(&[ethernet, frame].concat())?;
        }
    }
}

/// Waits for a frame, but not longer than `most_ns`.
fn has_frame(socket: &PacketSocket, most_ns: u64) -> Result<bool, Box<dyn Error>> {
    let timeout = Timespec::try_from(Duration::from_nanos(most_ns))?;
    let mut watched = [PollFd::new(socket, PollFlags::IN)];
    Ok(poll(&mut watched, Some(&timeout))? > 0)
}

impl Options {
    fn look_into(&self, frame: &[u8]) {
        let Some(text) = self.look_for.as_ref().filter(|text| !text.is_empty()) else {
            return;
        };
        if let Ok(frame) = Frame::parse(frame) {
            let found = |part: &[u8]| part == text.as_bytes();
            if frame.payload.windows(text.len()).any(found) {
                println!("seen in {}", frame.header.page);
            }
            if frame.header.flags.contains(Flags::SAME_FILLED) {
                println!("filled {}", frame.header.page);
            }
        }
    }
}

/// Keeps the first version of the page that this frame completes.
fn keep_first(first: &mut FirstVersions, store: &Store<Heap>, frame: &[u8]) {
    let written = Frame::parse(frame).ok();
    let written = written.filter(|frame| frame.header.opcode == Opcode::Write);
    let page = written.map_or(u64::MAX, |frame| frame.header.page);
    if let Some(held) = held(store, page) {
        first.entry(page).or_insert_with(|| given(store, &held));
    }
}

impl Lie {
    /// This frame with another page in it. `None` if it stays as it is.
    fn tell(self, store: &Store<Heap>, first: &FirstVersions, frame: &[u8]) -> Option<Vec<u8>> {
        let frame = Frame::parse(frame).ok()?;
        let mut header = frame.header;
        if header.opcode != Opcode::ReadReply || header.status != Status::Ok {
            return None;
        }
        let instead = match self {
            Self::Alter => altered(store, header.page, &held(store, header.page)?),
            Self::RollBack => {
                let first = first.get(&header.page)?.clone();
                // CAST: the low bits, which the map has.
                let is_alike = first.version as u8 == header.version as u8;
                Some(first).filter(|first| is_alike && first.version != header.version)?
            }
        };
        println!("altered {}", header.page);
        header.version = instead.version;
        header.payload_crc = instead.sum.crc;
        header.page_tag = instead.sum.tag;
        if instead.filled {
            header.flags = Flags::SAME_FILLED;
            (header.fragment_index, header.fragment_count) = (0, 1);
            return Some(emit(&header, &instead.bytes));
        }
        let cut = Fragmentation::from_count(header.fragment_count)?;
        let (offset, len) = cut.span(header.fragment_index)?;
        let part = instead.bytes.get(offset.into()..)?.get(..len.into())?;
        Some(emit(&header, part))
    }
}

fn emit(header: &Header, payload: &[u8]) -> Vec<u8> {
    // CAST: at most a page.
    [&header.emit(payload.len() as u16)[..], payload].concat()
}

fn held(store: &Store<Heap>, page: u64) -> Option<Held> {
    (0..usize::from(CLIENTS) + 2).find_map(|index| store.get(store.owner(index)?, page))
}

/// A page as it is held.
fn given(store: &Store<Heap>, held: &Held) -> Given {
    let len = if held.filled { 8 } else { PAGE_SIZE };
    Given {
        version: held.version,
        bytes: store.arena()[held.at.index()].0[..len].to_vec(),
        sum: held.sum,
        filled: held.filled,
    }
}

/// What is returned instead of a page. How it differs follows from its index.
fn altered(store: &Store<Heap>, page: u64, held: &Held) -> Given {
    let mut lie = given(store, held);
    match page % 4 {
        // One bit is another.
        0 => lie.bytes[5] ^= 0x10,
        // The tag is another.
        1 if held.sum.tag.0 != [0; 16] => lie.sum.tag.0[15] ^= 1,
        // Another page with its own tag.
        2 => {
            let others = (0..PAGE_SIZE as u64).filter(|&other| other != page);
            let mut others = others.filter_map(|other| self::held(store, other));
            match others.find(|other| other.filled == held.filled) {
                Some(other) => {
                    let version = lie.version;
                    lie = Given {
                        version,
                        ..given(store, &other)
                    };
                }
                None => lie.bytes[0] ^= 1,
            }
        }
        // A value, which is not sealed.
        _ => {
            lie.bytes = b"a rogue!".to_vec();
            lie.filled = true;
            lie.sum.tag.0 = [0; 16];
        }
    }
    lie.sum.crc = crc32c(&lie.bytes);
    lie
}
