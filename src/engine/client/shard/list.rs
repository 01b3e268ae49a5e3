// SPDX-License-Identifier: GPL-2.0

//! Lists of ops and transfers, linked by index: no memory of their own, no pointer.

use super::super::ids::ServerSlot;
use super::super::storage::Storage;
use super::ops::{Ops, TransferId};
use super::Shard;

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
    /// Puts a transfer at the end of the ready list, unless it is in a list already.
    pub(super) fn push_ready(&mut self, id: TransferId) {
        self.ready.push(&mut self.ops, id, transfer_place);
    }

    /// Puts a transfer at the end of the list that waits for its server's window.
    pub(super) fn push_waiting(&mut self, slot: ServerSlot, id: TransferId) {
        let path = &mut self.paths[slot];
        path.waiting.push(&mut self.ops, id, transfer_place);
    }

    pub(super) fn pop_ready(&mut self) -> Option<TransferId> {
        self.ready.pop(&mut self.ops, transfer_place)
    }

    /// The window has room, or the server is unusable: transfers that waited for it become ready.
    #[inline]
    pub(super) fn flush_waiting(&mut self, slot: ServerSlot) {
        if !self.paths[slot].waiting.is_empty() {
            let waiting = core::mem::take(&mut self.paths[slot].waiting);
            self.ready.append(&mut self.ops, waiting, transfer_place);
        }
    }
}
