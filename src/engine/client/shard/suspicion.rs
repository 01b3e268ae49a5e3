// SPDX-License-Identifier: GPL-2.0

//! When a shard suspects a server, and what its requests do then.
//!
//! The rules for what a server reports: `docs/protocol.md`, "High water".

use super::super::ids::{ServerSlot, SlotSet, Version};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::super::versions::Witness;
use super::op::{Kind, Outcome};
use super::ops::TransferId;
use super::transfer::Transfer;
use super::Shard;
use crate::wire::Header;

impl<S: Storage> Shard<S> {
    /// Nothing new waits for the server until it answers.
    pub(super) fn suspect(&mut self, slot: ServerSlot, device: &SwapDevice<S>) {
        self.suspicion |= device.servers.suspect(slot);
        self.usable = self.usable.without(SlotSet::one(slot));
    }

    /// A server reports which versions have been used. An answer that is not believed does not
    /// count, and its transfer moves to another server.
    #[inline]
    pub(super) fn check_high_water(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        device: &SwapDevice<S>,
    ) -> bool {
        let (slot, incarnation) = (self.ops[id].slot, header.incarnation);
        let was_usable = device.servers.usable().contains(slot);
        let witness = Witness { slot, incarnation };
        if device.note_high_water(witness, Version(header.low_water)) {
            return true;
        }
        self.suspicion |= was_usable;
        self.leave_server(now_ns, id, slot, device);
        false
    }

    /// The server answers, but never has the page. After as long as a silent server is allowed, the
    /// op turns to others.
    pub(super) fn give_up_on(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        let Transfer { slot, began_ns, .. } = self.ops[id];
        let since_ns = now_ns.saturating_sub(began_ns);
        if since_ns >= self.paths[slot].suspect_after_ns(device.io_timeout_ns()) {
            self.leave_server(now_ns, id, slot, device);
        }
    }

    /// Suspects a server whose answers are useless, and moves the op to others.
    pub(super) fn leave_server(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) {
        self.suspect(slot, device);
        self.paths[slot].overdue = true;
        match self.ops[id.op].kind {
            Kind::PageOut => {
                self.want_disk(id.op, device);
                self.move_page_out(now_ns, id, device);
            }
            Kind::Copy => self.end(id.op, Outcome::Failed),
            // It asks others when it times out, or has done so already.
            Kind::PageIn | Kind::Mirror => {}
        }
    }
}
