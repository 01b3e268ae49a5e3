// SPDX-License-Identifier: GPL-2.0

//! Claims an op for a request, and parks, retries and gives up ops.

use super::super::device::Device;
use super::super::ids::{PageIndex, SlotSet, Version};
use super::super::storage::Storage;
use super::op::{Kind, Outcome, Stage};
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

    /// Parks the op until the page is no longer being written. Returns false if it is not being
    /// written.
    pub(super) fn park(&mut self, now_ns: u64, index: OpId, device: &Device<S>) -> bool {
        let op = &mut self.ops[index];
        device.park();
        if !device.map.load(op.page).is_busy() {
            device.unpark();
            return false;
        }
        op.stage = Stage::Parked;
        // After the write a server may hold the page that did not before, in the same generation.
        op.tried = SlotSet::EMPTY;
        self.counters.parked = self.counters.parked.wrapping_add(1);
        self.note_deadline(now_ns.saturating_add(super::SAFETY_NET_NS));
        true
    }

    /// Counts an op that waits for a server, once.
    pub(super) fn count_stalled(&mut self, index: OpId) {
        let op = &mut self.ops[index];
        if !core::mem::replace(&mut op.counted_stalled, true) {
            self.counters.stalled = self.counters.stalled.wrapping_add(1);
        }
    }

    /// A page-out of `page`, or of any page for `None`, has ended somewhere: retries the ops that
    /// were parked for it.
    pub fn unpark(&mut self, now_ns: u64, page: Option<PageIndex>, device: &Device<S>) {
        let mut next = self.active;
        while let Some(index) = next {
            let op = &self.ops[index];
            next = op.next_active;
            if op.stage == Stage::Parked && page.is_none_or(|page| page == op.page) {
                self.retry_op(now_ns, index, device);
            }
        }
    }

    pub(super) fn retry_op(&mut self, now_ns: u64, index: OpId, device: &Device<S>) {
        let op = &mut self.ops[index];
        if op.stage == Stage::Parked {
            device.unpark();
        }
        op.stage = Stage::Stalled;
        match op.kind {
            Kind::PageOut => {
                self.retry_put(index);
                self.begin_page_out(now_ns, index, device);
            }
            Kind::PageIn => {
                self.retry_ask(index);
                self.begin_page_in(now_ns, index, device);
            }
            Kind::Copy | Kind::Mirror => self.end(index, Outcome::Failed),
        }
    }

    /// The I/O timeout has passed, or every copy is known to be lost.
    pub(super) fn give_up(&mut self, index: OpId, device: &Device<S>) {
        let op = &mut self.ops[index];
        if op.stage == Stage::Parked {
            device.unpark();
        }
        match op.kind {
            Kind::PageOut => self.finish_at_last(index, device),
            Kind::PageIn | Kind::Copy | Kind::Mirror => self.end(index, Outcome::Failed),
        }
    }

    /// Ends every op with an error: the device goes away.
    pub fn give_up_all(&mut self, device: &Device<S>) {
        let mut next = self.active;
        while let Some(index) = next {
            let op = &self.ops[index];
            next = op.next_active;
            self.give_up(index, device);
        }
    }
}
