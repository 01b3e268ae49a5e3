// SPDX-License-Identifier: GPL-2.0

//! Claims an op for a request, and the list of the ops in use.

use super::super::ids::{PageIndex, SlotSet, Version};
use super::super::storage::Storage;
use super::op::{Kind, Stage};
use super::ops::OpId;
use super::{OpInUse, Shard};

impl<S: Storage> Shard<S> {
    /// Makes a free op one of `kind` for `page`.
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
        op.is_background = false;
        op.stage = Stage::Stalled;
        op.page = page;
        op.version = Version::default();
        op.begun = None;
        op.fill = None;
        op.started_ns = now_ns;
        op.waits_from_ns = now_ns;
        op.pins = 0;
        op.ends_when_sent = false;
        op.claimed = false;
        op.restarts = 0;
        op.renewals = 0;
        op.tried = SlotSet::EMPTY;
        op.sent_to = SlotSet::EMPTY;
        op.refused = SlotSet::EMPTY;
        op.waits_for_room_ns = None;
        op.counted_stalled = false;
        op.hedge_ns = u64::MAX;
        op.hedge = None;
        op.assembly = None;
        op.wake = false;
        op.disk.renew();
        Ok(index)
    }

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

    pub(super) fn unlink_active(&mut self, index: OpId) {
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
}
