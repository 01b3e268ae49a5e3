// SPDX-License-Identifier: GPL-2.0

//! A client: the real engine with the least driver around it. It has no local disk, and what the driver does
//! with delays is done at once.

use anemone::crc::crc32c;
use anemone::engine::client::cluster::{self, Cluster, Peer, Peers};
use anemone::engine::client::config::Config;
use anemone::engine::client::dirty_chunks::{words_for, DirtyChunks};
use anemone::engine::client::frame_filter::Destination;
use anemone::engine::client::histogram::BUCKETS;
use anemone::engine::client::ids::{shard_of_tag, PageIndex, SERVER_SLOTS};
use anemone::engine::client::maintenance::round::{Round, Step};
use anemone::engine::client::mirror::{Buffer, Head, Io, Mirror};
use anemone::engine::client::pages_in_repair::COPIES;
use anemone::engine::client::repair::Repair;
use anemone::engine::client::shard::{
    Action, Op, Outcome, Parts, Receive, Seal, Sealed, Send, SendPayload, Shard,
};
use anemone::engine::client::stale_copy::StaleCopy;
use anemone::engine::client::storage::Storage;
use anemone::engine::client::swap_device::SwapDevice;
use anemone::sync::Atomic;
use anemone::wire::{Ack, ClientId, ClusterName, Frame, Header, MacAddress, PAGE_SIZE};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zerocopy::FromBytes;

use crate::host::Wire;
use crate::mutation::emit;
use crate::sealing::Sealing;
use crate::MS;

/// Pages of the device.
pub const PAGES: usize = 8;
/// Requests under way.
pub const OPS: usize = 4;
/// The shard of programs, and that of repair.
const PROGRAMS: usize = 0;
const REPAIR: usize = 1;
/// The I/O timeout in seconds.
pub const IO_TIMEOUT_S: u32 = 5;
/// The most actions of a shard in a row.
const MOST_ACTIONS: u32 = 10_000;

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

fn words(count: usize) -> Vec<Atomic<u32>> {
    (0..count).map(|_| Atomic::<u32>::new(0)).collect()
}

fn shard(number: usize, ops: usize) -> Shard<Heap> {
    let parts = Parts {
        ops: vec![Op::default(); ops],
        buckets: [vec![0; BUCKETS], vec![0; BUCKETS]],
        stale: vec![StaleCopy::default(); 16],
    };
    // CAST: 0 or 1.
    Shard::new(number as u16, parts)
}

struct Dice(StdRng);

impl cluster::Random for Dice {
    fn number(&mut self) -> u64 {
        self.0.random()
    }
}

/// Frames that the client sends.
struct Outgoing {
    source: MacAddress,
    wires: Vec<Wire>,
}

impl cluster::Outbox for Outgoing {
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]) {
        let (source, bytes) = (self.source, emit(header, payload));
        self.wires.push(Wire {
            source,
            destination,
            bytes,
        });
    }
}

/// A request that has ended.
#[derive(Debug)]
pub struct Ended {
    pub op: usize,
    pub outcome: Outcome,
    pub bytes: Box<[u8; PAGE_SIZE]>,
}

type Memory = Box<[u8; PAGE_SIZE]>;

/// A client and its network interface.
pub struct Client {
    mac: MacAddress,
    device: SwapDevice<Heap>,
    shards: [Shard<Heap>; 2],
    cluster: Cluster<Heap, Dice>,
    chunks: DirtyChunks<Vec<Atomic<u32>>>,
    repair: Repair<Heap>,
    round: Round,
    /// The pages of ops in use, by shard.
    memory: [Vec<Option<Memory>>; 2],
    /// Those that are sent, if they are sealed.
    sealed: [Vec<Memory>; 2],
    sealing: Sealing,
    inbox: Vec<Wire>,
    out: Outgoing,
    pub ended: Vec<Ended>,
}

impl Client {
    /// A client of these servers, which seals its pages or not.
    pub fn new(
        mac: MacAddress,
        mtu: usize,
        servers: &[MacAddress],
        seals: bool,
        now_ns: u64,
    ) -> Self {
        let config = Config::new(2, 1, IO_TIMEOUT_S).expect("the values are in their ranges");
        let chunk_words = || words(words_for(PAGES));
        let mut device = SwapDevice::new(words(PAGES), config, 1);
        device.set_dirty_bitmaps(chunk_words(), chunk_words());
        device.set_repair_pages_per_s(1000);
        let mut sealing = Sealing::default();
        if seals {
            device.set_sealed();
            sealing.add_key();
        }
        let peers = Peers::new(vec![Peer::default(); SERVER_SLOTS]).expect("one for each slot");
        let dice = Dice(StdRng::seed_from_u64(1));
        let (id, name) = (ClientId([1; 16]), ClusterName::default());
        let mut cluster = Cluster::new(id, name, dice, mtu, peers);
        cluster.set_loss_timeout_ns(2000 * MS);
        for &server in servers {
            cluster
                .add(now_ns, server, &device.servers)
                .expect("there are slots");
        }
        let page = || Box::new([0; PAGE_SIZE]);
        Self {
            mac,
            device,
            shards: [shard(PROGRAMS, OPS), shard(REPAIR, COPIES)],
            cluster,
            chunks: DirtyChunks::new(chunk_words()),
            repair: Repair::new([(); 4].map(|()| chunk_words())),
            round: Round::new(2),
            memory: [vec![None; OPS], vec![Some(page()); COPIES]],
            sealed: [vec![page(); OPS], vec![page(); COPIES]],
            sealing,
            inbox: Vec::new(),
            out: Outgoing {
                source: mac,
                wires: Vec::new(),
            },
            ended: Vec::new(),
        }
    }

