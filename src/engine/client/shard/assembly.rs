// SPDX-License-Identifier: GPL-2.0

//! A page that is assembled from fragments.
//!
//! The rules: `docs/protocol.md`, "Fragments" and "READ".

use super::super::ids::Version;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Outcome, Stage};
use super::ops::TransferId;
use super::transfer::{TransferStage, MOST_IN_VAIN};
use super::{Receive, Received, Shard};
use crate::wire::{FragmentMask, Fragmentation, PageSum};

/// A page that is being assembled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assembly {
    pub(super) transfer: TransferId,
    pub(super) version: Version,
    pub(super) sum: PageSum,
    pub(super) cut: Fragmentation,
    pub(super) have: FragmentMask,
    /// When a useful fragment last arrived.
    pub(super) last_fragment_ns: u64,
}

impl<S: Storage> Shard<S> {
    /// The claim ends.
    pub fn received(
        &mut self,
        now_ns: u64,
        receive: &Receive,
        received: Received,
        device: &SwapDevice<S>,
    ) {
        let id = receive.id;
        let op = &mut self.ops[id.op];
        op.claimed = false;
        if receive.filled {
            let transfer = &op.transfers[id];
            let is_asked = transfer.is_asked() && transfer.has_sent(receive.attempt);
            if op.stage == Stage::Active && is_asked && received != Received::Lost {
                self.complete_page_in(now_ns, receive, received, device);
            }
            self.requeue_after_claim(id.op);
            self.unpin(id.op);
            return;
        }
        if received == Received::Lost && receive.verify.is_some() {
            // Some of it may have been opened where it was.
            op.assembly = op.assembly.filter(|one| one.transfer != id);
        }
        let fed = op.assembly.as_mut().filter(|assembly| {
            received != Received::Lost && op.stage == Stage::Active && assembly.transfer == id
        });
        if let Some(assembly) = fed {
            let transfer = &mut op.transfers[id];
            assembly.have.insert(receive.index);
            let is_more = transfer.note_progress(assembly.have);
            if is_more || transfer.in_vain <= MOST_IN_VAIN {
                assembly.last_fragment_ns = now_ns;
            }
            let (have, cut) = (assembly.have, assembly.cut);
            if have == cut.all() {
                self.complete_page_in(now_ns, receive, received, device);
            } else if is_more {
                self.give_more_time(now_ns, id, cut.all().without(have), device);
            }
        }
        self.requeue_after_claim(id.op);
        self.unpin(id.op);
    }

    /// Progress: the rest of the page gets a full timeout again.
    fn give_more_time(
        &mut self,
        now_ns: u64,
        id: TransferId,
        rest: FragmentMask,
        device: &SwapDevice<S>,
    ) {
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
            self.request_missed(id, rest);
        }
    }

    /// All of the page has arrived. If it is right, the page-in ends.
    #[inline]
    fn complete_page_in(
        &mut self,
        now_ns: u64,
        receive: &Receive,
        received: Received,
        device: &SwapDevice<S>,
    ) {
        let id = receive.id;
        let (crc, fill) = match received {
            Received::Whole { crc, fill } => (crc, fill),
            _ if mutated!(CrcUncheckedIn) && !receive.filled => (None, None),
            _ => {
                self.damaged_in(now_ns, id, device);
                return;
            }
        };
        self.note_success(now_ns, id, receive.attempt);
        self.note_whole(id);
        let op = &mut self.ops[id.op];
        op.crc = crc;
        if fill.is_some() && !op.is_background {
            self.counters.same_filled_in = self.counters.same_filled_in.wrapping_add(1);
        }
        self.end(id.op, fill.map_or(Outcome::Done, Outcome::Filled));
    }

    /// Requests the fragments that came while others were being copied.
    #[cold]
    fn request_missed(&mut self, id: TransferId, rest: FragmentMask) {
        let transfer = &mut self.ops[id];
        let missed = core::mem::take(&mut transfer.missed).intersection(rest);
        if transfer.stage == TransferStage::Sent && !missed.is_empty() {
            self.resend(id, missed);
        }
    }

    /// Until when fragments that another transfer began to assemble are kept: as long as a page-in
    /// of its server takes. 0 if there are none.
    pub(super) fn others_until_ns(&self, id: TransferId) -> u64 {
        let assembly = self.ops[id.op].assembly.as_ref();
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
