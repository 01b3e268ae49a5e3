// SPDX-License-Identifier: GPL-2.0

//! A client and two servers on a network that the input controls: what arrives, when, in which order, how
//! often, and altered how.
//!
//! Whatever happens, nothing panics and every request ends. As long as no frame was altered, a page-in reads
//! what was written last, or fails. If pages are sealed, it never reads what was not written to that page.

use anemone::engine::client::shard::Outcome;
use anemone::engine::server::Server;
use anemone::wire::{MacAddress, PAGE_SIZE};
use arbitrary::{Result, Unstructured};

use crate::client::{Client, IO_TIMEOUT_S, OPS, PAGES};
use crate::content;
use crate::host::{self, Door, Heap, Sent, Size, Wire};
use crate::mutation::alter;
use crate::MS;

const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 2, 0]);
const SERVERS: [MacAddress; 2] = [
    MacAddress([2, 0, 0, 0, 1, 0]),
    MacAddress([2, 0, 0, 0, 1, 1]),
];
/// The most frames on their way. The network drops others.
const MOST_ON_THE_WAY: usize = 64;
/// Steps at the end, and for how long: every request ends by then. The I/O timeout may begin again once for a
/// client whose timer was late, and each server may be silent for a while before it counts as lost.
const STEP_NS: u64 = 50 * MS;
const STEPS: u64 = 4 * IO_TIMEOUT_S as u64 * 1000 / 50;

/// Runs a client and its servers with this input.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    if let Ok(mut world) = World::of(&mut u) {
        // The input is over in the middle of something: that is no error.
        let _ = world.run(&mut u);
        world.end();
    }
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Request {
    page: u32,
    /// What is written; `None` for a page-in.
    content: Option<u64>,
}

struct World {
    now_ns: u64,
    size: Size,
    client: Client,
    servers: Vec<Server<Heap, Door>>,
    incarnation: u64,
    on_the_way: Vec<Wire>,
    requests: [Option<Request>; OPS],
    /// What each page may contain; 0 for zeros.
    may_be: Vec<Vec<u64>>,
    /// What each page may ever have contained.
    has_been: Vec<Vec<u64>>,
    /// Whether pages are sealed.
    is_sealed: bool,
    contents: u64,
    /// Whether a frame has been altered.
    is_altered: bool,
}

impl World {
    fn of(u: &mut Unstructured<'_>) -> Result<Self> {
        let (is_sealed, mtu) = *u.choose(&[
            (false, 600),
            (false, 1500),
            (false, 9000),
            (true, 600),
            (true, 1500),
            (true, 9000),
        ])?;
        let size = Size {
            capacity_pages: u.int_in_range(2..=10)?,
            quota_pages: u.int_in_range(2..=10)?,
            max_clients: 2,
        };
        let now_ns = 1000 * MS;
        let mut world = Self {
            now_ns,
            size,
            client: Client::new(CLIENT, mtu, &SERVERS, is_sealed, now_ns),
            servers: (0..2).map(|n| host::start(size, 1 + n, now_ns)).collect(),
            incarnation: 2,
            on_the_way: Vec::new(),
            requests: [None; OPS],
            may_be: vec![vec![0]; PAGES],
            has_been: vec![vec![0]; PAGES],
            is_sealed,
            contents: 0,
            is_altered: false,
        };
        for _ in 0..8 {
            world.step(10 * MS);
            world.deliver_all();
        }
        assert_eq!(world.client.usable(), 2, "the sessions are open");
        Ok(world)
    }

    fn run(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        while !u.is_empty() {
            match u.int_in_range(0..=11_u8)? {
                0 | 1 => self.page_out(u)?,
                2 => self.page_in(u)?,
                3 => self.discard(u)?,
                4 => {
                    let ns = u64::from(u.int_in_range(0..=300_u16)?) * MS;
                    self.step(ns);
                }
                5 => self.client.work(self.now_ns),
                6 => self.deliver_all(),
                7 => {
                    let server = u.choose_index(2)?;
                    self.incarnation += 1;
                    self.servers[server] = host::start(self.size, self.incarnation, self.now_ns);
                }
                kind if !self.on_the_way.is_empty() => {
                    let at = u.choose_index(self.on_the_way.len())?;
                    match kind {
                        8 => self.deliver(at),
                        9 => drop(self.on_the_way.remove(at)),
                        10 => {
                            let again = self.on_the_way[at].clone();
                            self.on_the_way.push(again);
                        }
                        _ => {
                            self.is_altered = true;
                            alter(u, &mut self.on_the_way[at].bytes)?;
                            self.deliver(at);
                        }
                    }
                }
                _ => {}
            }
            self.after_anything();
        }
        Ok(())
    }

