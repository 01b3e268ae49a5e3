// SPDX-License-Identifier: GPL-2.0

//! Claims an op for a request.

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
}
