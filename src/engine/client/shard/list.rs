// SPDX-License-Identifier: GPL-2.0

//! Lists of ops and transfers, linked by index: no memory of their own, no pointer.

use super::super::ids::{ServerSlot, MAX_REPLICAS};
use super::super::storage::Storage;
use super::op::{Link, Op, Outcome, Stage};
use super::transfer::Transfer;
use super::{Completion, Kind, Shard};

/// First in, first out. Its links are in the elements.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    head: Link,
    tail: Link,
}

/// Which transfer of which op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferId {
    /// The op.
    pub op: usize,
    /// Which of its transfers.
    pub transfer: usize,
}

impl List {
    pub(super) fn is_empty(&self) -> bool {
        self.head == Link::NONE
    }
}

impl TransferId {
    fn link(self) -> Link {
        // CAST: ops are at most 65536, so that this is far below 2^32.
        Link(
            self.op
                .wrapping_mul(MAX_REPLICAS)
                .wrapping_add(self.transfer) as u32,
        )
    }

    /// [`Link::NONE`] yields an op that no shard has.
    fn from_link(link: Link) -> Self {
        let number = link.0 as usize;
        Self {
            op: number / MAX_REPLICAS,
            transfer: number % MAX_REPLICAS,
        }
    }
}

impl<S: Storage> Shard<S> {
    /// The op that `link` points at, with its index.
    pub(super) fn op_at(&self, link: Link) -> Option<(usize, &Op)> {
        let index = link.0 as usize;
        self.ops.get(index).map(|op| (index, op))
    }

    pub(super) fn transfer_mut(&mut self, id: TransferId) -> Option<&mut Transfer> {
        self.ops.get_mut(id.op)?.transfers.get_mut(id.transfer)
    }

    /// Puts the op at the head of the active list.
    pub(super) fn link_active(&mut self, index: usize) {
        let head = self.active;
        // CAST: ops are at most 65536.
        let link = Link(index as u32);
        match self.ops.get_mut(head.0 as usize) {
            Some(first) => first.previous_active = link,
            None => self.oldest = link,
        }
        if let Some(op) = self.ops.get_mut(index) {
            op.previous_active = Link::NONE;
            op.next_active = head;
            self.active = link;
        }
    }

    fn unlink_active(&mut self, index: usize) {
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        // The op keeps its own links, so that a walk of the list can continue from it.
        let (previous, next) = (op.previous_active, op.next_active);
        match self.ops.get_mut(previous.0 as usize) {
            Some(before) => before.next_active = next,
            None => self.active = next,
        }
        match self.ops.get_mut(next.0 as usize) {
            Some(after) => after.previous_active = previous,
            None => self.oldest = previous,
        }
    }

    fn push(&mut self, mut list: List, id: TransferId) -> List {
        let Some(transfer) = self.transfer_mut(id) else {
            return list;
        };
        if transfer.linked {
            return list;
        }
        transfer.linked = true;
        transfer.next = Link::NONE;
        match self.transfer_mut(TransferId::from_link(list.tail)) {
            Some(last) => last.next = id.link(),
            None => list.head = id.link(),
        }
        list.tail = id.link();
        list
    }

    /// Puts a transfer at the end of the ready list, unless it is in a list already.
    pub(super) fn push_ready(&mut self, id: TransferId) {
        self.ready = self.push(self.ready, id);
    }

    /// Puts a transfer at the end of the list that waits for its server's window.
    pub(super) fn push_waiting(&mut self, slot: ServerSlot, id: TransferId) {
        let list = self.path(slot).waiting;
        self.path_mut(slot).waiting = self.push(list, id);
    }

    pub(super) fn pop_ready(&mut self) -> Option<TransferId> {
        if self.ready.head == Link::NONE {
            return None;
        }
        let id = TransferId::from_link(self.ready.head);
        let transfer = self.transfer_mut(id)?;
        transfer.linked = false;
        let next = core::mem::take(&mut transfer.next);
        self.ready.head = next;
        if next == Link::NONE {
            self.ready.tail = Link::NONE;
        }
        Some(id)
    }

