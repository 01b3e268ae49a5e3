// SPDX-License-Identifier: GPL-2.0

//! A memory server: the real state machine, on a host that crashes, stops and sends wrong announcements.

mod clock;
mod held;
mod ring;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use anemone::engine::channel::server::{KeyedClient, ServerChannels, Signing};
use anemone::engine::server::store::{
    Arrays, Assembly, Layout, Memory, Owner, Page, PageSlice, Record,
};
use anemone::engine::server::{
    Admission, Config, CookieClaim, Outbox, Payload, Server, ServerArrays, Session,
};
use anemone::secret::Secret;
use anemone::wire::{
    Announce, ClientId, ClusterName, Frame, Header, MacAddress, Opcode, PageVersion,
    MAX_PAGE_VERSIONS, PAGE_SIZE,
};
use rand::Rng;
use zerocopy::{FromBytes, IntoBytes};

use crate::clock::Clock;
use crate::content::Content;
use crate::context::Context;
use crate::event::{Event, Node, Wire};
use crate::faults::Fault;
use crate::network::show;
use crate::scenario::{MS, S};
use crate::seals::Seals;
use crate::watch::Watch;
use ring::{Kept, Ring};

/// Frames that wait for a stopped server before its host drops them.
const BACKLOG: usize = 64;

/// Arrays that are `Vec`s.
pub struct Heap;

impl Memory for Heap {
    type Array<T: 'static> = Vec<T>;
}

/// Admits every client. Its cookies and nonces are hashes of a count under a key.
pub struct AdmitAll(u64, u64);

impl Admission for AdmitAll {
    fn cookie(&self, claim: &CookieClaim) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, claim.as_bytes()).hash(&mut hasher);
        hasher.finish()
    }

    fn nonce(&mut self) -> u64 {
        self.1 = self.1.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        (self.0, self.1).hash(&mut hasher);
        hasher.finish()
    }

    fn admits(&self, _: ClientId, _: MacAddress) -> bool {
        true
    }
}

/// One start of a server.
struct Incarnation {
    number: u64,
    engine: Server<Heap, AdmitAll>,
    /// If frames are signed.
    channels: Option<ServerChannels>,
    /// One more than the highest owner's index.
    owners: usize,
    /// When it crashed, if it has.
    died_ns: Option<u64>,
}

/// A copy of a page that is or was on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which server.
    pub server: usize,
    /// Which of its incarnations.
    pub incarnation: u64,
    /// Of the page.
    pub version: u64,
    /// When that incarnation crashed, if it has.
    pub died_ns: Option<u64>,
}

/// The address of a server.
pub fn address(number: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, number as u8])
}

/// A server and its host.
pub struct SimServer {
    number: usize,
    pub mac: MacAddress,
    /// All its starts. The last one may be running.
    incarnations: Vec<Incarnation>,
    paused: bool,
    /// Since when its host has been suspended, if it is. Its clock is stopped then.
    suspended_ns: Option<u64>,
    clock: Clock,
    /// Since when it has been running without a break.
    running_since_ns: u64,
    backlog: VecDeque<Wire>,
    kept: Vec<Kept>,
    timer_ns: u64,
    /// When it last had room.
    pub roomy_ns: u64,
    /// When it last had no room, or none for some client.
    pub full_ns: Option<u64>,
    /// The same for any of its starts, because a client may not know of the last one yet.
    pub last_full_ns: Option<u64>,
    /// The number of free pages that it announces instead of the true one.
    lie: Option<u64>,
    /// When it last reported no room although it had room.
    denied_ns: Option<u64>,
    watch: Watch,
}

impl SimServer {
    /// A server that does not run yet; see [`SimServer::start`]. Its clock is fast by `fast` parts in a
    /// million.
    pub fn new(number: usize, fast: i64) -> Self {
        Self {
            number,
            mac: address(number),
            incarnations: Vec::new(),
            paused: false,
            suspended_ns: None,
            clock: Clock::new(fast),
            running_since_ns: 0,
            backlog: VecDeque::new(),
            kept: Vec::new(),
            timer_ns: u64::MAX,
            roomy_ns: 0,
            full_ns: None,
            last_full_ns: None,
            lie: None,
            denied_ns: None,
            watch: Watch::default(),
        }
    }