    /// Number of servers that can be used.
    pub fn usable(&self) -> usize {
        self.device.servers.usable().len()
    }

    /// Number of requests under way.
    pub fn under_way(&self) -> usize {
        self.memory[PROGRAMS].iter().flatten().count()
    }

    /// An op that is not in use.
    pub fn free_op(&self) -> Option<usize> {
        self.memory[PROGRAMS].iter().position(Option::is_none)
    }

    /// Frames to be sent.
    pub fn take_frames(&mut self) -> Vec<Wire> {
        std::mem::take(&mut self.out.wires)
    }

    /// Begins a page-out.
    pub fn page_out(
        &mut self,
        now_ns: u64,
        op: usize,
        page: u32,
        fill: Option<u64>,
        bytes: Memory,
    ) {
        let crc = match fill {
            Some(value) => Some(crc32c(&value.to_be_bytes())),
            None => (!self.device.seals()).then(|| crc32c(&bytes[..])),
        };
        self.memory[PROGRAMS][op] = Some(bytes);
        let shard = &mut self.shards[PROGRAMS];
        shard
            .start_page_out(now_ns, op, PageIndex(page), fill, crc, &self.device)
            .expect("the op is free");
        self.pump(now_ns, PROGRAMS);
    }

    /// Begins a page-in.
    pub fn page_in(&mut self, now_ns: u64, op: usize, page: u32) {
        // The page's old contents must not be read.
        self.memory[PROGRAMS][op] = Some(Box::new([0xee; PAGE_SIZE]));
        self.shards[PROGRAMS]
            .start_page_in(now_ns, op, PageIndex(page), &self.device)
            .expect("the op is free");
        self.pump(now_ns, PROGRAMS);
    }

    /// A page is no longer needed.
    pub fn discard(&mut self, page: u32) {
        let _ = self.device.note_free(PageIndex(page), &self.chunks);
    }

    /// A frame is received.
    pub fn deliver(&mut self, now_ns: u64, wire: &Wire) {
        let is_ours = wire.destination == self.mac || wire.destination == MacAddress::BROADCAST;
        let Some(frame) = Frame::parse(&wire.bytes).ok().filter(|_| is_ours) else {
            return;
        };
        let header = frame.header;
        match Destination::of(&header) {
            Destination::Shard => self.deliver_to_shard(now_ns, wire.source, &frame),
            Destination::Shards => {
                let acks = <[Ack]>::ref_from_bytes(frame.payload).unwrap_or_default();
                for header in acks.iter().filter_map(|ack| ack.header(&header)) {
                    let payload = &[];
                    self.deliver_to_shard(now_ns, wire.source, &Frame { header, payload });
                }
            }
            Destination::Cluster | Destination::Everyone => {
                if self.device.frame_filter.concerns_us(wire.source, &header) {
                    self.inbox.push(wire.clone());
                }
            }
        }
    }

    fn deliver_to_shard(&mut self, now_ns: u64, source: MacAddress, frame: &Frame<'_>) {
        let (header, number) = (&frame.header, shard_of_tag(frame.header.tag));
        let is_ours = self.device.frame_filter.concerns_us(source, header);
        let Some(shard) = self.shards.get_mut(number).filter(|_| is_ours) else {
            return;
        };
        let receive = shard.handle_frame(now_ns, source, header, &self.device);
        if let Some(receive) = receive {
            self.copy(now_ns, number, &receive, frame.payload);
        }
        self.pump(now_ns, number);
    }

    /// Copies a fragment into its request's page, and opens the page when it is complete.
    fn copy(&mut self, now_ns: u64, shard: usize, receive: &Receive, bytes: &[u8]) {
        let page = self.memory[shard][receive.id.op.index()]
            .as_mut()
            .expect("a claim is on an op in use");
        let received = match receive.filled {
            true => self.sealing.verify(receive, &mut bytes.to_vec()),
            false => {
                let from = usize::from(receive.offset);
                page[from..from + usize::from(receive.len)].copy_from_slice(bytes);
                self.sealing.verify(receive, &mut page[..])
            }
        };
        self.shards[shard].received(now_ns, receive, received, &self.device);
    }

