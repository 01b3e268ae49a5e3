// SPDX-License-Identifier: GPL-2.0

//! Drives a shard in tests: a clock, a device, and hand-made answers.

use super::super::super::storage::heap::{words, Heap};
use std::boxed::Box;
use std::vec;

use super::super::super::config::Config;
use super::super::super::dirty_chunks::words_for;
use super::super::super::histogram::BUCKETS;
use super::super::super::ids::{PageIndex, ServerSlot, SlotSet, Version};
use super::super::super::mirror::Mirror;
use super::super::super::server_table::Address;
use super::super::super::stale_copy::StaleCopy;
use super::super::super::swap_device::SwapDevice;
use super::super::{Action, Completion, Op, Parts, Receive, Received, Send, Shard};
use crate::crc::crc32c;
use crate::wire::{FragmentMask, Fragmentation, Header, MacAddress, Opcode, Status, PAGE_SIZE};

/// Nanoseconds of a microsecond.
pub const US: u64 = 1000;
/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;

const OPS: usize = 32;
/// Pages of the device.
pub const PAGES: usize = 4096;

/// A shard and its surroundings, on the heap: a kernel stack is small.
pub struct Bench {
    /// The time.
    pub now_ns: u64,
    /// What the shards share.
    pub device: Box<SwapDevice<Heap>>,
    /// The shard.
    pub shard: Box<Shard<Heap>>,
    servers: usize,
}

/// What every page holds.
const BYTE: u8 = 0x5a;

/// Its checksum.
pub fn page_crc() -> u32 {
    crc32c(&[BYTE; PAGE_SIZE])
}

impl Bench {
    /// A device of two replicas with this many servers, whose pages come in one fragment.
    pub fn new(servers: usize) -> Self {
        Self::with_min_copies(servers, 1)
    }

    /// The same, where a page-out needs `min_copies` copies.
    pub fn with_min_copies(servers: usize, min_copies: u32) -> Self {
        let config = Config::new(2, min_copies, 60).unwrap();
        let mut device = Box::new(SwapDevice::new(words(PAGES), config, 1));
        let chunks = || words(words_for(PAGES));
        device.set_dirty_bitmaps(chunks(), chunks());
        let parts = Parts {
            ops: vec![Op::default(); OPS],
            buckets: [vec![0; BUCKETS], vec![0; BUCKETS]],
            stale: vec![StaleCopy::default(); 64],
        };
        let bench = Self {
            now_ns: 1_000_000_000,
            device,
            shard: Box::new(Shard::new(0, parts)),
            servers,
        };
        for number in 0..servers {
            let slot = ServerSlot::new(number).unwrap();
            let address = Address {
                mac: bench.mac(number),
                session: 100 + number as u64,
                incarnation: 200 + number as u64,
            };
            bench
                .device
                .servers
                .open(slot, address, Fragmentation::WHOLE);
            bench.device.servers.announce(slot, 1000, 0);
        }
        bench
    }

    /// The same as [`Bench::new`], but pages are sealed.
    pub fn sealed(servers: usize) -> Self {
        let mut bench = Self::new(servers);
        bench.device.set_sealed();
        bench
    }

    /// The same, and older versions of pages are noticed.
    pub fn with_newest_versions(servers: usize) -> Self {
        let mut bench = Self::sealed(servers);
        let pages = bench.device.map.len();
        bench.device.set_newest_versions(words(pages));
        bench
    }

    /// Number of ops.
    pub fn ops(&self) -> usize {
        OPS
    }

    /// A server's address.
    pub fn mac(&self, number: usize) -> MacAddress {
        MacAddress([2, 0, 0, 0, 0, number as u8])
    }

    /// A server's slot.
    pub fn slot(&self, number: usize) -> ServerSlot {
        ServerSlot::new(number).unwrap()
    }

    /// The slot of the server with this address.
    pub fn slot_of(&self, mac: MacAddress) -> ServerSlot {
        let number = (0..self.servers).find(|&number| self.mac(number) == mac);
        self.slot(number.unwrap())
    }

    /// Enters these servers as the page's holders.
    pub fn write(&mut self, page: PageIndex, servers: &[usize]) -> Version {
        let mut holders = SlotSet::EMPTY;
        for &number in servers {
            holders.insert(self.slot(number));
        }
        let begun = self.device.map.begin_write(page).unwrap();
        let version = self.device.take_version();
        assert!(self.device.enter(0, page, version));
        self.device
            .map
            .finish_write(page, begun, version, holders, false);
        version
    }

    /// Begins a page-in.
    pub fn start_page_in(&mut self, op: usize, page: PageIndex) {
        self.shard
            .start_page_in(self.now_ns, op, page, &self.device)
            .unwrap();
    }

    /// Begins a page-out.
    pub fn start_page_out(&mut self, op: usize, page: PageIndex) {
        self.shard
            .start_page_out(self.now_ns, op, page, None, Some(page_crc()), &self.device)
            .unwrap();
    }

    /// The shard's next action, without a disk.
    pub fn poll(&mut self) -> Option<Action> {
        let none = &mut None::<&mut Mirror<Heap>>;
        self.shard.poll(self.now_ns, none, &self.device)
    }

    /// The shard's next action, with a disk.
    pub fn poll_with(&mut self, mirror: &mut Mirror<Heap>) -> Option<Action> {
        self.shard
            .poll(self.now_ns, &mut Some(mirror), &self.device)
    }

    /// Sends what the shard wants sent.
    pub fn sent(&mut self, send: Send) -> Send {
        self.shard.sent(self.now_ns, send.id, &self.device);
        send
    }

