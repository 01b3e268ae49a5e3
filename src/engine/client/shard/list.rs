// SPDX-License-Identifier: GPL-2.0

//! Lists of ops and transfers, linked by index: no memory of their own, no pointer.

use super::super::ids::ServerSlot;
use super::super::storage::Storage;
use super::op::{Outcome, Stage};
use super::ops::{OpId, Ops, TransferId};
use super::{Completion, Kind, Shard};

/// First in, first out. The links are in the elements, which are ops or transfers.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<I> {
    head: Option<I>,
    tail: Option<I>,
}

/// The place of an element in a list. It is in one list at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<I> {
    /// In a list: the next element, if there is one.
    next: Option<Option<I>>,
}

impl<I> Default for List<I> {
    fn default() -> Self {
        Self {
            head: None,
            tail: None,
        }
    }
}

impl<I> Default for Place<I> {
    fn default() -> Self {
        Self { next: None }
    }
}

impl<I> Place<I> {
    pub(super) fn is_linked(&self) -> bool {
        self.next.is_some()
    }
}

impl<I: Copy> List<I> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Puts the element at the end, unless it is in a list already. `place` returns an element's
    /// place in lists of this kind.
    #[inline]
    pub(super) fn push<S: Storage>(
        &mut self,
        ops: &mut Ops<S>,
        id: I,
        place: impl Fn(&mut Ops<S>, I) -> &mut Place<I>,
    ) {
        let own = place(ops, id);
        if own.is_linked() {
            return;
        }
        own.next = Some(None);
        match self.tail {
            Some(last) => place(ops, last).next = Some(Some(id)),
            None => self.head = Some(id),
        }
        self.tail = Some(id);
    }

    /// Takes the first element.
    #[inline]
    pub(super) fn pop<S: Storage>(
        &mut self,
        ops: &mut Ops<S>,
        place: impl Fn(&mut Ops<S>, I) -> &mut Place<I>,
    ) -> Option<I> {
        let id = self.head?;
        self.head = place(ops, id).next.take().flatten();
        if self.head.is_none() {
            self.tail = None;
        }
        Some(id)
    }

    /// Puts all elements of `other` at the end.
    pub(super) fn append<S: Storage>(
        &mut self,
        ops: &mut Ops<S>,
        other: Self,
        place: impl Fn(&mut Ops<S>, I) -> &mut Place<I>,
    ) {
        if other.is_empty() {
            return;
        }
        match self.tail {
            Some(last) => place(ops, last).next = Some(other.head),
            None => self.head = other.head,
        }
        self.tail = other.tail;
    }
}

fn transfer_place<S: Storage>(ops: &mut Ops<S>, id: TransferId) -> &mut Place<TransferId> {
    &mut ops[id].place
}

impl<S: Storage> Shard<S> {
    /// Puts the op at the head of the active list.
    pub(super) fn link_active(&mut self, index: OpId) {
        let head = self.active;
        match head {
            Some(first) => self.ops[first].previous_active = Some(index),
            None => self.oldest = Some(index),
        }
        let op = &mut self.ops[index];
        op.previous_active = None;
        op.next_active = head;
        self.active = Some(index);
    }

    fn unlink_active(&mut self, index: OpId) {
        let op = &self.ops[index];
        // The op keeps its own links, so that a walk of the list can continue from it.
        let (previous, next) = (op.previous_active, op.next_active);
        match previous {
            Some(before) => self.ops[before].next_active = next,
            None => self.active = next,
        }
        match next {
            Some(after) => self.ops[after].previous_active = previous,
            None => self.oldest = previous,
        }
    }

    /// Puts a transfer at the end of the ready list, unless it is in a list already.
    pub(super) fn push_ready(&mut self, id: TransferId) {
        self.ready.push(&mut self.ops, id, transfer_place);
    }

    /// Puts a transfer at the end of the list that waits for its server's window.
    pub(super) fn push_waiting(&mut self, slot: ServerSlot, id: TransferId) {
        // PANIC: never; a slot is below the array's length by its invariant.
        let path = &mut self.paths[slot.index()];
        path.waiting.push(&mut self.ops, id, transfer_place);
    }

    pub(super) fn pop_ready(&mut self) -> Option<TransferId> {
        self.ready.pop(&mut self.ops, transfer_place)
    }

    /// The window has room, or the server is unusable: transfers that waited for it become ready.
    #[inline]
    pub(super) fn flush_waiting(&mut self, slot: ServerSlot) {
        if !self.path(slot).waiting.is_empty() {
            let waiting = core::mem::take(&mut self.path_mut(slot).waiting);
            self.ready.append(&mut self.ops, waiting, transfer_place);
        }
    }

    /// The op has ended. It completes when nothing pins it.
    pub(super) fn end(&mut self, index: OpId, outcome: Outcome) {
        for id in index.transfers() {
            self.release(id);
        }
        let op = &mut self.ops[index];
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
    pub(super) fn unpin(&mut self, index: OpId) {
        let op = &mut self.ops[index];
        op.pins = op.pins.saturating_sub(1);
        self.link_ended(index);
    }

    fn link_ended(&mut self, index: OpId) {
        let op = &self.ops[index];
        if op.pins == 0 && matches!(op.stage, Stage::Ended(_)) {
            self.ended
                .push(&mut self.ops, index, |ops, id| &mut ops[id].ended_place);
        }
    }

    /// Takes the next op that has ended and that nothing pins.
    pub(super) fn poll_ended(&mut self, now_ns: u64) -> Option<Completion> {
        let index = self
            .ended
            .pop(&mut self.ops, |ops, id| &mut ops[id].ended_place)?;
        let op = &mut self.ops[index];
        let Stage::Ended(outcome) = op.stage else {
            return None;
        };
        op.stage = Stage::Free;
        let settle = op.disk.settle.take();
        let wake = op.wake.then_some(op.page);
        let is_background = op.is_background;
        let (kind, latency_ns) = (op.kind, now_ns.saturating_sub(op.started_ns));
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
