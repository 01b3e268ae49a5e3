// SPDX-License-Identifier: GPL-2.0

//! The list of a shard's ops in use, and the walk over it.

use super::super::storage::Storage;
use super::ops::{OpId, Ops};
use super::Shard;

/// The ops in use, by age. The links are in the ops.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ActiveOps {
    newest: Option<OpId>,
    oldest: Option<OpId>,
}

/// An op's place in the list. It stays as it is when the op ends, so that a walk can continue from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ActivePlace {
    newer: Option<OpId>,
    older: Option<OpId>,
}

/// A walk over the ops in use, the oldest first: some walks hand out scarce room. The ops that it has
/// returned may end.
pub(super) struct Walk {
    next: Option<OpId>,
}

impl Walk {
    pub(super) fn next<S: Storage>(&mut self, ops: &Ops<S>) -> Option<OpId> {
        let index = self.next?;
        self.next = ops[index].active_place.newer;
        Some(index)
    }
}

impl<S: Storage> Shard<S> {
    pub(super) fn walk(&self) -> Walk {
        Walk {
            next: self.active.oldest,
        }
    }

    /// Some op in use.
    pub(super) fn any_active(&self) -> Option<OpId> {
        self.active.newest
    }

    /// Puts the op in the list, as the newest.
    pub(super) fn link_active(&mut self, index: OpId) {
        let older = self.active.newest.replace(index);
        match older {
            Some(older) => self.ops[older].active_place.newer = Some(index),
            None => self.active.oldest = Some(index),
        }
        self.ops[index].active_place = ActivePlace { newer: None, older };
    }

    pub(super) fn unlink_active(&mut self, index: OpId) {
        let ActivePlace { newer, older } = self.ops[index].active_place;
        match newer {
            Some(newer) => self.ops[newer].active_place.older = older,
            None => self.active.newest = older,
        }
        match older {
            Some(older) => self.ops[older].active_place.newer = newer,
            None => self.active.oldest = newer,
        }
    }
}
