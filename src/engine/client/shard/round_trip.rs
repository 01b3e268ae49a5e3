// SPDX-License-Identifier: GPL-2.0

//! Measures round trips by the answers, timely and late.

use super::super::ids::ServerSlot;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::Kind;
use super::ops::TransferId;
use super::transfer::TransferStage;
use super::Shard;
use crate::wire::{Header, MacAddress};

impl<S: Storage> Shard<S> {
    /// A late answer, which no transfer waits for, still shows that the server is alive.
    pub(super) fn note_late(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        header: &Header,
        device: &SwapDevice<S>,
    ) {
        let from = device.servers.valid().iter().find(|&slot| {
            let address = device.servers.address(slot);
            address.mac == source
                && address.session == header.session
                && address.incarnation == header.incarnation
        });
        if let Some(slot) = from {
            self.paths[slot].note_heard(now_ns);
            self.measure_late(now_ns, slot, header);
        }
    }

    /// The transfer was answered as expected: measures it, and opens the window.
    #[inline]
    pub(super) fn note_success(&mut self, now_ns: u64, id: TransferId, attempt: u32) {
        self.measure(now_ns, id, attempt);
        self.paths[self.ops[id].slot].window.on_answer();
    }

    /// Measures the round trip of attempt `attempt`, if it was the first or the last: only their
    /// send times are known.
    fn measure(&mut self, now_ns: u64, id: TransferId, attempt: u32) {
        let op = &mut self.ops[id.op];
        let is_page_in = op.kind == Kind::PageIn;
        let transfer = &mut op.transfers[id];
        let sent_ns = if attempt == transfer.first_attempt {
            transfer.first_sent_ns
        } else if attempt == transfer.attempt && transfer.stage != TransferStage::Queued {
            transfer.sent_ns
        } else {
            return;
        };
        if core::mem::replace(&mut transfer.measured, true) || sent_ns == 0 {
            return;
        }
        let rtt_ns = now_ns.saturating_sub(sent_ns);
        let path = &mut self.paths[transfer.slot];
        path.rtt.sample(rtt_ns);
        if is_page_in {
            path.note_page_in(rtt_ns);
        }
    }

    /// Takes the round trip of a late answer if its op has not been reused. Otherwise only quick
    /// answers would be measured.
    fn measure_late(&mut self, now_ns: u64, slot: ServerSlot, header: &Header) {
        let Some(index) = self.op_of_tag(header.tag) else {
            return;
        };
        let op = &self.ops[index];
        let found = index.transfers().find(|&id| {
            let transfer = &op.transfers[id];
            transfer.slot == slot
                && transfer.session == header.session
                && transfer.incarnation == header.incarnation
        });
        if let Some(id) = found {
            self.measure(now_ns, id, header.attempt);
        }
    }
}