    /// The frames of the shard's next action, which must be to send; they are sent.
    pub fn next_send(&mut self) -> Send {
        match self.poll() {
            Some(Action::Send(send)) => self.sent(send),
            other => panic!("{other:?}"),
        }
    }

    /// The op that ended; this must be the next action.
    pub fn next_completion(&mut self) -> Completion {
        match self.poll() {
            Some(Action::Complete(completion)) => completion,
            other => panic!("{other:?}"),
        }
    }

    /// Drops everything that is to be sent.
    pub fn discard_sends(&mut self) {
        while let Some(action) = self.poll() {
            match action {
                Action::Send(send) => {
                    self.sent(send);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Lets time pass, and calls the timer.
    pub fn advance(&mut self, ns: u64) {
        self.now_ns += ns;
        if self.now_ns >= self.shard.next_timeout_ns() {
            self.shard.handle_timeout(self.now_ns, &self.device);
        }
    }

    /// Lets time pass until something is to be sent; nothing else may happen.
    pub fn wait_for_send(&mut self) -> Send {
        for _ in 0..100_000 {
            if let Some(action) = self.poll() {
                let Action::Send(send) = action else {
                    panic!("{action:?}");
                };
                return self.sent(send);
            }
            self.advance(10 * US);
        }
        panic!("nothing to be sent within a second");
    }

    /// Answers a READ with the page in the newest version of the generation, in as many fragments
    /// as requested.
    pub fn answer_page(&mut self, send: &Send, fragments: &[u8]) {
        self.answer_version(send, self.newest(send), fragments);
    }

    /// The newest version of the requested generation.
    fn newest(&self, send: &Send) -> u64 {
        let newest = self.device.next_version().0 - 1;
        newest - (newest.wrapping_sub(send.header.version) & 0xff)
    }

    /// The same, in this version.
    pub fn answer_version(&mut self, send: &Send, version: u64, fragments: &[u8]) {
        for &index in fragments {
            let count = send.header.fragment_count;
            self.answer_part_of_version(send, version, page_crc(), index, count);
        }
    }

    /// Answers that the server does not hold the page, or holds this older version.
    pub fn answer_missing(&mut self, send: &Send, version: u64) {
        let mut header = send.header.answer(Opcode::ReadReply, Status::Missing);
        header.version = version;
        self.deliver(send.destination, &header);
    }

    /// Answers a READ with one fragment of a page of which only the checksum is known.
    pub fn answer_part_of(&mut self, send: &Send, crc: u32, index: u8, count: u8) {
        self.answer_part_of_version(send, self.newest(send), crc, index, count);
    }

    /// The same, in this version.
    pub fn answer_part_of_version(
        &mut self,
        send: &Send,
        version: u64,
        crc: u32,
        index: u8,
        count: u8,
    ) {
        let header = Self::part_of_version(send, version, crc, index, count);
        self.deliver(send.destination, &header);
    }

    fn part_of_version(send: &Send, version: u64, crc: u32, index: u8, count: u8) -> Header {
        let mut header = Header::new(Opcode::ReadReply);
        header.tag = send.header.tag;
        header.attempt = send.header.attempt;
        header.session = send.header.session;
        header.incarnation = send.header.incarnation;
        header.page = send.header.page;
        header.version = version;
        header.fragment_index = index;
        header.fragment_count = count;
        header.payload_crc = crc;
        header
    }

    /// Answers a READ with the first fragment, and begins to copy it to the page.
    pub fn begin_answer(&mut self, send: &Send) -> Receive {
        let (version, count) = (self.newest(send), send.header.fragment_count);
        let header = Self::part_of_version(send, version, page_crc(), 0, count);
        self.shard
            .handle_frame(self.now_ns, send.destination, &header, &self.device)
            .unwrap()
    }

    fn deliver(&mut self, source: MacAddress, header: &Header) {
        let receive = self
            .shard
            .handle_frame(self.now_ns, source, header, &self.device);
        if let Some(receive) = receive {
            let received = match receive.verify {
                Some(verify) => verify.compare(page_crc(), None),
                None => Received::Copied,
            };
            self.shard
                .received(self.now_ns, &receive, received, &self.device);
        }
    }

    /// Answers a WRITE.
    pub fn acknowledge(&mut self, send: &Send, status: Status) {
        let held = match status {
            Status::Ok => Fragmentation::from_count(send.header.fragment_count),
            _ => None,
        };
        let held = held.map_or(FragmentMask::EMPTY, Fragmentation::all);
        self.acknowledge_part(send, status, held);
    }

    /// Acknowledges a WRITE, and reports which versions the server knows of.
    pub fn acknowledge_high(&mut self, send: &Send, high_water: u64) {
        let held = Fragmentation::from_count(send.header.fragment_count);
        let held = held.map_or(FragmentMask::EMPTY, Fragmentation::all);
        self.answer_write(send, Status::Ok, held, high_water);
    }

    /// Answers a WRITE with the set of fragments held.
    pub fn acknowledge_part(&mut self, send: &Send, status: Status, held: FragmentMask) {
        self.answer_write(send, status, held, 0);
    }

    fn answer_write(&mut self, send: &Send, status: Status, held: FragmentMask, high_water: u64) {
        let mut header = Header::new(Opcode::WriteAck);
        header.status = status;
        header.tag = send.header.tag;
        header.attempt = send.header.attempt;
        header.session = send.header.session;
        header.incarnation = send.header.incarnation;
        header.page = send.header.page;
        header.version = send.header.version;
        header.fragment_count = send.header.fragment_count;
        header.fragment_mask = held;
        header.low_water = high_water;
        self.deliver(send.destination, &header);
    }
}
