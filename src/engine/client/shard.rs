// SPDX-License-Identifier: GPL-2.0

//! The data path of one hardware queue: its page-outs, its page-ins, and their transfers.
//!
//! A device has one shard for each hardware queue, each under one lock of its own; shards meet
//! only in the [`Device`]. The caller holds the lock while it calls a method here, and never
//! while it does what [`Shard::poll`] returns. What is being done outside the lock holds its op
//! in place: an op ends only when nothing of it is being sent or copied.
//!
//! An op is one page of one request. A transfer is one server's part in it. Ops are in the list
//! of the active while they are anybody's; transfers to be sent are in the ready list, or wait
//! in their server's list for room in its window.

mod acknowledge;
mod answer;
mod assemble;
mod claim;
mod copy;
mod disk;
mod disk_line;
mod disk_page_in;
mod disk_page_out;
mod disk_work;
mod fail_over;
mod finish;
mod hedge;
mod list;
mod op;
mod page_in;
mod page_out;
mod path;
mod renewal;
mod retransmit;
mod send;
mod server_change;
mod transfer;

use super::counters::Counters;
use super::device::Device;
use super::free::{StaleCopies, StaleCopy};
use super::histogram::Histogram;
use super::ids::{PageIndex, ServerSlot, SlotSet, Version, SERVER_SLOTS};
use super::storage::Storage;
use crate::wire::{Header, MacAddress, Opcode};

pub use copy::{CopyOut, MirrorCopy};
use disk::DiskList;
use disk_line::DiskLine;
pub use disk_work::{
    AskAnswer, DiskRead, DiskReceive, DiskSettle, DiskTurn, DiskWant, DiskWork, DiskWrite,
    PutAnswer, Taken,
};
use hedge::HedgeBudget;
use list::List;
pub use list::TransferId;
use op::{Kind, Link, Stage};
pub use op::{Op, Outcome};
use path::Path;
pub use send::{Send, SendPayload};

/// What is to be done without the shard's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send frames, which [`Shard::describe`] tells under the same lock; then say [`Shard::sent`].
    Send(TransferId),
    /// Tell whoever asked for the page; the op is free again.
    Complete(Completion),
    /// Do something with the mirror; [`DiskWork`] says what, and what to say then.
    Disk(DiskWork),
}

/// An op that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which.
    pub op: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// Requests wait for this page: tell every shard ([`Shard::unpark`]).
    pub wake: Option<PageIndex>,
}

/// What becomes of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is dealt with.
    Done,
    /// Its payload is to be copied into the op's page, and then [`Shard::received`] told.
    Receive(Receive),
}

/// A claim to write into an op's page: while it lasts the op does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Of which op.
    pub op: usize,
    transfer: usize,
    index: u8,
    /// Which sending the fragment answers.
    attempt: u32,
    /// Where in the page, in bytes.
    pub offset: u16,
    /// How many bytes.
    pub len: u16,
    /// Whether the page is then complete, so that its checksum must be computed.
    pub completes: bool,
}

/// An op that is in use was asked for, or one that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpInUse;

/// The data path of one hardware queue.
pub struct Shard<S: Storage> {
    /// Its number, which is the high half of its tags.
    number: u16,
    ops: S::Ops,
    paths: [Path; SERVER_SLOTS],
    ready: List,
    ended: List,
    disk_work: DiskList,
    /// Those that wait for room in the mirror, by the way.
    lines: [DiskLine; 2],
    /// How often the disk was said to have changed, or to have room.
    disk_events: u32,
    /// What the mirror is to be told of the op that has ended last.
    settle: Option<DiskSettle>,
    /// The newest of the active, from which [`Op`]s lead to older ones.
    active: Link,
    /// The oldest of them: whoever hands out what there is too little of, begins there.
    oldest: Link,
    next_deadline_ns: u64,
    /// Breaks ties between equal servers.
    rotation: u32,
    /// Servers that could be used when it was last said that something has changed, but for those that
    /// have been suspected here since.
    usable: SlotSet,
    suspicion: bool,
    hedges: HedgeBudget,
    counters: Counters,
    page_in_latency: Histogram<S::Buckets>,
    page_out_latency: Histogram<S::Buckets>,
    stale: StaleCopies<S::Stale>,
    /// Servers that will not be told of some copy, for there was no room for it.
    frees_lost: SlotSet,
}

/// Of what a shard is made.
pub struct Parts<S: Storage> {
    /// At most 65536.
    pub ops: S::Ops,
    /// For page-ins and page-outs.
    pub buckets: [S::Buckets; 2],
    /// Any number; one that is too small costs servers' memory until they are asked.
    pub stale: S::Stale,
}

