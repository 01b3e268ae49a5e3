// SPDX-License-Identifier: GPL-2.0

//! What happens when the answer to a transfer does not come within the retransmission timeout, which is
//! capped here for the I/O timeout. Its formula: `client/retransmission_timeout.rs`.
//!
//! When a server is suspected: `suspicion.rs`. When an op is given up: `io_timeout.rs`.

use super::super::ids::ServerSlot;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome, Stage};
use super::ops::{OpId, TransferId};
use super::path::Path;
use super::transfer::{Transfer, TransferStage};
use super::Shard;

/// The number of attempts that fit at least into the I/O timeout.
const TRIES: u64 = 8;

impl Path {
    /// How long to wait for an answer after `tries` timeouts: however slow the path was, several
    /// attempts fit into the I/O timeout.
    pub(super) fn retry_after_ns(&self, tries: u32, io_timeout_ns: u64) -> u64 {
        self.rtt
            .timeout_ns(tries)
            .min(Self::tries_within(io_timeout_ns))
    }

    /// The longest wait for an answer, so that several attempts fit into the I/O timeout.
    fn tries_within(io_timeout_ns: u64) -> u64 {
        io_timeout_ns / TRIES
    }
}

impl<S: Storage> Shard<S> {
    /// Checks every transfer of an active op for timeouts.
    pub(super) fn check_transfers(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        self.check_hedge(now_ns, index, device);
        for id in index.transfers() {
            let op = &self.ops[index];
            if op.stage != Stage::Active {
                return;
            }
            let current = op.transfers[id];
            if !current.is_asked() {
                continue;
            }
            // The I/O timeout may have been shortened since.
            let bound_ns = Path::tries_within(device.io_timeout_ns());
            let is_sent = current.stage == TransferStage::Sent;
            let current = match is_sent {
                true => Transfer {
                    due_ns: current.due_ns.min(current.sent_ns.saturating_add(bound_ns)),
                    ..current
                },
                false => current,
            };
            if now_ns < current.due_ns {
                self.turn_from_silent(now_ns, id, device);
                self.note_deadline(current.due_ns);
                continue;
            }
            if current.stage == TransferStage::Sent {
                self.transfer_timed_out(now_ns, id, current, device);
            } else if current.due_ns != 0 {
                self.check_waiting(now_ns, id, device);
            }
        }
    }

    /// No answer has come in time.
    fn transfer_timed_out(
        &mut self,
        now_ns: u64,
        id: TransferId,
        transfer: Transfer,
        device: &SwapDevice<S>,
    ) {
        let slot = transfer.slot;
        self.counters.timeouts = self.counters.timeouts.wrapping_add(1);
        let path = &mut self.paths[slot];
        let rtt_ns = path.rtt.smoothed_ns();
        path.window.on_loss(now_ns, rtt_ns);
        path.overdue = true;
        self.suspect_if_silent(now_ns, id, transfer, device);
        let transfer = &mut self.ops[id];
        transfer.tries = transfer.tries.saturating_add(1);
        self.ask_again(now_ns, id, slot, device);
        // The path MTU may have changed: what was sent may have been too long.
        self.cut_again(now_ns, id, slot, device);
    }

    /// The transfer waits for a window that does not open: moves it if the server is unusable or
    /// another one holds the page.
    fn check_waiting(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        let slot = self.ops[id].slot;
        let wait_ns = self.paths[slot].retry_after_ns(0, device.io_timeout_ns());
        let again_ns = now_ns.saturating_add(wait_ns);
        self.ops[id].due_ns = again_ns;
        self.note_deadline(again_ns);
        if !device.servers.usable().contains(slot) {
            self.ask_again(now_ns, id, slot, device);
            return;
        }
        // The server that fills the window may be silent without being suspected yet.
        match self.ops[id.op].kind {
            Kind::PageOut => self.want_disk(id.op, device),
            Kind::PageIn => {
                if self.fail_over_or_ask_disk(now_ns, id.op, device) {
                    self.release(id);
                }
            }
            Kind::RepairToServer | Kind::RepairToDisk => {}
        }
    }

    /// Asks the server again, or another one.
    fn ask_again(&mut self, now_ns: u64, id: TransferId, slot: ServerSlot, device: &SwapDevice<S>) {
        match self.ops[id.op].kind {
            Kind::PageOut => self.page_out_timed_out(now_ns, id, slot, device),
            Kind::PageIn => self.page_in_timed_out(now_ns, id, slot, device),
            _ if device.servers.usable().contains(slot) => self.resend_missing(id),
            _ => self.end(id.op, Outcome::Failed),
        }
    }
}
