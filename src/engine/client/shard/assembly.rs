// SPDX-License-Identifier: GPL-2.0

//! A page that is assembled from fragments.
//!
//! The rules: `docs/protocol.md`, "Fragments" and "READ".

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Outcome, Stage};
use super::ops::TransferId;
use super::transfer::{TransferStage, MOST_IN_VAIN};
use super::{Receive, Shard};
use crate::wire::{FragmentMask, Fragmentation};

/// A page that is being assembled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assembly {
    pub(super) transfer: TransferId,
    pub(super) crc: u32,
    pub(super) cut: Fragmentation,
    pub(super) have: FragmentMask,
    /// When a useful fragment last arrived.
    pub(super) last_fragment_ns: u64,
}

impl<S: Storage> Shard<S> {
    /// The claim ends: the fragment has been copied, or could not be (`copied`). `crc` is the
    /// checksum of the whole page if the fragment completes it.
    pub fn received(
        &mut self,
        now_ns: u64,
        receive: &Receive,
        copied: bool,
        crc: Option<u32>,
        device: &SwapDevice<S>,
    ) {
        let id = receive.id;
        let op = &mut self.ops[id.op];
        op.claimed = false;
        let fed = op
            .assembly
            .as_mut()
            .filter(|assembly| copied && op.stage == Stage::Active && assembly.transfer == id);
        if let Some(assembly) = fed {
            let transfer = &mut op.transfers[id];
            assembly.have.insert(receive.index);
            let is_more = transfer.note_progress(assembly.have);
            if is_more || transfer.in_vain <= MOST_IN_VAIN {
                assembly.last_fragment_ns = now_ns;
            }
            let assembly = *assembly;
            self.assembled(now_ns, receive, assembly, is_more, crc, device);
        }
        self.requeue_after_claim(id.op);
        self.unpin(id.op);
    }

    fn assembled(
        &mut self,
        now_ns: u64,
        receive: &Receive,
        assembly: Assembly,
        is_more: bool,
        crc: Option<u32>,
        device: &SwapDevice<S>,
    ) {
        let id = receive.id;
        if assembly.have != assembly.cut.all() {
            // Progress: the rest gets a full timeout again.
            if is_more {
                let transfer = &mut self.ops[id];
                let path = &self.paths[transfer.slot];
                let wait_ns = path.retry_after_ns(0, device.io_timeout_ns());
                let due_ns = now_ns.saturating_add(wait_ns);
                transfer.due_ns = due_ns;
                if !transfer.was_damaged {
                    transfer.tries = 0;
                }
                let has_missed = !transfer.missed.is_empty();
                self.note_deadline(due_ns);
                if has_missed {
                    self.request_missed(id, assembly);
                }
            }
            return;
        }
        if crc == Some(assembly.crc) || mutated!(CrcUncheckedIn) {
            self.note_success(now_ns, id, receive.attempt);
            self.note_whole(id);
            self.ops[id.op].crc = assembly.crc;
            self.end(id.op, Outcome::Done);
            return;
        }
        self.damaged_in(now_ns, id, device);
    }

    /// Requests the fragments that came while others were being copied.
    #[cold]
    fn request_missed(&mut self, id: TransferId, assembly: Assembly) {
        let transfer = &mut self.ops[id];
        let missed = core::mem::take(&mut transfer.missed).without(assembly.have);
        let missed = assembly.cut.all().intersection(missed);
        if transfer.stage == TransferStage::Sent && !missed.is_empty() {
            self.resend(id, missed);
        }
    }

    /// Until when fragments that another transfer began to assemble are kept: as long as a page-in
    /// of its server takes. 0 if there are none.
    pub(super) fn others_until_ns(&self, id: TransferId) -> u64 {
        let assembly = self.ops[id.op].assembly;
        let Some(assembly) = assembly.filter(|assembly| assembly.transfer != id) else {
            return 0;
        };
        let asked = &self.ops[assembly.transfer];
        // A server that is no longer asked sends no more.
        if !asked.is_asked() {
            return 0;
        }
        let answer_ns = self.paths[asked.slot].hedge_after_ns();
        assembly.last_fragment_ns.saturating_add(answer_ns)
    }
}
