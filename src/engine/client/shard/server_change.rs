// SPDX-License-Identifier: GPL-2.0

//! What happens to requests under way when a server becomes usable or unusable, or its path MTU
//! shrinks.

use super::super::ids::SlotSet;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Stage};
use super::ops::{OpId, TransferId};
use super::transfer::TransferStage;
use super::Shard;

impl<S: Storage> Shard<S> {
    /// The set of servers or a path MTU has changed: ends transfers to servers that are gone, and
    /// advances the op.
    pub(super) fn apply_server_change(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let mut dropped = false;
        for id in index.transfers() {
            dropped |= self.release_if_invalid(id, device);
            self.cut_smaller(now_ns, id, device);
        }
        // An op that waits for the disk only may use servers again.
        if !dropped && self.ops[index].is_waiting() {
            return;
        }
        match self.ops[index].kind {
            Kind::PageOut => self.continue_page_out(now_ns, index, device),
            Kind::PageIn => self.continue_page_in(now_ns, index, device),
            Kind::RepairToServer => self.continue_copy(index),
            Kind::RepairToDisk => {}
        }
    }

    /// Asks these servers, which are usable again, at once for what they have not answered. The
    /// longer they were silent, the longer the op would otherwise wait.
    pub(super) fn retry_returned(
        &mut self,
        now_ns: u64,
        index: OpId,
        back: SlotSet,
        device: &SwapDevice<S>,
    ) {
        if back.is_empty() {
            return;
        }
        for id in index.transfers() {
            let transfer = &mut self.ops[id];
            let is_back = transfer.stage == TransferStage::Sent && back.contains(transfer.slot);
            if is_back && transfer.tries != 0 {
                // The earlier silence does not count.
                transfer.began_ns = now_ns;
                transfer.tries = 0;
                transfer.due_ns = now_ns;
            }
        }
        self.check_transfers(now_ns, index, device);
    }

    /// Releases the transfer if the server's pages are gone, or if a copy there no longer counts
    /// for a page-out. Returns whether it did.
    pub(super) fn release_if_invalid(&mut self, id: TransferId, device: &SwapDevice<S>) -> bool {
        let op = &self.ops[id.op];
        let transfer = &op.transfers[id];
        let quiescing = match op.kind {
            Kind::PageIn => SlotSet::EMPTY,
            _ => device.servers.quiescing(),
        };
        let slot = transfer.slot;
        let is_gone = transfer.stage != TransferStage::Idle
            && (quiescing.contains(slot) || !device.servers.is_current(slot, transfer.session))
            && !mutated!(IncarnationUnchecked);
        if is_gone {
            self.release(id);
        }
        is_gone
    }

    /// A server has become usable or unusable, valid or invalid, or its path MTU has shrunk.
    pub fn servers_changed(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        for slot in SlotSet::ALL.iter() {
            self.flush_waiting(slot);
        }
        let usable = device.servers.usable();
        let back = usable.without(self.usable);
        self.usable = usable;
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let stage = self.ops[index].stage;
            match stage {
                Stage::Active if self.end_if_in_vain(now_ns, index, device) => {}
                Stage::Active => {
                    self.apply_server_change(now_ns, index, device);
                    self.retry_returned(now_ns, index, back, device);
                }
                Stage::Stalled => self.retry_op(now_ns, index, device),
                Stage::Parked | Stage::Free | Stage::Ended(_) => {}
            }
        }
    }
}