impl<S: Storage> Shard<S> {
    /// A shard with nothing to do.
    pub fn new(number: u16, parts: Parts<S>) -> Self {
        let [page_in, page_out] = parts.buckets;
        Self {
            number,
            ops: parts.ops,
            paths: [Path::default(); SERVER_SLOTS],
            ready: List::default(),
            ended: List::default(),
            disk_work: DiskList::default(),
            lines: [DiskLine::default(); 2],
            disk_events: 0,
            settle: None,
            active: Link::NONE,
            oldest: Link::NONE,
            next_deadline_ns: u64::MAX,
            rotation: 0,
            usable: SlotSet::EMPTY,
            suspicion: false,
            hedges: HedgeBudget::default(),
            counters: Counters::default(),
            page_in_latency: Histogram::new(page_in),
            page_out_latency: Histogram::new(page_out),
            stale: StaleCopies::new(parts.stale),
            frees_lost: SlotSet::EMPTY,
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Which shard a tag belongs to.
    pub fn number_of_tag(tag: u32) -> usize {
        // CAST: 16 bits.
        (tag >> 16) as usize
    }

    fn tag(&self, op: usize) -> u32 {
        // CAST: ops are at most 65536.
        u32::from(self.number) << 16 | (op as u32 & 0xffff)
    }

    /// When [`Self::handle_timeout`] is to be called next; `u64::MAX` for never. It may be
    /// called earlier, for nothing.
    pub fn next_timeout_ns(&self) -> u64 {
        self.next_deadline_ns
    }

    /// A request has begun that is to end within the I/O timeout.
    fn note_begun(&mut self, now_ns: u64, io_timeout_ns: u64) {
        self.note_deadline(now_ns.saturating_add(io_timeout_ns.min(LOOK_NS)));
    }

    fn note_deadline(&mut self, deadline_ns: u64) {
        self.next_deadline_ns = self.next_deadline_ns.min(deadline_ns);
    }

    /// Whether a server has newly been suspected since this was last asked; then the cluster
    /// should look at it at once.
    pub fn take_suspicion(&mut self) -> bool {
        core::mem::take(&mut self.suspicion)
    }

    /// What has been counted.
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

    /// Servers that hold copies which they need not keep, and will not be told of: they are to be asked
    /// what they have ([`super::cluster::Cluster::ask_what_they_have`]).
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

    /// When a frame of the server was last received here, in nanoseconds; 0 for never.
    pub fn heard_ns(&self, slot: ServerSlot) -> u64 {
        self.path(slot).heard_ns
    }

    /// Smoothed round-trip time to the server; 0 if there was none.
    pub fn round_trip_ns(&self, slot: ServerSlot) -> u64 {
        self.path(slot).rtt.smoothed_ns()
    }

    /// The slot belongs to another server from now on: forget what was measured of the old one.
    pub fn reset_path(&mut self, slot: ServerSlot) {
        self.flush_waiting(slot);
        *self.path_mut(slot) = Path::default();
    }

    fn path(&self, slot: ServerSlot) -> &Path {
        // PANIC: never; a slot is below the array's length by its invariant.
        &self.paths[slot.index()]
    }

    fn path_mut(&mut self, slot: ServerSlot) -> &mut Path {
        // PANIC: never, as above.
        &mut self.paths[slot.index()]
    }

    /// The lowest version that a page-out or a copy here is under way with.
    pub fn oldest_version(&self) -> Option<Version> {
        let mut oldest = None;
        let mut link = self.active;
        while let Some((_, op)) = self.op_at(link) {
            // A copy has its version from the beginning.
            if op.kind == Kind::Copy || op.kind == Kind::PageOut && op.begun.is_some() {
                oldest = Some(oldest.map_or(op.version, |other: Version| other.min(op.version)));
            }
            link = op.next_active;
        }
        oldest
    }

    /// Whether a request of this shard is under way.
    pub fn has_requests(&self) -> bool {
        self.op_at(self.active)
            .is_some_and(|(_, op)| !op.is_background)
    }

    /// Number of ops that are not free.
    pub fn in_flight(&self) -> usize {
        self.ops.iter().filter(|op| op.stage != Stage::Free).count()
    }

    /// Whether [`Self::poll`] has nothing now.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.ended.is_empty() && self.ready.is_empty() && !self.has_disk_work()
    }

    /// Takes the next thing to be done; `None` if there is nothing now.
    pub fn poll(&mut self, now_ns: u64, device: &Device<S>) -> Option<Action> {
        if let Some(settle) = self.settle.take() {
            return Some(Action::Disk(DiskWork::Settle(settle)));
        }
        if let Some(completion) = self.poll_ended(now_ns) {
            return Some(Action::Complete(completion));
        }
        while let Some(id) = self.pop_ready() {
            if self.begin_send(now_ns, id, device).is_some() {
                return Some(Action::Send(id));
            }
        }
        // Last, so that the page is copied while the servers are at it.
        self.poll_disk(device)
    }

    /// The frames of a [`Send`] have been handed over, or could not be: then they count as lost.
    pub fn sent(&mut self, now_ns: u64, id: TransferId, device: &Device<S>) {
        self.end_send(id);
        self.end_if_sent(now_ns, id.op, device);
    }

    /// A frame has come for one of this shard's tags: a WRITE_ACK or a READ_REPLY. `fill` is
    /// the payload of a frame that says SAME_FILLED, with its checksum checked.
    // Always: the one caller that has pages to receive calls it for every frame of them.
    #[inline(always)]
    pub fn handle_frame(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        header: &Header,
        fill: Option<u64>,
        device: &Device<S>,
    ) -> Verdict {
        let Some((op, transfer)) = self.find_transfer(source, header, device) else {
            self.counters.stale_frames = self.counters.stale_frames.wrapping_add(1);
            self.note_late(now_ns, source, header, device);
            return Verdict::Done;
        };
        if !self.is_believed(now_ns, op, transfer, header, device) {
            return Verdict::Done;
        }
        self.note_heard(now_ns, op, transfer);
        match header.opcode {
            Opcode::WriteAck => {
                self.handle_write_ack(now_ns, op, transfer, header, device);
                Verdict::Done
            }
            _ => self.handle_read_reply(now_ns, op, transfer, header, fill, device),
        }
    }

    /// Time has passed: what is due is sent again, moved to another server, or given up.
    pub fn handle_timeout(&mut self, now_ns: u64, device: &Device<S>) {
        if now_ns < self.next_deadline_ns {
            return;
        }
        let late_ns = now_ns.saturating_sub(self.next_deadline_ns);
        self.next_deadline_ns = u64::MAX;
        if late_ns >= STOPPED_NS && !mutated!(StopCounted) {
            self.postpone_io_timeout(now_ns, late_ns);
        }
        let io_timeout_ns = device.io_timeout_ns();
        let hopeless = !device.servers.hopeless().is_empty() || device.disk.load().is_hopeless();
        // Whoever waits, waits no longer than the I/O timeout that there is by then.
        let look_ns = now_ns.saturating_add(LOOK_NS);
        let mut link = self.oldest;
        while let Some((index, op)) = self.op_at(link) {
            link = op.previous_active;
            let (stage, end_ns) = (op.stage, op.waits_from_ns.saturating_add(io_timeout_ns));
            if op.kind == Kind::Mirror {
                // The disk's own timeout bounds it.
                continue;
            }
            if now_ns >= end_ns && !mutated!(IoTimeoutIgnored) {
                match self.reads_disk_at_last(now_ns, index, device) {
                    true => self.note_deadline(look_ns),
                    false => self.give_up(index, device),
                }
                continue;
            }
            self.note_deadline(end_ns.min(look_ns));
            match stage {
                Stage::Active if hopeless && self.is_in_vain(now_ns, index, device) => {
                    self.give_up(index, device);
                }
                Stage::Active => self.check_transfers(now_ns, index, device),
                // Whoever frees the page or brings a server tells us; this is the safety net.
                Stage::Parked | Stage::Stalled => {
                    self.retry_op(now_ns, index, device);
                    self.note_deadline(now_ns.saturating_add(SAFETY_NET_NS));
                }
                Stage::Free | Stage::Ended(_) => {}
            }
        }
    }

    /// We were stopped for so long: nobody could have answered meanwhile. What has begun since, before
    /// we looked at the clock, has not waited.
    fn postpone_io_timeout(&mut self, now_ns: u64, stopped_ns: u64) {
        let mut link = self.active;
        while let Some((index, op)) = self.op_at(link) {
            link = op.next_active;
            if let Some(op) = self.ops.get_mut(index) {
                let put_off_ns = op.waits_from_ns.saturating_add(stopped_ns);
                op.waits_from_ns = put_off_ns.min(now_ns);
            }
        }
    }
}

/// How often everything under way is looked at: the I/O timeout may have become shorter, which nobody
/// says. Several times within the shortest.
const LOOK_NS: u64 = 125_000_000;

/// A timer that fires this late says that we were stopped, not that a server was silent.
const STOPPED_NS: u64 = 250_000_000;

/// How often what waits for others is looked at, in case nobody says a word.
const SAFETY_NET_NS: u64 = 100_000_000;

#[cfg(test)]
pub(super) mod tests;
