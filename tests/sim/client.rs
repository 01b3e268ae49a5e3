// SPDX-License-Identifier: GPL-2.0

//! A client: the real engine, and a model of the driver around it, with all the delays that locks,
//! preemption and interrupts cause.

mod channel;
mod detaching;
mod gone_disk;
mod local;
mod receiving;
mod removing;
mod repairing;
mod requests;
mod sealing;
mod sending;
mod unloading;
mod worker;

use std::collections::BTreeMap;

use anemone::engine::client::cluster::{self, Cluster, Peer, Peers};
use anemone::engine::client::config::Config;
use anemone::engine::client::dirty_chunks::{words_for, DirtyChunks};
use anemone::engine::client::histogram::BUCKETS;
use anemone::engine::client::ids::{PageIndex, ServerSlot, SlotSet, SERVER_SLOTS};
use anemone::engine::client::maintenance::removal::RemovalMode;
use anemone::engine::client::maintenance::round::Round;
use anemone::engine::client::mirror::{Buffer, Head, Io};
use anemone::engine::client::repair::Repair;
use anemone::engine::client::shard::{Action, Op, Parts, Receive, Seal, Sealed, Shard};
use anemone::engine::client::stale_copy::StaleCopy;
use anemone::engine::client::storage::Storage;
use anemone::engine::client::swap_device::SwapDevice;
use anemone::sync::Atomic;
use anemone::wire::{Ack, ClientId, ClusterName, Frame, Header, MacAddress, SIGNATURE_LEN};
use rand::Rng;
use zerocopy::FromBytes;

use crate::clock::Clock;
use crate::context::Context;
use crate::event::{Event, Wire};
use crate::faults::Fault;
use crate::hibernation::Hibernation;
use crate::network::show;
use crate::oracle::{Claim, RequestId};
use crate::random::SplitMix;
use crate::scenario::{Scenario, MS, S};
use channel::Signing;
pub use channel::{pair, KEYS_NS};
use local::Local;
pub use local::LocalEvent;
use removing::Removing;
pub use requests::Done;
use requests::Request;
use sealing::Sealing;
use sending::Sending;
use worker::Working;

/// Frames that wait for a stopped client before its network card drops them.
const BACKLOG: usize = 64;

/// Something that happens inside a client.
#[derive(Debug)]
pub enum ClientEvent {
    /// Programs begin requests.
    Load,
    /// Programs end, and most of their pages are discarded.
    DiscardMost,
    /// A shard's timer is due.
    ShardTimer(usize),
    /// The cluster's timer is due.
    ClusterTimer,
    /// A page is sealed.
    Seal(usize, Seal, RequestId),
    /// A shard is notified of that.
    Sealed(usize, Seal, Sealed),
    /// Frames that a shard asked for earlier are sent.
    Send(Sending),
    /// The shard is notified that they have been sent.
    Sent(Sending),
    /// A fragment that was received earlier, at that time, is copied.
    Copy(usize, Receive, RequestId, Vec<u8>, u64),
    /// A program changes the page of a request.
    ChangePage(usize, usize, RequestId),
    /// A shard is notified that a page-out has ended.
    Unpark(usize, PageIndex),
    /// The next step of the worker's round.
    Work,
    /// A server is added.
    Add(MacAddress),
    /// The removal of a server begins.
    Remove(MacAddress, RemovalMode),
    /// The next step of a removal by an operator.
    RemovalStep,
    /// The interface's MTU changes.
    SetMtu(usize),
    /// Something about the local disk.
    Local(LocalEvent),
    /// The interface has gone down or up.
    Kick,
    /// The clock has changed since the timers were set.
    SetTimers,
    /// The next check whether the module can be unloaded.
    UnloadStep,
}

/// The engine's memory: `Vec`s.
pub struct Heap;

impl Storage for Heap {
    type Words = Vec<Atomic<u32>>;
    type Buffers = Vec<Buffer>;
    type Heads = Vec<Head>;
    type Ios = Vec<Io>;
    type Ops = Vec<Op>;
    type Buckets = Vec<u32>;
    type Peers = Vec<Peer>;
    type Stale = Vec<StaleCopy>;
}

/// Bytes of a frame that the engine does not know of.
pub fn overhead(scenario: &Scenario) -> usize {
    match scenario.signed {
        true => SIGNATURE_LEN,
        false => 0,
    }
}

fn words(count: usize) -> Vec<Atomic<u32>> {
    (0..count).map(|_| Atomic::<u32>::new(0)).collect()
}

/// Sends the cluster's frames.
struct Frames {
    source: MacAddress,
    wires: Vec<Wire>,
}

impl cluster::Outbox for Frames {
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]) {
        // CAST: the engine's frames are below 64 KiB.
        let header = header.emit(payload.len() as u16);
        let mut bytes = Vec::with_capacity(header.len() + payload.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(payload);
        self.wires.push(Wire {
            source: self.source,
            destination,
            bytes: bytes.into(),
        });
    }
}

