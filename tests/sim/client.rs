// SPDX-License-Identifier: GPL-2.0

//! A client: the real engine, and around it what the kernel's driver does, with all the delays
//! that locks, preemption and interrupts bring.

mod local;
mod removing;
mod repairing;
mod requests;
mod sending;
mod worker;

use std::collections::{BTreeMap, VecDeque};

use anemone::crc::crc32c;
use anemone::engine::client::cluster::{self, Cluster, Peer};
use anemone::engine::client::config::Config;
use anemone::engine::client::device::Device;
use anemone::engine::client::free::{words_for, DirtyChunks, StaleCopy};
use anemone::engine::client::histogram::BUCKETS;
use anemone::engine::client::ids::{PageIndex, ServerSlot, SlotSet, SERVER_SLOTS};
use anemone::engine::client::maintenance::removal::How;
use anemone::engine::client::mirror::{Buffer, Head, Io};
use anemone::engine::client::repair::Repair;
use anemone::engine::client::shard::{Action, Op, Parts, Receive, Shard, Verdict};
use anemone::engine::client::storage::Storage;
use anemone::sync::Atomic;
use anemone::wire::{Ack, ClientId, ClusterName, Flags, Frame, Header, MacAddress, Opcode};
use rand::Rng;
use zerocopy::FromBytes;

use crate::clock::Clock;
use crate::context::Context;
use crate::event::{Event, Wire};
use crate::faults::Fault;
use crate::network::show;
use crate::oracle::{Claim, RequestId};
use crate::random::SplitMix;
use crate::scenario::{MS, S};
use local::Local;
pub use local::LocalEvent;
use removing::Removing;
pub use requests::Done;
use requests::Request;
use sending::Sending;
use worker::Job;

/// Frames that wait for a client that stands still, before its card drops them.
const BACKLOG: usize = 64;

/// Something that happens inside a client.
#[derive(Debug)]
pub enum ClientEvent {
    /// Programs want something.
    Load,
    /// Programs end, and with them most of what they had.
    DiscardMost,
    /// A shard's timer is due.
    ShardTimer(usize),
    /// The cluster's timer is due.
    ClusterTimer,
    /// Frames are sent now that a shard asked for earlier.
    Send(Sending),
    /// A shard hears that they have been.
    Sent(Sending),
    /// A fragment is copied now that was received earlier, at that time.
    Copy(usize, Receive, RequestId, Vec<u8>, u64),
    /// The worker looks at a control frame.
    Control(Wire),
    /// A program changes the page of a request.
    ChangePage(usize, usize, RequestId),
    /// A shard hears that a page-out has ended.
    Unpark(usize, PageIndex),
    /// The worker does its next job.
    Work,
    /// The worker looks for something to do.
    Patrol,
    /// A server is added.
    Add(MacAddress),
    /// A server is to be removed.
    Remove(MacAddress, How),
    /// The next step for a server that quiesces.
    RemovalStep,
    /// The interface's MTU is another.
    SetMtu(usize),
    /// Something about the local disk.
    Local(LocalEvent),
    /// The interface has gone down or up.
    Kick,
    /// The clock is not what timers were set by.
    SetTimers,
}

/// The engine's memory: `Vec`s.
pub struct Heap;

impl Storage for Heap {
    type Words = AtomicWords;
    type Buffers = Vec<Buffer>;
    type Heads = Vec<Head>;
    type Ios = Vec<Io>;
    type Ops = Vec<Op>;
    type Buckets = Vec<u32>;
    type Stale = Vec<StaleCopy>;
}

type AtomicWords = Vec<Atomic<u32>>;

fn words(count: usize) -> AtomicWords {
    (0..count).map(|_| Atomic::<u32>::new(0)).collect()
}

