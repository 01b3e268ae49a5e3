// SPDX-License-Identifier: GPL-2.0

//! A shard's ops and their transfers, by identifiers that exist.

use core::ops::{Deref, Index, IndexMut};

use super::super::ids::MAX_REPLICAS;
use super::super::storage::Storage;
use super::op::Op;
use super::transfer::Transfer;

/// An op of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpId(u16);

/// A transfer of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferId {
    /// The op.
    pub op: OpId,
    nth: Nth,
}

/// Which of an op's transfers. An enumeration, so that the compiler knows that it is in bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nth {
    First,
    Second,
    Third,
}

impl Nth {
    fn of(number: usize) -> Self {
        match number {
            0 => Self::First,
            1 => Self::Second,
            _ => Self::Third,
        }
    }
}

impl OpId {
    /// Its index: below the number of the shard's ops.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The low half of the tags of its frames.
    pub(super) fn low_tag(self) -> u32 {
        u32::from(self.0)
    }

    /// The only transfer of an op that has one, and the first of the others.
    pub(super) fn first_transfer(self) -> TransferId {
        TransferId {
            op: self,
            nth: Nth::First,
        }
    }

    /// All of its transfers.
    #[inline]
    pub(super) fn transfers(self) -> impl Iterator<Item = TransferId> {
        self.first_transfers(MAX_REPLICAS)
    }

    /// So many of its transfers, or all.
    #[inline]
    pub(super) fn first_transfers(self, count: usize) -> impl Iterator<Item = TransferId> {
        (0..count.min(MAX_REPLICAS)).map(move |number| TransferId {
            op: self,
            nth: Nth::of(number),
        })
    }
}

impl TransferId {
    /// Its index: below [`MAX_REPLICAS`].
    #[inline]
    pub fn index(self) -> usize {
        self.nth as usize
    }
}

/// The ops of a shard. Their number does not change.
pub(super) struct Ops<S: Storage>(S::Ops);

impl<S: Storage> Ops<S> {
    pub(super) fn new(ops: S::Ops) -> Self {
        Self(ops)
    }

    /// The op with this index, if there is one.
    #[inline]
    pub(super) fn id(&self, index: usize) -> Option<OpId> {
        let number = u16::try_from(index).ok()?;
        (index < self.0.len()).then_some(OpId(number))
    }
}

impl<S: Storage> Deref for Ops<S> {
    type Target = [Op];

    fn deref(&self) -> &[Op] {
        &self.0
    }
}

// PANIC: never, here and below. An `OpId` is made by `Ops::id` only, for an op that exists, and ops
// are never removed. A shard returns it to its caller, which gives it back to the same shard.

impl<S: Storage> Index<OpId> for Ops<S> {
    type Output = Op;

    #[inline]
    fn index(&self, id: OpId) -> &Op {
        &self.0[id.index()]
    }
}

impl<S: Storage> IndexMut<OpId> for Ops<S> {
    #[inline]
    fn index_mut(&mut self, id: OpId) -> &mut Op {
        &mut self.0[id.index()]
    }
}

impl<S: Storage> Index<TransferId> for Ops<S> {
    type Output = Transfer;

    #[inline]
    fn index(&self, id: TransferId) -> &Transfer {
        &self[id.op].transfers[id]
    }
}

impl<S: Storage> IndexMut<TransferId> for Ops<S> {
    #[inline]
    fn index_mut(&mut self, id: TransferId) -> &mut Transfer {
        &mut self[id.op].transfers[id]
    }
}

/// The transfers of an op.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transfers([Transfer; MAX_REPLICAS]);

impl Deref for Transfers {
    type Target = [Transfer];

    fn deref(&self) -> &[Transfer] {
        &self.0
    }
}

impl Index<TransferId> for Transfers {
    type Output = Transfer;

    #[inline]
    fn index(&self, id: TransferId) -> &Transfer {
        &self.0[id.index()]
    }
}

impl IndexMut<TransferId> for Transfers {
    #[inline]
    fn index_mut(&mut self, id: TransferId) -> &mut Transfer {
        &mut self.0[id.index()]
    }
}