    /// Starts, or restarts with no pages.
    pub fn start(&mut self, ctx: &mut Context) {
        let scenario = &ctx.scenario;
        let (clients, assemblies) = (scenario.max_clients, scenario.assemblies);
        let owners = clients + 2;
        let layout = Layout {
            pages: scenario.capacity_pages + u32::from(clients) * u32::from(assemblies) + 1,
            capacity_pages: scenario.capacity_pages,
            max_clients: clients,
            owners,
            assemblies_per_owner: assemblies,
        };
        let arrays = ServerArrays {
            store: Arrays {
                pages: vec![Page::default(); layout.pages as usize],
                records: vec![Record::default(); layout.pages as usize],
                heads: vec![0; layout.pages as usize],
                owners: vec![Owner::default(); owners.into()],
                assemblies: vec![Assembly::default(); layout.assemblies()],
            },
            sessions: vec![Session::default(); owners.into()],
            session_heads: vec![0; owners.into()],
        };
        let config = Config {
            incarnation: ctx.rng.random_range(1..u64::MAX),
            seed: ctx.rng.random(),
            cluster: ClusterName::default(),
            lease_s: scenario.lease_s,
            quota_pages: scenario.quota_pages,
        };
        let admission = AdmitAll(ctx.rng.random(), 0);
        let engine = Server::new(config, &layout, arrays, admission, self.clock_ns(ctx));
        let channels = ctx
            .scenario
            .signed
            .then(|| self.channels(ctx, config.incarnation));
        self.incarnations.push(Incarnation {
            channels,
            number: config.incarnation,
            engine: engine.expect("the layout's arrays"),
            owners: owners.into(),
            died_ns: None,
        });
        self.running_since_ns = ctx.now_ns;
        self.watch = Watch::default();
        self.paused = false;
        self.full_ns = None;
        // Clients regard the server as full, as before its restart, until they notice the restart.
        self.last_full_ns = self.last_full_ns.map(|_| ctx.now_ns);
        self.arm(ctx);
    }

    /// Its channels with all clients.
    fn channels(&self, ctx: &mut Context, incarnation: u64) -> ServerChannels {
        let keyed = |identity: usize| KeyedClient {
            identity: ClientId([identity as u8 + 1; 16]),
            keys: [Some(crate::client::pair(identity, self.mac)), None],
        };
        let clients = (0..ctx.scenario.clients).map(keyed).collect();
        let secret: [u64; 4] = std::array::from_fn(|_| ctx.draw_key());
        let secret = Secret::new(zerocopy::transmute_ref!(&secret));
        let mut channels = ServerChannels::new(clients, secret, incarnation);
        channels.set_address(self.mac);
        channels
    }

    /// Crashes, and loses all its pages.
    pub fn crash(&mut self, ctx: &mut Context) {
        if let Some(last) = self.incarnations.last_mut() {
            last.died_ns.get_or_insert(ctx.now_ns);
        }
        self.kept.clear();
        self.backlog.clear();
        self.timer_ns = u64::MAX;
        self.paused = false;
        self.suspended_ns = None;
    }

    /// Whether it runs or is stopped, rather than crashed.
    pub fn is_alive(&self) -> bool {
        self.incarnations
            .last()
            .is_some_and(|last| last.died_ns.is_none())
    }

    /// Whether this is not its first start.
    pub fn has_restarted(&self) -> bool {
        self.incarnations.len() > 1
    }

    /// From now on announces `free_pages`; the true number for `None`.
    pub fn set_lie(&mut self, free_pages: Option<u64>) {
        self.lie = free_pages;
    }

    /// Whether it has falsely reported no room since then.
    pub fn denied_since(&self, since_ns: u64) -> bool {
        self.denied_ns
            .is_some_and(|denied_ns| denied_ns >= since_ns)
    }

    /// Whether it has reported to a client since then that it has no room for it.
    pub fn was_full_for(&self, client: MacAddress, since_ns: u64) -> bool {
        self.watch.was_full(client, since_ns)
    }

    /// Pages that clients have freed since it started.
    pub fn pages_freed(&self) -> u64 {
        self.alive()
            .map_or(0, |engine| engine.counters().pages_freed)
    }

    /// Clients that have a session.
    pub fn open_sessions(&self) -> usize {
        self.alive().map_or(0, Server::open_sessions)
    }

    /// The number of pages that clients can still write.
    pub fn free_pages(&self) -> u64 {
        self.alive().map_or(0, |engine| engine.store().free_pages())
    }

