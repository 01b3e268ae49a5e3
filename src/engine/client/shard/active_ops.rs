// SPDX-License-Identifier: GPL-2.0

//! A shard's ops in use: how one is claimed for a request, and the walk over them.

use super::super::ids::{PageIndex, SlotSet, Version};
use super::super::storage::Storage;
use super::op::{Kind, Stage};
use super::ops::{OpId, Ops};
use super::seal::SealPart;
use super::{OpInUse, Shard};

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

    /// Puts a free op to use: one of `kind` for `page`, the newest.
    #[inline]
    pub(super) fn claim_op(
        &mut self,
        now_ns: u64,
        index: usize,
        kind: Kind,
        page: PageIndex,
    ) -> Result<OpId, OpInUse> {
        let index = self.ops.id(index).ok_or(OpInUse)?;
        let op = &mut self.ops[index];
        if op.stage != Stage::Free {
            return Err(OpInUse);
        }
        op.kind = kind;
        op.is_background = matches!(kind, Kind::RepairToServer | Kind::RepairToDisk);
        op.stage = Stage::Stalled;
        op.page = page;
        op.version = Version::default();
        op.begun = None;
        op.crc = None;
        op.seal = SealPart::default();
        op.fill = None;
        op.started_ns = now_ns;
        op.waits_from_ns = now_ns;
        op.pins = 0;
        op.ends_when_sent = false;
        op.claimed = false;
        op.restarts = 0;
        op.renewals = 0;
        op.tried = SlotSet::EMPTY;
        op.doubted = SlotSet::EMPTY;
        op.sent_to = SlotSet::EMPTY;
        op.refused = SlotSet::EMPTY;
        op.waits_for_room_ns = None;
        op.counted_stalled = false;
        op.hedge_ns = u64::MAX;
        op.hedge = None;
        op.assembly = None;
        op.wake = false;
        op.disk.reset();
        self.link_active(index);
        Ok(index)
    }

    fn link_active(&mut self, index: OpId) {
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