    /// The window has room, or the server is unusable: transfers that waited for it become ready.
    pub(super) fn flush_waiting(&mut self, slot: ServerSlot) {
        let waiting = core::mem::take(&mut self.path_mut(slot).waiting);
        if waiting.head == Link::NONE {
            return;
        }
        match self.transfer_mut(TransferId::from_link(self.ready.tail)) {
            Some(last) => last.next = waiting.head,
            None => self.ready.head = waiting.head,
        }
        self.ready.tail = waiting.tail;
    }

    /// The op has ended. It completes when nothing pins it.
    pub(super) fn end(&mut self, index: usize, outcome: Outcome) {
        for transfer in 0..MAX_REPLICAS {
            self.release(TransferId {
                op: index,
                transfer,
            });
        }
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        if matches!(op.stage, Stage::Free | Stage::Ended(_)) {
            return;
        }
        op.stage = Stage::Ended(outcome);
        op.assembly = None;
        op.disk.settle = op.take_settle(outcome == Outcome::Done);
        self.unlink_active(index);
        self.link_ended(index);
    }

    /// The op's page is no longer being sent or copied.
    pub(super) fn unpin(&mut self, index: usize) {
        if let Some(op) = self.ops.get_mut(index) {
            op.pins = op.pins.saturating_sub(1);
        }
        self.link_ended(index);
    }

    fn link_ended(&mut self, index: usize) {
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        if op.pins != 0 || op.ended_linked || !matches!(op.stage, Stage::Ended(_)) {
            return;
        }
        op.ended_linked = true;
        op.next_ended = Link::NONE;
        // CAST: ops are at most 65536.
        let link = Link(index as u32);
        match self.ops.get_mut(self.ended.tail.0 as usize) {
            Some(last) => last.next_ended = link,
            None => self.ended.head = link,
        }
        self.ended.tail = link;
    }

    /// Takes the next op that has ended and that nothing pins.
    pub(super) fn poll_ended(&mut self, now_ns: u64) -> Option<Completion> {
        let index = self.ended.head.0 as usize;
        let op = self.ops.get_mut(index)?;
        let Stage::Ended(outcome) = op.stage else {
            return None;
        };
        op.stage = Stage::Free;
        op.ended_linked = false;
        let settle = op.disk.settle.take();
        let next = core::mem::take(&mut op.next_ended);
        let wake = op.wake.then_some(op.page);
        let is_background = op.is_background;
        let (kind, latency_ns) = (op.kind, now_ns.saturating_sub(op.started_ns));
        self.ended.head = next;
        if next == Link::NONE {
            self.ended.tail = Link::NONE;
        }
        self.settle = settle;
        if !is_background {
            self.count_ended(kind, outcome, latency_ns);
        }
        Some(Completion {
            op: index,
            outcome,
            wake,
        })
    }

    fn count_ended(&mut self, kind: Kind, outcome: Outcome, latency_ns: u64) {
        let counters = &mut self.counters;
        let counter = match (kind, outcome) {
            (Kind::PageOut | Kind::Copy | Kind::Mirror, Outcome::Failed | Outcome::NoSpace) => {
                &mut counters.pages_out_failed
            }
            (Kind::PageIn, Outcome::Failed) => &mut counters.pages_in_failed,
            (Kind::PageOut | Kind::Copy | Kind::Mirror, _) => {
                self.page_out_latency.record(latency_ns);
                &mut counters.pages_out
            }
            (Kind::PageIn, _) => {
                if outcome == Outcome::Zeros {
                    counters.unwritten_in = counters.unwritten_in.wrapping_add(1);
                } else {
                    self.page_in_latency.record(latency_ns);
                }
                &mut counters.pages_in
            }
        };
        *counter = counter.wrapping_add(1);
    }
}