    /// The number of its current start.
    pub fn incarnation(&self) -> Option<u64> {
        let last = self.incarnations.last()?;
        last.died_ns.is_none().then_some(last.number)
    }

    /// The number of its last start, crashed or not.
    pub fn last_incarnation(&self) -> u64 {
        self.incarnations.last().map_or(0, |last| last.number)
    }

    /// When this start crashed, if it has.
    pub fn died_ns(&self, incarnation: u64) -> Option<u64> {
        let found = self
            .incarnations
            .iter()
            .find(|one| one.number == incarnation);
        found.and_then(|one| one.died_ns)
    }

    fn alive(&self) -> Option<&Server<Heap, AdmitAll>> {
        let last = self.incarnations.last()?;
        last.died_ns.is_none().then_some(&last.engine)
    }

    /// A frame is received.
    pub fn deliver(&mut self, ctx: &mut Context, wire: Wire) {
        if !self.is_alive()
            || (wire.destination != self.mac && wire.destination != MacAddress::BROADCAST)
        {
            return;
        }
        if self.paused {
            if self.backlog.len() < BACKLOG && self.suspended_ns.is_none() {
                self.backlog.push_back(wire);
            }
            return;
        }
        let clock_ns = self.clock_ns(ctx);
        let Some(last) = self.incarnations.last_mut() else {
            return;
        };
        ctx.trace.note(ctx.now_ns, || {
            format!("server {} gets {}", self.number, show(&wire))
        });
        let mut refused = false;
        let before = last.engine.counters();
        let was_full = last.engine.store().free_pages() == 0;
        let mut ring = Ring {
            mac: self.mac,
            kept: &mut self.kept,
            ready: Vec::new(),
        };
        let (source, bytes) = (wire.source, &wire.bytes);
        match &mut last.channels {
            Some(channels) => {
                let known = channels.counters();
                channels.handle_frame(clock_ns, source, bytes, &mut last.engine, &mut ring);
                let counted = channels.counters();
                if counted.keys != known.keys || counted.verified != known.verified {
                    let accepted = ctx.authentic.accept(self.mac, last.number, &wire);
                    if let Err(why) = accepted {
                        let server = self.number;
                        ctx.oracle
                            .fail(|| format!("server {server} {why}: {}", show(&wire)));
                    }
                }
            }
            None => last.engine.handle_frame(clock_ns, source, bytes, &mut ring),
        }
        let ready = std::mem::take(&mut ring.ready);
        let after = last.engine.counters();
        if after.pages_refused != before.pages_refused {
            ctx.counts.fault(Fault::ServerFull);
            self.full_ns = Some(ctx.now_ns);
            self.last_full_ns = Some(ctx.now_ns);
            refused = true;
        }
        if last.engine.store().free_pages() != 0 {
            self.roomy_ns = ctx.now_ns;
        }
        if was_full || last.engine.store().free_pages() == 0 {
            self.full_ns = Some(ctx.now_ns);
            self.last_full_ns = Some(ctx.now_ns);
        }
        if after.sessions_expired != before.sessions_expired {
            ctx.counts.fault(Fault::LeaseExpired);
            self.watch.lease_ended = true;
            ctx.trace.note(ctx.now_ns, || {
                format!("server {} ends a lease", self.number)
            });
            // Its clock may be fast.
            let lease_ns = u64::from(ctx.scenario.lease_s) * (S - S / 1000);
            // The client is asked five times, 400 ms apart. Less time passes if the clock steps forward.
            let asked_ns = match ctx.scenario.enabled.clock_steps {
                true => 0,
                false => 1900 * MS,
            };
            let lease_ns = lease_ns.max(asked_ns);
            if !self.watch.any_silent(clock_ns, lease_ns) {
                let server = self.number;
                ctx.oracle.fail(|| {
                    format!("server {server} ended the lease of a client that sends frames")
                });
            }
        }
        // Frames that were dropped unverified are not heard.
        if last.channels.is_none() || after.frames != before.frames {
            self.watch.note(clock_ns, &wire);
        }
        if refused {
            self.check_refusal(ctx, &wire);
        }
        self.hand_over(ctx, ready);
        let last = self.incarnations.last();
        let has_acks = last.is_some_and(|last| last.engine.has_kept());
        if self.kept.is_empty() && !has_acks {
        } else if self.kept.len() > 16 || ctx.rng.random_bool(0.3) {
            self.flush(ctx);
        } else {
            let delay_ns = ctx.rng.random_range(0..20_000);
            ctx.after(delay_ns, Event::ServerFlush(self.number));
        }
        self.arm(ctx);
    }

