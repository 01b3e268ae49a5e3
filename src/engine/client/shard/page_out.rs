// SPDX-License-Identifier: GPL-2.0

//! Page-outs: one copy goes to each of the least utilised servers (`placement.rs`), and another server gets
//! the copy of one that does not take it. How they end: `page_out_end.rs`.

use super::super::ids::{PageIndex, ServerSlot, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome, Stage};
use super::ops::{OpId, TransferId};
use super::transfer::TransferStage;
use super::{OpInUse, Shard};

impl<S: Storage> Shard<S> {
    /// Begins a page-out. `fill` is the page's value if it is same-filled. `crc` is the CRC32C of the page,
    /// or of those 8 bytes; `None` for a whole page that will be sealed. The page must stay in place until
    /// the completion.
    pub fn start_page_out(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        fill: Option<u64>,
        crc: Option<u32>,
        device: &SwapDevice<S>,
    ) -> Result<(), OpInUse> {
        let index = self.claim_op(now_ns, index, Kind::PageOut, page)?;
        let op = &mut self.ops[index];
        op.fill = fill;
        op.crc = crc;
        self.note_begun(now_ns, device.io_timeout_ns());
        self.begin_page_out(now_ns, index, device);
        Ok(())
    }

    pub(super) fn begin_page_out(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let op = &self.ops[index];
        let page = op.page;
        if page.0 as usize >= device.map.len() {
            self.end(index, Outcome::Failed);
            return;
        }
        while self.ops[index].begun.is_none() {
            match device.map.begin_write(page) {
                Some(entry) => {
                    // A copy that is not cancelled has a lower version than this page-out.
                    device.copies.cancel(page);
                    // The version is taken after the page was claimed, so that the versions of a
                    // page rise.
                    let version = device.take_version();
                    let op = &mut self.ops[index];
                    op.begun = Some(entry);
                    op.version = version;
                    self.begin_put(index, device);
                }
                None if self.park(now_ns, index, device) => return,
                None => {}
            }
        }
        self.continue_page_out(now_ns, index, device);
    }

    /// Assigns idle transfers to servers, and ends the op if nothing more can be done for it.
    pub(super) fn continue_page_out(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        for id in index.first_transfers(device.replicas()) {
            self.release_if_invalid(id, device);
            let op = &mut self.ops[index];
            if op.transfers[id].stage != TransferStage::Idle {
                continue;
            }
            op.stage = Stage::Active;
            let Some(slot) = self.place(now_ns, index, device) else {
                // The next transfer may be invalid, and its slot another session's.
                continue;
            };
            self.start_page_out_transfer(now_ns, id, slot, device);
        }
        self.decide_page_out(now_ns, index, device);
    }

    /// Continues the page-out, unless servers are still to answer.
    pub(super) fn advance_page_out(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let op = &self.ops[index];
        if matches!(op.stage, Stage::Active | Stage::Stalled) && !op.is_waiting() {
            self.continue_page_out(now_ns, index, device);
        }
    }

    fn start_page_out_transfer(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) {
        let op = &mut self.ops[id.op];
        op.tried.insert(slot);
        op.sent_to.insert(slot);
        // Once it has been sent the newer version, it may hold either.
        if op
            .begun
            .is_some_and(|entry| entry.replicas().contains(slot))
            && !mutated!(StaleReplicaKept)
        {
            device.map.forget(op.page, SlotSet::one(slot));
        }
        self.paths[slot].placed.add(device.servers.load(slot));
        self.start_transfer(now_ns, id, slot, device);
    }

    pub(super) fn page_out_timed_out(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) {
        self.want_disk(id.op, device);
        match device.servers.usable().contains(slot) {
            true => self.resend_missing(id),
            false => self.move_page_out(now_ns, id, device),
        }
    }

    /// Another server gets the copy in place of this one.
    pub(super) fn move_page_out(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        self.release(id);
        self.counters.failovers = self.counters.failovers.wrapping_add(1);
        self.continue_page_out(now_ns, id.op, device);
    }
}
