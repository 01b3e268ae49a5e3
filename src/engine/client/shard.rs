// SPDX-License-Identifier: GPL-2.0

//! The data path of one hardware queue: its page-outs, its page-ins, and their transfers.
//!
//! A device has one shard for each hardware queue, each under its own lock. Shards share only the
//! [`SwapDevice`]. The caller holds the lock while it calls a method here, and releases it before it
//! carries out what [`Shard::poll`] returns. Work outside the lock pins its op: an op ends only
//! when nothing of it is being sent or copied.
//!
//! An op is one page of one request. A transfer is one server's part in it. Ops in use are in the
//! active list. Transfers to be sent are in the ready list, or wait in their server's list for room
//! in its window.

mod active_ops;
mod answer_match;
mod assembly;
mod completion;
mod damage;
mod disk_page_in;
mod disk_page_out;
mod disk_part;
mod disk_wait_list;
mod disk_work;
mod fail_at_once;
mod hedge;
mod implausible_answer;
mod io_timeout;
mod list;
mod mirror_report;
mod miss;
mod no_room;
mod op;
mod ops;
mod page_in;
mod page_in_source;
mod page_out;
mod page_out_end;
mod page_out_restart;
mod path;
mod placement;
mod read_reply;
mod refragment;
mod repair_op;
mod resend;
mod round_trip;
mod seal;
mod send;
mod server_change;
mod suspicion;
mod transfer;
mod transfer_timeout;
mod waiting;
mod write_ack;

use super::counters::Counters;
use super::disk_port::DiskPort;
use super::histogram::Histogram;
use super::ids::{shard_of_tag, BySlot, PageIndex, ServerSlot, SlotSet, Version, SERVER_SLOTS};
use super::page_keys::KeyNumber;
use super::ring::Ring;
use super::stale_copy::StaleCopy;
use super::stopped_client::TIMER_LATE_NS;
use super::storage::Storage;
use super::swap_device::SwapDevice;
use crate::wire::{Header, MacAddress, Opcode, PageSum};

use active_ops::ActiveOps;
pub use disk_page_in::BufferRead;
pub use disk_page_out::BufferFill;
use disk_wait_list::DiskWaitList;
use hedge::HedgeBudget;
use list::List;
use mirror_report::WriteOutcome;
use op::{Kind, Stage};
pub use op::{Op, Outcome};
use ops::Ops;
pub use ops::{OpId, TransferId};
use path::Path;
pub use repair_op::CopyOut;
pub use seal::{Seal, Sealed};
pub use send::{Send, SendPayload};

/// What is to be done without the shard's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Seal an op's page; then call [`Shard::sealed`].
    Seal(Seal),
    /// Send these frames; then call [`Shard::sent`].
    Send(Send),
    /// Complete the request for the page; the op is free again.
    Complete(Completion),
    /// Copy an op's page to a buffer of the mirror; then call [`Shard::buffer_filled`].
    FillBuffer(BufferFill),
    /// Copy a buffer of the mirror to an op's page; then call [`Shard::buffer_read`].
    ReadBuffer(BufferRead),
}

/// An op that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The op.
    pub op: OpId,
    /// How it ended.
    pub outcome: Outcome,
    /// Requests wait for this page: notify every shard ([`Shard::unpark`]).
    pub wake: Option<PageIndex>,
}

/// A claim to write a frame's payload into an op's page. The op does not end while the claim lasts, which is
/// until [`Shard::received`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// The transfer that the fragment answers.
    pub id: TransferId,
    index: u8,
    /// The attempt that the fragment answers.
    attempt: u32,
    /// Offset in the page, in bytes.
    pub offset: u16,
    /// Length in bytes.
    pub len: u16,
    /// Whether the page is same-filled: the bytes are its value, and are not copied to the page.
    pub filled: bool,
    /// How the page is verified, if it is complete then.
    pub verify: Option<Verify>,
}

/// How a page that is complete is verified: if pages are sealed, it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    /// The page.
    pub page: PageIndex,
    /// The version under which it was sealed.
    pub version: Version,
    /// The key with which it was.
    pub key: KeyNumber,
    /// What its bytes must agree with.
    pub sum: PageSum,
    /// Whether the checksum of the opened page is needed: repair sends the page on.
    pub wants_crc: bool,
}

impl Verify {
    /// What the page is, if pages are not sealed and its checksum is `crc`. `fill`: the value that fills it,
    /// if it is same-filled.
    #[inline]
    pub fn compare(&self, crc: u32, fill: Option<u64>) -> Received {
        match crc == self.sum.crc {
            true => Received::Whole {
                crc: Some(crc),
                fill,
            },
            false => Received::Wrong,
        }
    }
}

/// What came of a [`Receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The fragment could not be copied.
    Lost,
    /// It has been copied, and does not complete the page.
    Copied,
    /// The page is complete and not what it should be.
    Wrong,
    /// The page is complete, and right.
    Whole {
        /// Its checksum; of a same-filled page, that of its 8 bytes. If pages are sealed, only if wanted.
        crc: Option<u32>,
        /// The value that fills it, if it is same-filled.
        fill: Option<u64>,
    },
}