    /// A newer version of a page that is held needs no room: checks that it is not refused.
    fn check_refusal(&self, ctx: &mut Context, wire: &Wire) {
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return;
        };
        let page = frame.header.page as u32;
        let Some(Node::Client(client)) = ctx.network.station(wire.source) else {
            return;
        };
        let of_client = |word: u64| word >> 56 == client as u64 + 1;
        if self
            .held(&ctx.seals, page)
            .iter()
            .any(|(_, word)| of_client(*word))
        {
            let server = self.number;
            ctx.oracle.fail(|| {
                format!(
                    "server {server} refuses what it has room for: {}",
                    show(wire)
                )
            });
        }
    }

    /// Sends the frames that are kept.
    pub fn flush(&mut self, ctx: &mut Context) {
        if self.paused || !self.is_alive() {
            return;
        }
        let Some(last) = self.incarnations.last_mut() else {
            return;
        };
        let mut ring = Ring {
            mac: self.mac,
            kept: &mut self.kept,
            ready: Vec::new(),
        };
        match &mut last.channels {
            Some(channels) => last.engine.flush(&mut Signing::new(channels, &mut ring)),
            None => last.engine.flush(&mut ring),
        }
        let ready = std::mem::take(&mut ring.ready);
        self.hand_over(ctx, ready);
    }

    /// Its timer is due.
    pub fn handle_timer(&mut self, ctx: &mut Context) {
        if ctx.now_ns >= self.timer_ns {
            self.timer_ns = u64::MAX;
        }
        if self.paused || !self.is_alive() {
            return;
        }
        let clock_ns = self.clock_ns(ctx);
        if let Some(last) = self.incarnations.last_mut() {
            let mut ring = Ring {
                mac: self.mac,
                kept: &mut self.kept,
                ready: Vec::new(),
            };
            match &mut last.channels {
                Some(channels) => {
                    let mut signing = Signing::new(channels, &mut ring);
                    last.engine.handle_timeout(clock_ns, &mut signing);
                }
                None => last.engine.handle_timeout(clock_ns, &mut ring),
            }
        }
        self.flush(ctx);
        self.arm(ctx);
    }

    fn arm(&mut self, ctx: &mut Context) {
        let due_ns = self.alive().map_or(u64::MAX, Server::next_timeout_ns);
        if due_ns == u64::MAX {
            return;
        }
        let due_ns = self.clock.when(due_ns);
        if due_ns < self.timer_ns {
            self.timer_ns = due_ns;
            let at_ns = due_ns.max(ctx.now_ns);
            ctx.queue.put(at_ns, Event::ServerTimer(self.number));
        }
    }

    fn hand_over(&mut self, ctx: &mut Context, wires: Vec<Wire>) {
        for mut wire in wires {
            if let Err(why) = self.watch.note_sent(ctx.now_ns, &wire, ctx.scenario.signed) {
                let server = self.number;
                ctx.oracle.fail(|| format!("server {server}: {why}"));
            }
            if let Some(free_pages) = self.lie {
                if lie(&mut wire, free_pages) {
                    ctx.counts.fault(Fault::ServerLied);
                    if free_pages == 0 {
                        self.denied_ns = Some(ctx.now_ns);
                    }
                }
            }
            ctx.transmit(wire);
        }
    }
}

/// Changes the free pages in an announcement. Returns whether the frame is one.
fn lie(wire: &mut Wire, free_pages: u64) -> bool {
    let Ok(frame) = Frame::parse(&wire.bytes) else {
        return false;
    };
    // It lies before it signs; a changed frame would only be dropped.
    if frame.header.opcode != Opcode::Announce || frame.signature(&wire.bytes).is_some() {
        return false;
    }
    let Ok(mut announce) = Announce::read_from_bytes(frame.payload) else {
        return false;
    };
    announce.free_pages = free_pages.into();
    let mut header: Header = frame.header;
    header.payload_crc = anemone::crc::crc32c(announce.as_bytes());
    // CAST: 56 bytes.
    let mut bytes = header.emit(announce.as_bytes().len() as u16).to_vec();
    bytes.extend_from_slice(announce.as_bytes());
    wire.bytes = bytes.into();
    true
}