/// Where the cluster's frames go.
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
    /// The number of its first life: what servers know it by.
    pub identity: usize,
    /// Its power is gone: nothing of it happens any more.
    pub is_dead: bool,
    pub mac: MacAddress,
    pub device: Device<Heap>,
    shards: Vec<Shard<Heap>>,
    cluster: Cluster<Vec<Peer>, SplitMix>,
    chunks: DirtyChunks<AtomicWords>,
    repair: Repair<Heap>,
    /// Whether repair has changed who holds what since the oracle last looked.
    pub has_repaired: bool,
    /// What each op of each shard is used for.
    requests: Vec<Vec<Option<Request>>>,
    /// Requests that have ended and that the oracle has not seen.
    pub done: Vec<Done>,
    /// Page-ins and page-outs that ended, each without and with an error.
    ended: [[u64; 2]; 2],
    next_write: u32,
    shard_timers_ns: Vec<u64>,
    cluster_timer_ns: u64,
    jobs: VecDeque<Job>,
    is_working: bool,
    /// Copies to be freed for which the cluster has no room yet.
    held_back: VecDeque<StaleCopy>,
    /// Frees that the cluster has been handed, and not had time for yet.
    frees_noted: Option<u32>,
    mtu: usize,
    clock: Clock,
    /// It stands still until then.
    pub frozen_until_ns: u64,
    /// Frames that wait for its end.
    pub backlog: usize,
    /// It is suspended until then: no frame waits for it.
    pub asleep_until_ns: u64,
    /// When its MTU was last changed, or its interface went up.
    pub mtu_set_ns: u64,
    /// Whether its interface is up.
    pub is_up: bool,
    /// When servers were added.
    pub added_ns: BTreeMap<MacAddress, u64>,
    /// Whether programs want anything more.
    pub is_loaded: bool,
    /// Whether its device has gone away: only what is with its disk goes on.
    is_unloaded: bool,
    pub local: Option<Local>,
    pub removing: Removing,
}

impl Client {
    /// A client without servers, in its first life.
    pub fn new(number: usize, ctx: &mut Context) -> Self {
        Self::with_identity(number, number, ctx)
    }