/// The op asked for is in use, or does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpInUse;

/// The data path of one hardware queue.
pub struct Shard<S: Storage> {
    /// Its number, which is the high half of its tags.
    number: u16,
    ops: Ops<S>,
    paths: BySlot<Path>,
    ready: List<TransferId>,
    ended: List<OpId>,
    /// Ops for which the mirror is to be called.
    disk_work: List<OpId>,
    /// Ops that wait for room in the mirror, by direction.
    wait_lists: [DiskWaitList; 2],
    /// What to report to the mirror about the op that ended last.
    write_outcome: Option<WriteOutcome>,
    active: ActiveOps,
    next_deadline_ns: u64,
    /// Breaks ties between equal servers.
    rotation: u32,
    /// Servers that were usable at the last notification of a change, without those suspected here
    /// since.
    usable: SlotSet,
    /// Servers that have no room and check whether a client that holds some is alive.
    checking: SlotSet,
    suspicion: bool,
    hedges: HedgeBudget,
    counters: Counters,
    page_in_latency: Histogram<S::Buckets>,
    page_out_latency: Histogram<S::Buckets>,
    /// Copies to be freed. One that does not fit occupies a server's memory until the next inventory.
    stale: Ring<S::Stale>,
    /// Servers that will not be notified of some stale copy, because there was no room to note it.
    frees_lost: SlotSet,
}

/// What a shard is made of.
pub struct Parts<S: Storage> {
    /// At most 65536.
    pub ops: S::Ops,
    /// For page-ins and page-outs.
    pub buckets: [S::Buckets; 2],
    /// Any number. With too few, servers keep stale copies until their next inventory.
    pub stale: S::Stale,
}

