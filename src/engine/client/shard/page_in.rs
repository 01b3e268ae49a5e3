// SPDX-License-Identifier: GPL-2.0

//! Page-ins. From where: `page_in_source.rs`.
//!
//! Fragments with one checksum are assembled; after damage, those of one server only. The checksum
//! is verified before the page is used.
//!
//! The rules: `docs/protocol.md`, "READ".

use super::super::ids::{PageIndex, ServerSlot, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome, Stage};
use super::ops::{OpId, TransferId};
use super::{OpInUse, Shard};
use crate::wire::FragmentMask;

impl<S: Storage> Shard<S> {
    /// Begins a page-in. The page must stay where it is until the completion.
    pub fn start_page_in(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        device: &SwapDevice<S>,
    ) -> Result<(), OpInUse> {
        let index = self.claim_op(now_ns, index, Kind::PageIn, page)?;
        self.hedges.earn(device.hedge_percent());
        self.note_begun(now_ns, device.io_timeout_ns());
        self.begin_page_in(now_ns, index, device);
        Ok(())
    }

    pub(super) fn begin_page_in(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let op = &self.ops[index];
        if op.disk.is_in_hand() {
            return;
        }
        let page = op.page;
        let next = device.next_version();
        let entry = loop {
            let entry = device.map.load(page);
            if !entry.is_busy() {
                break entry;
            }
            if self.ops[index].is_background {
                // The page-out under way makes its copies.
                self.end(index, Outcome::Failed);
                return;
            }
            if self.park(now_ns, index, device) {
                self.ops[index].disk.reset();
                return;
            }
        };
        if !entry.is_written() {
            self.end(index, Outcome::Zeros);
            return;
        }
        let op = &mut self.ops[index];
        if op.generation != entry.generation() {
            op.tried = SlotSet::EMPTY;
            op.doubted = SlotSet::EMPTY;
            op.disk.reset();
        }
        op.generation = entry.generation();
        op.version = next;
        op.assembly = None;
        self.ask_first_source(now_ns, index, entry, device);
    }

    /// Restarts the page-in if nothing of it is under way any more.
    pub(super) fn continue_page_in(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        if !self.ops[index].is_waiting() {
            self.begin_page_in(now_ns, index, device);
        }
    }

    /// Restarts the page-in, which may have ended, if nothing of it is under way any more.
    pub(super) fn advance_page_in(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        if matches!(self.ops[index].stage, Stage::Active | Stage::Stalled) {
            self.continue_page_in(now_ns, index, device);
        }
    }

    pub(super) fn page_in_timed_out(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) {
        let op = &self.ops[id.op];
        let entry = device.map.load(op.page);
        if entry.generation() != op.generation && !entry.is_busy() {
            // It has been written since, so other servers hold it now.
            for id in id.op.transfers() {
                self.release(id);
            }
            self.continue_page_in(now_ns, id.op, device);
            return;
        }
        let another = self.fail_over_or_ask_disk(now_ns, id.op, device);
        let op = &mut self.ops[id.op];
        let is_mixed = op.restarts == 0;
        let assembly = op.assembly;
        if another && !device.servers.usable().contains(slot) {
            self.release(id);
            return;
        }
        let asked = &self.ops[id];
        let (cut, content) = (asked.cut, asked.content);
        // Sealed copies of two versions do not go together.
        let is_same = |version| content.is_some_and(|(known, _)| known == version);
        let fits_others = |version| is_mixed && (!device.seals() || is_same(version));
        let have = assembly
            .filter(|one| one.cut == cut && (one.transfer == id || fits_others(one.version)));
        let have = have.map_or(FragmentMask::EMPTY, |assembly| assembly.have);
        self.resend(id, cut.all().without(have));
    }
}