    /// A client without servers, in the life of this number of the client `identity`.
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
        // The last one is repair's.
        let mut all: Vec<Shard<Heap>> = (0..shards).map(&shard).collect();
        all.push(repairing::shard(shards));
        let chunk_words = || words(words_for(pages));
        let mut device = Device::new(words(pages), config, shards as u32);
        device.set_dirty_bitmaps(chunk_words(), chunk_words());
        device.set_repair_pages_per_s(scenario.repair_pages_per_s);
        let mut requests: Vec<Vec<Option<Request>>> = (0..shards)
            .map(|_| (0..ops).map(|_| None).collect())
            .collect();
        requests.push(repairing::pages());
        let mut cluster = Cluster::new(
            ClientId([identity as u8 + 1; 16]),
            ClusterName::default(),
            SplitMix(ctx.rng.random()),
            mtu,
            vec![Peer::default(); SERVER_SLOTS],
        );
        cluster.set_loss_timeout_ns(scenario.loss_timeout_s * S);
        Self {
            number,
            identity,
            is_dead: false,
            mac: MacAddress([2, 0, 0, 0, 2, identity as u8]),
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
            cluster_timer_ns: u64::MAX,
            jobs: VecDeque::new(),
            is_working: false,
            held_back: VecDeque::new(),
            frees_noted: None,
            mtu,
            clock: Clock::new(ctx.drift()),
            frozen_until_ns: 0,
            backlog: 0,
            asleep_until_ns: 0,
            mtu_set_ns: ctx.now_ns,
            is_up: true,
            added_ns: BTreeMap::new(),
            is_loaded: true,
            is_unloaded: false,
            local: Local::new(ctx),
            removing: Removing::default(),
        }
    }

    /// Puts an event of its own in.
    fn after(&self, ctx: &mut Context, delay_ns: u64, event: ClientEvent) {
        ctx.after(delay_ns, Event::Client(self.number, event));
    }

    /// What its clock says.
    fn clock_ns(&self, ctx: &Context) -> u64 {
        self.clock.read(ctx.now_ns)
    }

    /// Its clock is ahead by so much more from now on.
    pub fn step_clock(&mut self, ctx: &mut Context, by_ns: u64) {
        self.clock.step(ctx.now_ns, by_ns);
        // A timer's interrupt may come a little later than other things.
        let delay_ns = ctx.draw_clock(2 * MS);
        self.after(ctx, delay_ns, ClientEvent::SetTimers);
    }

    /// It is suspended until then, and its clock stands still.
    pub fn suspend(&mut self, ctx: &mut Context, until_ns: u64) {
        self.clock.stand_still(ctx.now_ns, until_ns);
        self.asleep_until_ns = self.asleep_until_ns.max(until_ns);
        let event = Event::Client(self.number, ClientEvent::SetTimers);
        ctx.queue.put(until_ns, event);
    }

    /// Sets all timers anew, by what the clock says now.
    fn set_timers(&mut self, ctx: &mut Context) {
        for shard in 0..self.shards.len() {
            self.shard_timers_ns[shard] = u64::MAX;
            self.pump(ctx, shard);
        }
        self.cluster_timer_ns = u64::MAX;
        self.run_cluster(ctx);
        if let Some(mut local) = self.local.take() {
            local.set_timer(self, ctx);
            self.local = Some(local);
        }
    }

    /// Something happens inside.
    pub fn handle(&mut self, ctx: &mut Context, event: ClientEvent) {
        let is_workers = matches!(
            event,
            ClientEvent::ClusterTimer
                | ClientEvent::Control(_)
                | ClientEvent::Patrol
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
                    self.drive_repair(ctx, None);
                }
                self.pump(ctx, shard);
            }
            ClientEvent::ClusterTimer => {
                if self.clock_ns(ctx) >= self.cluster_timer_ns {
                    self.cluster_timer_ns = u64::MAX;
                }
                self.run_cluster(ctx);
            }
            ClientEvent::Send(sending) => self.send(ctx, sending),
            ClientEvent::Sent(sending) => self.end_send(ctx, &sending),
            ClientEvent::Copy(shard, receive, request, bytes, then_ns) => {
                self.copy(ctx, shard, &receive, request, &bytes, then_ns);
            }
            ClientEvent::Control(wire) => self.control(ctx, &wire),
            ClientEvent::ChangePage(shard, op, request) => {
                self.change_page(ctx, shard, op, request);
            }
            ClientEvent::Unpark(shard, page) => {
                let clock_ns = self.clock_ns(ctx);
                self.shards[shard].unpark(clock_ns, Some(page), &self.device);
                self.pump(ctx, shard);
            }
            ClientEvent::Work => self.work(ctx),
            ClientEvent::Patrol => self.patrol(ctx),
            ClientEvent::Add(mac) => self.add(ctx, mac),
            ClientEvent::Remove(mac, how) => self.remove(ctx, mac, how),
            ClientEvent::RemovalStep => self.advance_removal(ctx),
            ClientEvent::Local(event) => self.handle_local(ctx, event),
            ClientEvent::Kick => self.run_cluster(ctx),
            ClientEvent::SetTimers => self.set_timers(ctx),
            ClientEvent::SetMtu(mtu) => {
                ctx.note(|| format!("client {}: MTU {mtu}", self.number));
                self.mtu = mtu;
                self.mtu_set_ns = ctx.now_ns;
                let clock_ns = self.clock_ns(ctx);
                self.cluster.set_mtu(clock_ns, mtu, &self.device.servers);
                self.run_cluster(ctx);
            }
        }
    }

    /// Whether its card takes another frame while it stands still.
    pub fn takes_backlog(&mut self, now_ns: u64) -> bool {
        self.backlog += 1;
        self.backlog <= BACKLOG && now_ns >= self.asleep_until_ns
    }

    /// A frame comes in.
    pub fn deliver(&mut self, ctx: &mut Context, wire: &Wire) {
        let ours = wire.destination == self.mac || wire.destination == MacAddress::BROADCAST;
        if !ours || wire.bytes.len() > self.mtu || self.is_unloaded {
            return;
        }
        if !self.is_up {
            ctx.counts.fault(Fault::FrameInterfaceDown);
            return;
        }
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return;
        };
        ctx.note(|| format!("client {} gets {}", self.number, show(wire)));
        let header = frame.header;
        let shard = Shard::<Heap>::number_of_tag(header.tag);
        match header.opcode {
            Opcode::WriteAck | Opcode::ReadReply if shard < self.shards.len() => {
                self.deliver_to_shard(ctx, shard, wire.source, &frame);
            }
            Opcode::WriteAcks => {
                let acks = <[Ack]>::ref_from_bytes(frame.payload).unwrap_or_default();
                for header in acks.iter().filter_map(|ack| ack.header(&header)) {
                    let shard = Shard::<Heap>::number_of_tag(header.tag);
                    if shard < self.shards.len() {
                        let payload = &[];
                        let ack = Frame { header, payload };
                        self.deliver_to_shard(ctx, shard, wire.source, &ack);
                    }
                }
            }
            _ => {
                let delay_ns = ctx.host_delay();
                self.after(ctx, delay_ns, ClientEvent::Control(wire.clone()));
            }
        }
    }

    fn control(&mut self, ctx: &mut Context, wire: &Wire) {
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return;
        };
        if !self.device.stations.concerns_us(wire.source, &frame.header) {
            self.run_cluster(ctx);
            return;
        }
        let mut frames = self.frames();
        self.cluster.handle_frame(
            self.clock.read(ctx.now_ns),
            wire.source,
            &frame,
            &self.device.servers,
            &mut frames,
        );
        self.transmit_all(ctx, frames);
        self.run_cluster(ctx);
    }

    fn deliver_to_shard(
        &mut self,
        ctx: &mut Context,
        shard: usize,
        source: MacAddress,
        frame: &Frame<'_>,
    ) {
        let header = &frame.header;
        self.note_answer(shard, header.tag);
        if !self.device.stations.concerns_us(source, header) {
            self.pump(ctx, shard);
            return;
        }
        let mut fill = None;
        if header.opcode == Opcode::ReadReply
            && header.flags.contains(Flags::SAME_FILLED)
            && crc32c(frame.payload) == header.payload_crc
        {
            fill = frame.payload.try_into().ok().map(u64::from_be_bytes);
        }
        let clock_ns = self.clock_ns(ctx);
        let verdict = self.shards[shard].handle_frame(clock_ns, source, header, fill, &self.device);
        if let Verdict::Receive(receive) = verdict {
            let request = self.requests[shard][receive.op].as_ref().map(|r| r.id);
            let Some(id) = request else {
                ctx.oracle
                    .fail(|| format!("a claim on op {} that is nobody's", receive.op));
                return;
            };
            // As a rule the copy is made before the next frame is looked at.
            if !ctx.scenario.enabled.slow_copy || ctx.rng.random_bool(0.8) {
                self.copy(ctx, shard, &receive, id, frame.payload, clock_ns);
                return;
            }
            let delay_ns = ctx.host_delay();
            let bytes = frame.payload.to_vec();
            let event = ClientEvent::Copy(shard, receive, id, bytes, clock_ns);
            self.after(ctx, delay_ns, event);
        }
        self.pump(ctx, shard);
    }

    /// Copies a fragment into its request's page. The clock was read when it was received.
    fn copy(
        &mut self,
        ctx: &mut Context,
        shard: usize,
        receive: &Receive,
        id: RequestId,
        bytes: &[u8],
        then_ns: u64,
    ) {
        let request = self.requests[shard][receive.op].as_mut();
        let Some(request) = request.filter(|request| request.id == id) else {
            ctx.oracle
                .fail(|| format!("request {id} ended while its page was copied to"));
            return;
        };
        let from = usize::from(receive.offset);
        let to = from + usize::from(receive.len);
        let copied = !(ctx.scenario.enabled.send_failure && ctx.rng.random_bool(0.02));
        if !copied {
            ctx.counts.fault(Fault::CopyFailed);
        } else if let (Some(place), true) = (
            request.bytes.get_mut(from..to),
            bytes.len() == usize::from(receive.len),
        ) {
            place.copy_from_slice(bytes);
        } else {
            ctx.oracle.fail(|| format!("{receive:?} does not fit"));
        }
        let crc = receive.completes.then(|| crc32c(&request.bytes[..]));
        self.shards[shard].received(then_ns, receive, copied, crc, &self.device);
        self.pump_at(ctx, shard, then_ns);
    }

    /// Does what a shard wants done.
    fn pump(&mut self, ctx: &mut Context, shard: usize) {
        self.pump_at(ctx, shard, self.clock_ns(ctx));
    }

    /// Does what a shard wants done. The clock was read at `then_ns`.
    fn pump_at(&mut self, ctx: &mut Context, shard: usize, then_ns: u64) {
        while let Some(action) = self.shards[shard].poll(then_ns, &self.device) {
            match action {
                Action::Send(id) => {
                    let Some(send) = self.shards[shard].describe(id, &self.device) else {
                        ctx.oracle.fail(|| format!("nothing to send for {id:?}"));
                        continue;
                    };
                    self.note_send(shard, send.id.op);
                    let delay_ns = ctx.host_delay();
                    let sending = Sending::new(shard, send, then_ns);
                    self.after(ctx, delay_ns, ClientEvent::Send(sending));
                }
                Action::Disk(work) => self.disk_work(ctx, shard, work),
                Action::Complete(completion) if shard == self.repair_shard() => {
                    let wake = self.end_copy(then_ns, &completion);
                    self.unpark_later(ctx, wake);
                }
                Action::Complete(completion) => {
                    self.unpark_later(ctx, completion.wake);
                    self.complete(ctx, shard, completion.op, completion.outcome);
                }
            }
        }
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

    /// Shards hear after a while that a page-out has ended.
    fn unpark_later(&mut self, ctx: &mut Context, page: Option<PageIndex>) {
        let Some(page) = page else {
            return;
        };
        for other in 0..self.shards.len() {
            let delay_ns = ctx.host_delay();
            self.after(ctx, delay_ns, ClientEvent::Unpark(other, page));
        }
    }

    /// Whom it counts as holding a page that has contents, and the low bits of its version;
    /// `None` while the page is written.
    pub fn entry(&self, page: u32) -> Option<(SlotSet, u8)> {
        let entry = self.device.map.load(PageIndex(page));
        let mut slots = entry.replicas().intersection(self.device.servers.valid());
        if !entry.is_written() {
            slots = SlotSet::EMPTY;
        }
        (!entry.is_busy()).then_some((slots, entry.generation().0))
    }

    /// Whom it counts as holding a page; `None` while the page is written.
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