    /// Seals an op's page.
    fn seal(&mut self, now_ns: u64, shard: usize, seal: &Seal) {
        let op = seal.op.index();
        let page = self.memory[shard][op]
            .as_ref()
            .expect("a page is sealed for an op in use");
        let crc = seal.wants_crc.then(|| crc32c(&page[..]));
        let mut value = seal.fill.unwrap_or(0).to_be_bytes();
        let sum = match seal.fill {
            Some(_) => self.sealing.seal(seal, &mut value),
            None => {
                self.sealed[shard][op].clone_from(page);
                self.sealing.seal(seal, &mut self.sealed[shard][op][..])
            }
        };
        let fill = u64::from_be_bytes(value);
        let sealed = Some(Sealed { sum, fill, crc });
        self.shards[shard].sealed(now_ns, seal, sealed, &self.device);
    }

    /// Carries out a shard's actions.
    fn pump(&mut self, now_ns: u64, number: usize) {
        let mut actions = 0;
        loop {
            let none = &mut None::<&mut Mirror<Heap>>;
            let Some(action) = self.shards[number].poll(now_ns, none, &self.device) else {
                break;
            };
            actions += 1;
            assert!(
                actions < MOST_ACTIONS,
                "a shard goes on for ever: {action:?}"
            );
            match action {
                Action::Seal(seal) => self.seal(now_ns, number, &seal),
                Action::Send(send) => self.send(now_ns, number, &send),
                Action::Complete(completion) => {
                    let mut wake = completion.wake;
                    if number == REPAIR {
                        let (repair, device) = (&mut self.repair, &self.device);
                        let shard = &mut self.shards[REPAIR];
                        wake = repair.completed(now_ns, &completion, shard, device);
                    } else {
                        let op = completion.op.index();
                        let bytes = self.memory[number][op].take();
                        self.ended.push(Ended {
                            op,
                            outcome: completion.outcome,
                            bytes: bytes.expect("an op ends once"),
                        });
                    }
                    for shard in self.shards.iter_mut().filter(|_| wake.is_some()) {
                        shard.unpark(now_ns, wake, &self.device);
                    }
                }
                Action::FillBuffer(_) | Action::ReadBuffer(_) => panic!("there is no disk"),
            }
        }
        let _ = self.shards[number].take_suspicion();
    }

    fn send(&mut self, now_ns: u64, shard: usize, send: &Send) {
        use cluster::Outbox;

        let op = send.id.op.index();
        let page = self.memory[shard][op]
            .as_ref()
            .expect("frames are sent for an op in use");
        let page = match self.device.seals() {
            true => &self.sealed[shard][op],
            false => page,
        };
        let mut header = send.header;
        match send.payload {
            SendPayload::Nothing => self.out.send(send.destination, &header, &[]),
            SendPayload::Fill(value) => {
                self.out
                    .send(send.destination, &header, &value.to_be_bytes());
            }
            SendPayload::Page { fragments, cut, .. } => {
                for index in fragments.iter() {
                    let (offset, len) = cut.span(index).expect("the cut has the fragment");
                    let (from, to) = (usize::from(offset), usize::from(offset + len));
                    header.fragment_index = index;
                    self.out.send(send.destination, &header, &page[from..to]);
                }
            }
        }
        self.shards[shard].sent(now_ns, send.id, &self.device);
    }

    /// Timers run, then the worker: a whole round.
    pub fn work(&mut self, now_ns: u64) {
        for number in [PROGRAMS, REPAIR] {
            self.shards[number].handle_timeout(now_ns, &self.device);
            if number == REPAIR {
                let (repair, device) = (&mut self.repair, &self.device);
                repair.handle_timeout(now_ns, &mut self.shards[REPAIR], device);
            }
            self.pump(now_ns, number);
        }
        self.round.begin(&self.device);
        loop {
            match self.round.next_step() {
                Step::TakeKey => {
                    let jumps = self.device.versions().jumps();
                    self.sealing.add_key();
                    self.device.begin_key(jumps);
                }
                Step::Allocate(count) => self.device.versions().give_room(words(count)),
                Step::Inspect(number) | Step::Notify(number) => {
                    let shard = &mut self.shards[number];
                    self.round.with_shard(now_ns, shard, &self.device);
                    self.pump(now_ns, number);
                }
                Step::Cluster(most) => self.round_with_cluster(now_ns, most),
                Step::Report => self.round.report(now_ns, &self.device, |_| ()),
                Step::Repair => {
                    let (repair, device) = (&mut self.repair, &self.device);
                    let shard = &mut self.shards[REPAIR];
                    self.round.with_repair(now_ns, repair, shard, device);
                    self.pump(now_ns, REPAIR);
                }
                // No server is removed.
                Step::Drain => {}
                Step::Sweep => self.round.sweep(&self.device, 5),
                Step::Done => break,
            }
        }
        self.device.frame_filter.publish(self.cluster.stations());
    }

    fn round_with_cluster(&mut self, now_ns: u64, most: usize) {
        let frames = most.min(self.inbox.len());
        for wire in self.inbox.drain(..frames) {
            let frame = Frame::parse(&wire.bytes).expect("it was parsed before");
            let servers = &self.device.servers;
            self.cluster
                .handle_frame(now_ns, wire.source, &frame, servers, &mut self.out);
        }
        let (cluster, device) = (&mut self.cluster, &self.device);
        self.round
            .with_cluster(now_ns, cluster, &mut self.out, device, &self.chunks);
        self.device.frame_filter.publish(self.cluster.stations());
    }
}
