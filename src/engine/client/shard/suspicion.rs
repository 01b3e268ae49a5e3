// SPDX-License-Identifier: GPL-2.0

//! When a shard suspects a server, and what its requests do then.

use super::super::ids::{ServerSlot, SlotSet};
use super::super::stopped_client::TIMER_LATE_NS;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome};
use super::ops::TransferId;
use super::path::Path;
use super::transfer::Transfer;
use super::Shard;

/// The shortest silence after which a server is suspected, however quick it was. It is longer than
/// a stall of a busy machine, because page-outs then continue without the server. Page-ins ask
/// another replica after one timeout already.
const SUSPECT_MIN_NS: u64 = 250_000_000;
/// The longest, however slow the server was.
const SUSPECT_MAX_NS: u64 = 2_000_000_000;

impl Path {
    /// A frame of the server has been received: it is alive.
    pub(super) fn note_heard(&mut self, now_ns: u64) {
        self.heard_ns = now_ns;
        self.overdue = false;
    }

    /// How long the server may leave a request unanswered before it is suspected: three timeouts,
    /// but soon enough that the I/O timeout allows another attempt. The cause may be that long
    /// frames no longer cross the path.
    fn suspect_after_ns(&self, io_timeout_ns: u64) -> u64 {
        self.rtt
            .timeout_ns(0)
            .saturating_mul(3)
            .min(SUSPECT_MAX_NS)
            .min(io_timeout_ns / 4)
            .max(SUSPECT_MIN_NS)
    }
}

impl<S: Storage> Shard<S> {
    /// Nothing new waits for the server until it answers.
    pub(super) fn suspect(&mut self, slot: ServerSlot, device: &SwapDevice<S>) {
        self.suspicion |= device.servers.suspect(slot);
        self.usable = self.usable.without(SlotSet::one(slot));
    }

    /// The server has not answered in time. Suspects it if it has been silent for long, and this client
    /// has not been stopped meanwhile.
    pub(super) fn suspect_if_silent(
        &mut self,
        now_ns: u64,
        id: TransferId,
        transfer: Transfer,
        device: &SwapDevice<S>,
    ) {
        let slot = transfer.slot;
        let was_stopped = now_ns.saturating_sub(transfer.due_ns) >= TIMER_LATE_NS;
        let path = &self.paths[slot];
        let silent_ns = now_ns.saturating_sub(path.heard_ns.max(transfer.began_ns));
        if was_stopped {
            self.ops[id].began_ns = now_ns;
        } else if silent_ns >= path.suspect_after_ns(device.io_timeout_ns()) {
            self.suspect(slot, device);
        }
    }

    /// The server answers, but never has the page. After as long as a silent server is allowed, the
    /// op turns to others.
    pub(super) fn leave_if_useless(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
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
            Kind::RepairToServer => self.end(id.op, Outcome::Failed),
            // It asks others when it times out, or has done so already.
            Kind::PageIn | Kind::RepairToDisk => {}
        }
    }
}
