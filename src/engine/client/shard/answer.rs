// SPDX-License-Identifier: GPL-2.0

//! Which transfer a frame answers, and what an answer says of its server.

use super::super::device::Device;
use super::super::ids::{ServerSlot, Version};
use super::super::storage::Storage;
use super::super::versions::Witness;
use super::op::{Kind, Stage};
use super::ops::TransferId;
use super::transfer::{Transfer, TransferStage};
use super::Shard;
use crate::wire::{Header, MacAddress, Opcode};

impl<S: Storage> Shard<S> {
    /// The transfer that a frame answers. `None` if it answers none: it is late, repeated,
    /// foreign or forged.
    pub(super) fn find_transfer(
        &self,
        source: MacAddress,
        header: &Header,
        device: &Device<S>,
    ) -> Option<TransferId> {
        let index = self.op_of_tag(header.tag)?;
        let op = &self.ops[index];
        let expected = match op.kind {
            Kind::PageOut | Kind::Copy | Kind::Mirror => Opcode::WriteAck,
            Kind::PageIn => Opcode::ReadReply,
        };
        if mutated!(StaleReplyAccepted) && op.stage == Stage::Active && header.opcode == expected {
            let asked = |transfer: &Transfer| transfer.incarnation == header.incarnation;
            return index.transfers().find(|&id| asked(&op.transfers[id]));
        }
        if op.stage != Stage::Active
            || header.opcode != expected
            || header.page != u64::from(op.page.0)
            || (op.kind != Kind::PageIn && header.version != op.version.0)
        {
            return None;
        }
        let found = index.transfers().find(|&id| {
            let transfer = &op.transfers[id];
            // A transfer that is queued to be sent again may still be answered.
            let asked = matches!(transfer.stage, TransferStage::Sent | TransferStage::Queued);
            let since_first = header.attempt.wrapping_sub(transfer.first_attempt);
            let since_first_max = transfer.attempt.wrapping_sub(transfer.first_attempt);
            asked
                && since_first <= since_first_max
                && transfer.session == header.session
                && transfer.incarnation == header.incarnation
        })?;
        let slot = op.transfers[found].slot?;
        (device.servers.is_current(slot, header.session) && device.servers.is_at(slot, source))
            .then_some(found)
    }

    /// A server reports which versions have been used. An answer that is not believed does not
    /// count, and its transfer moves to another server.
    #[inline]
    pub(super) fn is_believed(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        device: &Device<S>,
    ) -> bool {
        let Some(slot) = self.ops[id].slot else {
            return true;
        };
        let incarnation = header.incarnation;
        let was_usable = device.servers.usable().contains(slot);
        let witness = Witness { slot, incarnation };
        if device.note_high_water(witness, Version(header.low_water)) {
            return true;
        }
        self.suspicion |= was_usable;
        self.leave(now_ns, id, slot, device);
        false
    }

    /// A server has answered, so it is alive.
    pub(super) fn note_heard(&mut self, now_ns: u64, id: TransferId) {
        if let Some(slot) = self.ops[id].slot {
            let path = self.path_mut(slot);
            path.heard_ns = now_ns;
            path.overdue = false;
        }
    }

    /// A late answer, which no transfer waits for, still shows that the server is alive.
    pub(super) fn note_late(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        header: &Header,
        device: &Device<S>,
    ) {
        let from = device.servers.valid().iter().find(|&slot| {
            let address = device.servers.address(slot);
            address.mac == source
                && address.session == header.session
                && address.incarnation == header.incarnation
        });
        if let Some(slot) = from {
            let path = self.path_mut(slot);
            path.heard_ns = now_ns;
            path.overdue = false;
            self.measure_late(now_ns, slot, header);
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
            transfer.slot == Some(slot)
                && transfer.session == header.session
                && transfer.incarnation == header.incarnation
        });
        if let Some(id) = found {
            self.measure(now_ns, id, header.attempt);
        }
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
        let Some(slot) = transfer.slot else {
            return;
        };
        if core::mem::replace(&mut transfer.measured, true) || sent_ns == 0 {
            return;
        }
        let rtt_ns = now_ns.saturating_sub(sent_ns);
        let path = self.path_mut(slot);
        path.rtt.sample(rtt_ns);
        if is_page_in {
            path.note_page_in(rtt_ns);
        }
    }

    /// The transfer was answered as expected: measures it, and opens the window.
    #[inline]
    pub(super) fn note_success(&mut self, now_ns: u64, id: TransferId, attempt: u32) {
        self.measure(now_ns, id, attempt);
        if let Some(slot) = self.ops[id].slot {
            self.path_mut(slot).window.on_answer();
        }
    }
}