/// A client and its programs.
pub struct Client {
    number: usize,
    /// The number of its first life, by which servers identify it.
    pub identity: usize,
    /// Its power has failed: it does nothing any more.
    pub is_dead: bool,
    pub mac: MacAddress,
    pub device: SwapDevice<Heap>,
    shards: Vec<Shard<Heap>>,
    cluster: Cluster<Heap, SplitMix>,
    chunks: DirtyChunks<Vec<Atomic<u32>>>,
    repair: Repair<Heap>,
    /// Whether repair has changed the holders of pages since the oracle's last check.
    pub has_repaired: bool,
    /// The request of each op of each shard.
    requests: Vec<Vec<Option<Request>>>,
    /// Requests that have ended, but that the oracle has not checked yet.
    pub done: Vec<Done>,
    /// Counts of page-ins and of page-outs that ended, each without and with an error.
    ended: [[u64; 2]; 2],
    next_write: u32,
    shard_timers_ns: Vec<u64>,
    round: Round,
    working: Working,
    mtu: usize,
    clock: Clock,
    /// It is stopped until then.
    pub frozen_until_ns: u64,
    /// Frames that wait until it continues.
    pub backlog: usize,
    /// It is suspended until then. No frame waits for it.
    pub asleep_until_ns: u64,
    /// When its MTU was last changed, or its interface went up.
    pub mtu_set_ns: u64,
    /// Whether its interface is up.
    pub is_up: bool,
    /// When servers were added.
    pub added_ns: BTreeMap<MacAddress, u64>,
    /// When a frame from each server last came to it, also one that was sent again by somebody else.
    pub heard_ns: BTreeMap<MacAddress, u64>,
    /// When the first session with a server was opened.
    pub opened_ns: BTreeMap<MacAddress, u64>,
    /// Whether programs begin more requests.
    pub is_loaded: bool,
    /// Whether its device has been removed: only the disk's I/O continues.
    is_unloaded: bool,
    /// Whether its module is being unloaded while others run: it is loaded again.
    pub is_unloading: bool,
    /// Nothing can refer to the module any more.
    is_going: bool,
    /// Whether that has just ended.
    pub has_unloaded: bool,
    pub hibernation: Hibernation,
    pub local: Option<Local>,
    sealing: Sealing,
    signing: Option<Signing>,
    pub removing: Removing,
}

impl Client {
    /// A client without servers, in its first life.
    pub fn new(number: usize, ctx: &mut Context) -> Self {
        Self::with_identity(number, number, ctx)
    }

    /// A client without servers: life `number` of the client `identity`.
    pub fn with_identity(number: usize, identity: usize, ctx: &mut Context) -> Self {
        let scenario = &ctx.scenario;
        let shards = scenario.shards;
        let config = Config::new(
            scenario.replicas,
            scenario.min_copies,
            scenario.io_timeout_s,
        );
        let config = config.expect("a scenario's values are in their ranges");
        let pages = scenario.pages as usize;
        let shard = |number: usize| {
            Shard::new(
                number as u16,
                Parts {
                    ops: vec![Op::default(); scenario.ops_per_shard],
                    buckets: [vec![0; BUCKETS], vec![0; BUCKETS]],
                    stale: vec![StaleCopy::default(); scenario.stale],
                },
            )
        };
        let (mtu, ops) = (scenario.mtu, scenario.ops_per_shard);
        // The last shard is repair's.
        let mut all: Vec<Shard<Heap>> = (0..shards).map(&shard).collect();
        all.push(repairing::shard(shards));
        let chunk_words = || words(words_for(pages));
        let mut device = SwapDevice::new(words(pages), config, shards as u32);
        device.set_dirty_bitmaps(chunk_words(), chunk_words());
        device.set_repair_pages_per_s(scenario.repair_pages_per_s);
        if scenario.sealed {
            device.set_sealed();
        }
        if scenario.newest {
            device.set_newest_versions(words(pages));
        }
        let mut requests: Vec<Vec<Option<Request>>> = (0..shards)
            .map(|_| (0..ops).map(|_| None).collect())
            .collect();
        requests.push(repairing::pages());
        let mac = MacAddress([2, 0, 0, 0, 2, identity as u8]);
        if scenario.signed {
            device.set_signed();
        }
        let overhead = overhead(scenario);
        let mut cluster = Cluster::new(
            ClientId([identity as u8 + 1; 16]),
            ClusterName::default(),
            SplitMix(ctx.rng.random()),
            mtu - overhead,
            Peers::new(vec![Peer::default(); SERVER_SLOTS]).unwrap(),
        );
        cluster.set_loss_timeout_ns(scenario.loss_timeout_s * S);
        let signing = Signing::new(identity, mac, ctx);
        Self {
            number,
            identity,
            is_dead: false,
            mac,
            device,
            shards: all,
            cluster,
            chunks: DirtyChunks::new(chunk_words()),
            repair: Repair::new([(); 4].map(|()| chunk_words())),
            has_repaired: false,
            requests,
            done: Vec::new(),
            ended: [[0; 2]; 2],
            next_write: 0,
            shard_timers_ns: vec![u64::MAX; shards + 1],
            round: Round::new(shards + 1),
            working: Working::default(),
            mtu,
            clock: Clock::new(ctx.drift()),
            frozen_until_ns: 0,
            backlog: 0,
            asleep_until_ns: 0,
            mtu_set_ns: ctx.now_ns,
            is_up: true,
            added_ns: BTreeMap::new(),
            heard_ns: BTreeMap::new(),
            opened_ns: BTreeMap::new(),
            is_loaded: true,
            is_unloaded: false,
            is_unloading: false,
            is_going: false,
            has_unloaded: false,
            hibernation: Hibernation::default(),
            local: Local::new(ctx),
            sealing: Sealing::new(ctx),
            signing,
            removing: Removing::default(),
        }
    }