impl<S: Storage> Shard<S> {
    /// A shard with nothing to do.
    pub fn new(number: u16, parts: Parts<S>) -> Self {
        let [page_in, page_out] = parts.buckets;
        Self {
            number,
            ops: Ops::new(parts.ops),
            paths: BySlot([Path::default(); SERVER_SLOTS]),
            ready: List::default(),
            ended: List::default(),
            disk_work: List::default(),
            wait_lists: [DiskWaitList::default(); 2],
            write_outcome: None,
            active: ActiveOps::default(),
            next_deadline_ns: u64::MAX,
            rotation: 0,
            usable: SlotSet::EMPTY,
            checking: SlotSet::EMPTY,
            suspicion: false,
            hedges: HedgeBudget::default(),
            counters: Counters::default(),
            page_in_latency: Histogram::new(page_in),
            page_out_latency: Histogram::new(page_out),
            stale: Ring::new(parts.stale),
            frees_lost: SlotSet::EMPTY,
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    fn tag(&self, op: OpId) -> u32 {
        u32::from(self.number) << 16 | op.low_tag()
    }

    /// The op to which a tag belongs, if it is of this shard.
    fn op_of_tag(&self, tag: u32) -> Option<OpId> {
        // CAST: 16 bits.
        let index = (tag & 0xffff) as usize;
        let is_ours = shard_of_tag(tag) == usize::from(self.number);
        self.ops.id(index).filter(|_| is_ours)
    }

    /// When to call [`Self::handle_timeout`] next; `u64::MAX` for never. An earlier call does no harm.
    pub fn next_timeout_ns(&self) -> u64 {
        self.next_deadline_ns
    }

    fn note_deadline(&mut self, deadline_ns: u64) {
        self.next_deadline_ns = self.next_deadline_ns.min(deadline_ns);
    }

    /// Whether a server has been suspected since the last call. The cluster should then look at it
    /// at once.
    pub fn take_suspicion(&mut self) -> bool {
        core::mem::take(&mut self.suspicion)
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How long page-ins took, from their start to their completion.
    pub fn page_in_latency(&self) -> &Histogram<S::Buckets> {
        &self.page_in_latency
    }

    /// How long page-outs took.
    pub fn page_out_latency(&self) -> &Histogram<S::Buckets> {
        &self.page_out_latency
    }

    /// A copy that no server needs to keep.
    pub fn take_stale(&mut self) -> Option<StaleCopy> {
        self.stale.take()
    }

    /// Servers that hold stale copies of which they will not be notified. Their inventory must be
    /// requested ([`super::cluster::Cluster::ask_what_they_have`]).
    pub fn take_frees_lost(&mut self) -> SlotSet {
        core::mem::take(&mut self.frees_lost)
    }

    fn put_stale(&mut self, stale: StaleCopy) {
        if !stale.slots.is_empty() && !self.stale.put(stale) {
            self.counters.frees_dropped = self.counters.frees_dropped.wrapping_add(1);
            self.frees_lost = self.frees_lost.union(stale.slots);
        }
    }

    /// A page was freed, or discarded.
    pub fn count_freed(&mut self, pages: u64) {
        self.counters.pages_freed = self.counters.pages_freed.wrapping_add(pages);
    }

    /// When a frame of the server was last received here, in nanoseconds; 0 if never.
    pub fn heard_ns(&self, slot: ServerSlot) -> u64 {
        self.paths[slot].heard_ns
    }

    /// Smoothed round-trip time to the server; 0 if it is not known.
    pub fn round_trip_ns(&self, slot: ServerSlot) -> u64 {
        self.paths[slot].rtt.smoothed_ns()
    }

    /// The slot belongs to another server from now on: discards the measurements of the old one.
    pub fn reset_path(&mut self, slot: ServerSlot) {
        self.flush_waiting(slot);
        self.paths[slot] = Path::default();
        self.checking.remove(slot);
    }

    /// The lowest version of any page-out or copy under way here.
    pub fn oldest_version(&self) -> Option<Version> {
        let mut oldest = None;
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &self.ops[index];
            // A copy has a version from the start.
            if op.kind == Kind::RepairToServer || op.kind == Kind::PageOut && op.begun.is_some() {
                oldest = Some(oldest.map_or(op.version, |other: Version| other.min(op.version)));
            }
        }
        oldest
    }

    /// Whether a request of this shard is under way.
    pub fn has_requests(&self) -> bool {
        self.any_active()
            .is_some_and(|index| !self.ops[index].is_background)
    }

    /// Number of ops that are not free.
    pub fn in_flight(&self) -> usize {
        self.ops.iter().filter(|op| op.stage != Stage::Free).count()
    }

    /// Whether [`Self::poll`] has nothing to return now.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.ended.is_empty() && self.ready.is_empty() && !self.has_disk_work()
    }

    /// Takes the next action; `None` if there is none now. Calls the mirror through `port`.
    pub fn poll(
        &mut self,
        now_ns: u64,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) -> Option<Action> {
        // After the completion of its op, which does not wait for it.
        if let Some(outcome) = self.write_outcome.take() {
            outcome.report(now_ns, port, device);
        }
        loop {
            if let Some(completion) = self.poll_ended(now_ns) {
                return Some(Action::Complete(completion));
            }
            while let Some(id) = self.pop_ready() {
                let action = self.begin_send(now_ns, id, device);
                if action.is_some() {
                    return action;
                }
            }
            if !self.ended.is_empty() {
                // A transfer that could not be sent has ended its op.
                continue;
            }
            // Last, so that pages are copied while servers store what they have been sent.
            if !self.has_disk_work() {
                return None;
            }
            let copy = self.call_mirror(now_ns, port, device);
            if copy.is_some() {
                return copy;
            }
        }
    }

    /// The frames of a [`Send`] have been handed over. Frames that could not be count as lost.
    pub fn sent(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        self.end_send(id);
        self.end_if_sent(now_ns, id.op, device);
    }

    /// A frame has arrived for one of this shard's tags: a WRITE_ACK or a READ_REPLY. Returns a claim if the
    /// payload is wanted: to be copied into the op's page, or as the value that fills it.
    // Always inlined: the one caller that receives pages calls it for each of their frames.
    #[inline(always)]
    pub fn handle_frame(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        header: &Header,
        device: &SwapDevice<S>,
    ) -> Option<Receive> {
        let Some(id) = self.find_transfer(source, header, device) else {
            self.counters.stale_frames = self.counters.stale_frames.wrapping_add(1);
            self.note_late(now_ns, source, header, device);
            return None;
        };
        if self.leave_if_implausible(now_ns, id, header, device) {
            return None;
        }
        self.paths[self.ops[id].slot].note_heard(now_ns);
        match header.opcode {
            Opcode::WriteAck => {
                self.handle_write_ack(now_ns, id, header, device);
                None
            }
            _ => self.handle_read_reply(now_ns, id, header, device),
        }
    }

    /// Time has passed: retransmits, moves to another server, or gives up what is due.
    pub fn handle_timeout(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        if now_ns < self.next_deadline_ns {
            return;
        }
        let late_ns = now_ns.saturating_sub(self.next_deadline_ns);
        self.next_deadline_ns = u64::MAX;
        if late_ns >= TIMER_LATE_NS && !mutated!(StopCounted) {
            self.postpone_io_timeout(now_ns, late_ns);
        }
        let given_up = !device.servers.given_up().is_empty() || device.disk.load().is_given_up();
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &self.ops[index];
            let stage = op.stage;
            if op.kind == Kind::RepairToDisk {
                // The disk's own timeout bounds it.
                continue;
            }
            if self.end_if_timed_out(now_ns, index, device) {
                continue;
            }
            match stage {
                Stage::Active if given_up && self.end_if_in_vain(now_ns, index, device) => {}
                Stage::Active => self.check_transfers(now_ns, index, device),
                // Normally a freed page or a server that becomes usable wakes it; this is a fallback.
                Stage::Parked | Stage::Stalled => {
                    self.retry_op(now_ns, index, device);
                    self.note_deadline(now_ns.saturating_add(SAFETY_NET_NS));
                }
                Stage::Free | Stage::Ended(_) => {}
            }
        }
    }
}

/// How often parked and stalled ops are retried, in case a notification is missing.
const SAFETY_NET_NS: u64 = 100_000_000;

#[cfg(test)]
pub(super) mod tests;