    /// A page for which no request is under way, and an op for it.
    fn idle(&self, u: &mut Unstructured<'_>) -> Result<Option<(u32, usize)>> {
        let page = u.int_in_range(0..=PAGES as u32 - 1)?;
        let is_idle = self.requests.iter().flatten().all(|one| one.page != page);
        Ok(self
            .client
            .free_op()
            .filter(|_| is_idle)
            .map(|op| (page, op)))
    }

    fn page_out(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some((page, op)) = self.idle(u)? else {
            return Ok(());
        };
        self.contents += 1;
        let number = self.contents;
        self.has_been[page as usize].push(number);
        self.requests[op] = Some(Request {
            page,
            content: Some(number),
        });
        let (fill, bytes) = (content::fill(number), content::bytes(number));
        self.client.page_out(self.now_ns, op, page, fill, bytes);
        Ok(())
    }

    fn page_in(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if let Some((page, op)) = self.idle(u)? {
            self.requests[op] = Some(Request {
                page,
                content: None,
            });
            self.client.page_in(self.now_ns, op, page);
        }
        Ok(())
    }

    fn discard(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if let Some((page, _)) = self.idle(u)? {
            self.may_be[page as usize].push(0);
            self.client.discard(page);
        }
        Ok(())
    }

    /// Time passes, and all timers run.
    fn step(&mut self, ns: u64) {
        self.now_ns += ns;
        for (server, mac) in self.servers.iter_mut().zip(SERVERS) {
            if server.next_timeout_ns() <= self.now_ns {
                let mut sent = Sent::by(mac);
                server.handle_timeout(self.now_ns, &mut sent);
                self.on_the_way.append(&mut sent.wires);
            }
        }
        self.client.work(self.now_ns);
        self.after_anything();
    }

    fn deliver_all(&mut self) {
        for wire in std::mem::take(&mut self.on_the_way) {
            self.receive(&wire);
        }
        self.client.work(self.now_ns);
    }

    fn deliver(&mut self, at: usize) {
        let wire = self.on_the_way.remove(at);
        self.receive(&wire);
    }

    fn receive(&mut self, wire: &Wire) {
        self.client.deliver(self.now_ns, wire);
        for (server, mac) in self.servers.iter_mut().zip(SERVERS) {
            let is_for_it = wire.destination == mac || wire.destination == MacAddress::BROADCAST;
            if is_for_it && wire.source != mac {
                let mut sent = Sent::by(mac);
                server.handle_frame(self.now_ns, wire.source, &wire.bytes, &mut sent);
                server.flush(&mut sent);
                assert!(sent.wires.len() <= 9, "{} frames for one", sent.wires.len());
                self.on_the_way.append(&mut sent.wires);
            }
        }
        self.after_anything();
    }

    /// Takes what the client has sent, and what has ended.
    fn after_anything(&mut self) {
        let mut sent = self.client.take_frames();
        self.on_the_way.append(&mut sent);
        self.on_the_way.truncate(MOST_ON_THE_WAY);
        for ended in std::mem::take(&mut self.client.ended) {
            let request = self.requests[ended.op].take().expect("a request ends once");
            let known = &mut self.may_be[request.page as usize];
            let is_error = matches!(ended.outcome, Outcome::Failed | Outcome::NoSpace);
            match request.content {
                Some(number) if is_error => known.push(number),
                Some(number) => {
                    assert_eq!(ended.outcome, Outcome::Done);
                    *known = vec![number];
                }
                None if is_error || (self.is_altered && !self.is_sealed) => {}
                None => {
                    let known = match self.is_altered {
                        true => &self.has_been[request.page as usize],
                        false => known,
                    };
                    let found = read(ended.outcome, &ended.bytes);
                    let is_right = |&number: &u64| match number {
                        0 => found.iter().all(|&byte| byte == 0),
                        _ => *found == *content::bytes(number),
                    };
                    assert!(
                        known.iter().any(is_right),
                        "page {} has neither of {known:?}: {:?}",
                        request.page,
                        ended.outcome
                    );
                }
            }
        }
    }

    /// The network is well from now on, and every request ends.
    fn end(&mut self) {
        for _ in 0..STEPS {
            if self.client.under_way() == 0 {
                return;
            }
            self.step(STEP_NS);
            self.deliver_all();
        }
        panic!("{:?} have not ended", self.requests);
    }
}

/// What a page-in has read.
fn read(outcome: Outcome, bytes: &[u8; PAGE_SIZE]) -> Box<[u8; PAGE_SIZE]> {
    let mut page = Box::new(*bytes);
    match outcome {
        Outcome::Zeros => page.fill(0),
        Outcome::Filled(value) => {
            for word in page.chunks_exact_mut(8) {
                word.copy_from_slice(&value.to_be_bytes());
            }
        }
        _ => {}
    }
    page
}