    /// Schedules an event of this client.
    fn after(&self, ctx: &mut Context, delay_ns: u64, event: ClientEvent) {
        ctx.after(delay_ns, Event::Client(self.number, event));
    }

    /// The time of its clock.
    fn clock_ns(&self, ctx: &Context) -> u64 {
        self.clock.read(ctx.now_ns)
    }

    /// Its clock steps forward by `by_ns`.
    pub fn step_clock(&mut self, ctx: &mut Context, by_ns: u64) {
        self.clock.step(ctx.now_ns, by_ns);
        // A timer's interrupt may be a little later than other events.
        let delay_ns = ctx.draw_clock(2 * MS);
        self.after(ctx, delay_ns, ClientEvent::SetTimers);
    }

    /// Suspends it until then. Its clock is stopped meanwhile.
    pub fn suspend(&mut self, ctx: &mut Context, until_ns: u64) {
        self.clock.stand_still(ctx.now_ns, until_ns);
        self.asleep_until_ns = self.asleep_until_ns.max(until_ns);
        let event = Event::Client(self.number, ClientEvent::SetTimers);
        ctx.queue.put(until_ns, event);
    }

    /// Sets all timers again, for the clock's current time.
    fn set_timers(&mut self, ctx: &mut Context) {
        for shard in 0..self.shards.len() {
            self.shard_timers_ns[shard] = u64::MAX;
            self.pump(ctx, shard);
        }
        self.reset_worker_timer(ctx);
        if let Some(mut local) = self.local.take() {
            local.set_timer(self, ctx);
            self.local = Some(local);
        }
    }

    /// Handles an event of this client.
    pub fn handle(&mut self, ctx: &mut Context, event: ClientEvent) {
        let is_workers = matches!(
            event,
            ClientEvent::ClusterTimer
                | ClientEvent::Work
                | ClientEvent::Add(_)
                | ClientEvent::Remove(..)
                | ClientEvent::RemovalStep
                | ClientEvent::SetMtu(_)
                | ClientEvent::Kick
                | ClientEvent::SetTimers
        );
        if self.is_unloaded && is_workers {
            return;
        }
        let is_operators = matches!(event, ClientEvent::Add(_) | ClientEvent::Remove(..));
        if self.is_unloading && is_operators {
            return;
        }
        match event {
            ClientEvent::Load => self.load(ctx),
            ClientEvent::DiscardMost => self.discard_most(ctx),
            ClientEvent::ShardTimer(shard) => {
                let clock_ns = self.clock_ns(ctx);
                if clock_ns >= self.shard_timers_ns[shard] {
                    self.shard_timers_ns[shard] = u64::MAX;
                }
                self.shards[shard].handle_timeout(clock_ns, &self.device);
                if shard == self.repair_shard() {
                    self.continue_repair(ctx);
                }
                self.pump(ctx, shard);
            }
            ClientEvent::ClusterTimer => self.fire_worker_timer(ctx),
            ClientEvent::Seal(shard, seal, id) => self.seal(ctx, shard, &seal, id),
            ClientEvent::Sealed(shard, seal, sealed) => {
                self.end_seal(ctx, shard, &seal, sealed);
            }
            ClientEvent::Send(sending) => self.send(ctx, sending),
            ClientEvent::Sent(sending) => self.end_send(ctx, &sending),
            ClientEvent::Copy(shard, receive, request, bytes, then_ns) => {
                self.copy(ctx, shard, &receive, request, &bytes, then_ns);
            }
            ClientEvent::ChangePage(shard, op, request) => {
                self.change_page(ctx, shard, op, request);
            }
            ClientEvent::Unpark(shard, page) => {
                let clock_ns = self.clock_ns(ctx);
                self.shards[shard].unpark(clock_ns, Some(page), &self.device);
                self.pump(ctx, shard);
            }
            ClientEvent::Work => self.work(ctx),
            ClientEvent::Add(mac) => self.add(ctx, mac),
            ClientEvent::Remove(mac, mode) => self.remove(ctx, mac, mode),
            ClientEvent::RemovalStep => self.continue_removal(ctx),
            ClientEvent::Local(event) => self.handle_local(ctx, event),
            ClientEvent::Kick => self.run_cluster(ctx),
            ClientEvent::SetTimers => self.set_timers(ctx),
            ClientEvent::UnloadStep => self.continue_unload(ctx),
            ClientEvent::SetMtu(mtu) => {
                ctx.note(|| format!("client {}: MTU {mtu}", self.number));
                self.mtu = mtu;
                self.mtu_set_ns = ctx.now_ns;
                let clock_ns = self.clock_ns(ctx);
                let mtu = mtu - overhead(&ctx.scenario);
                self.cluster.set_mtu(clock_ns, mtu, &self.device.servers);
                self.run_cluster(ctx);
            }
        }
    }

    /// Carries out a shard's actions.
    fn pump(&mut self, ctx: &mut Context, shard: usize) {
        self.pump_at(ctx, shard, self.clock_ns(ctx));
    }

    /// Carries out a shard's actions. The clock was read at `then_ns`.
    fn pump_at(&mut self, ctx: &mut Context, shard: usize, then_ns: u64) {
        loop {
            let port = &mut self.local.as_mut().map(|local| &mut local.mirror);
            let Some(action) = self.shards[shard].poll(then_ns, port, &self.device) else {
                break;
            };
            match action {
                Action::Seal(seal) => self.seal_later(ctx, shard, seal),
                Action::Send(send) => {
                    self.note_send(shard, send.id.op.index());
                    let delay_ns = ctx.host_delay();
                    let sending = Sending::new(shard, send, then_ns);
                    self.after(ctx, delay_ns, ClientEvent::Send(sending));
                }
                Action::FillBuffer(fill) => self.fill_later(ctx, shard, fill),
                Action::ReadBuffer(read) => self.read_later(ctx, shard, read),
                Action::Complete(completion) if shard == self.repair_shard() => {
                    let wake = self.end_copy(then_ns, &completion);
                    self.unpark_later(ctx, shard, wake);
                }
                Action::Complete(completion) => {
                    self.unpark_later(ctx, shard, completion.wake);
                    self.complete(ctx, shard, completion.op.index(), completion.outcome);
                }
            }
        }
        self.pump_local(ctx);
        if self.shards[shard].take_suspicion() {
            self.run_cluster(ctx);
        }
        let mut due_ns = self.shards[shard].next_timeout_ns();
        if shard == self.repair_shard() {
            due_ns = due_ns.min(self.repair.next_timeout_ns());
        }
        if due_ns < self.shard_timers_ns[shard] {
            self.shard_timers_ns[shard] = due_ns;
            let at_ns = self.clock.when(due_ns).max(ctx.now_ns) + ctx.rng.random_range(0..MS);
            let event = Event::Client(self.number, ClientEvent::ShardTimer(shard));
            ctx.queue.put(at_ns, event);
        }
    }

    /// A page-out has ended. Its shard is notified after a delay, and the others in the worker's next round.
    fn unpark_later(&mut self, ctx: &mut Context, shard: usize, page: Option<PageIndex>) {
        if let Some(page) = page {
            let delay_ns = ctx.host_delay();
            self.after(ctx, delay_ns, ClientEvent::Unpark(shard, page));
            self.run_cluster(ctx);
        }
    }

    /// The slots that it counts as holding a page with contents, and the low bits of the page's version;
    /// `None` while the page is being written.
    pub fn entry(&self, page: u32) -> Option<(SlotSet, u8)> {
        let entry = self.device.map.load(PageIndex(page));
        let mut slots = entry.replicas().intersection(self.device.servers.valid());
        if !entry.is_written() {
            slots = SlotSet::EMPTY;
        }
        (!entry.is_busy()).then_some((slots, entry.generation().0))
    }

    /// The servers that it counts as holding a page; `None` while the page is being written.
    pub fn claims(&self, page: u32, server_of: impl Fn(MacAddress) -> usize) -> Option<Vec<Claim>> {
        let (slots, _) = self.entry(page)?;
        let claim = |slot: ServerSlot| {
            let address = self.device.servers.address(slot);
            Claim {
                server: server_of(address.mac),
                incarnation: address.incarnation,
            }
        };
        Some(slots.iter().map(claim).collect())
    }
}
