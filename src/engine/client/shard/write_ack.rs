// SPDX-License-Identifier: GPL-2.0

//! What a server's answer to a page-out means.
//!
//! The rules: `docs/protocol.md`, "WRITE".

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome};
use super::ops::TransferId;
use super::transfer::{TransferStage, MOST_IN_VAIN};
use super::Shard;
use crate::wire::{FragmentMask, Header, Status};

impl<S: Storage> Shard<S> {
    pub(super) fn handle_write_ack(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        device: &SwapDevice<S>,
    ) {
        let is_copy = self.ops[id.op].kind == Kind::RepairToServer;
        match header.status {
            Status::Ok => {
                let slot = self.ops[id].slot;
                let load = device.servers.load(slot);
                self.paths[slot]
                    .placed
                    .acknowledged(load, header.utilisation);
                self.note_success(now_ns, id, header.attempt);
                self.note_room(id);
            }
            Status::Incomplete => return self.handle_gap(now_ns, id, header, device),
            Status::Corrupt => return self.damaged_out(now_ns, id, device),
            Status::NoSpace | Status::Quota => self.note_refusal(now_ns, id, device),
            Status::Wait => self.note_checking(now_ns, id, device),
            Status::Stale if !is_copy && self.renew_stale(now_ns, id.op, device) => return,
            // It holds a version newer than any that exists, or its answer makes no sense.
            _ => {}
        }
        let is_done = header.status == Status::Ok;
        if is_copy {
            self.end(id.op, Outcome::of(is_done));
            return;
        }
        if is_done {
            self.ops[id].stage = TransferStage::Acknowledged;
            self.leave_window(id);
        } else {
            self.release(id);
        }
        if !is_done || !self.ops[id.op].is_waiting() || mutated!(AckBeforeSecondCopy) {
            // Not yet the end if a copy has been lost or a server has become usable meanwhile.
            self.continue_page_out(now_ns, id.op, device);
        }
    }

    /// A later fragment has arrived and an earlier one has not: sends the missing ones below it. If
    /// the server has dropped fragments that it held (it had too many incomplete pages), sends all
    /// of them when the window, which shrinks, has room again.
    ///
    /// A server that repeats this without ever holding more is treated as silent, and suspected.
    pub(super) fn handle_gap(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        device: &SwapDevice<S>,
    ) {
        let transfer = &mut self.ops[id];
        // A server may claim to hold fragments that do not exist.
        let reported = header.fragment_mask.intersection(transfer.cut.all());
        if transfer.note_progress(reported) {
            if !transfer.was_damaged {
                transfer.tries = 0;
            }
        } else if transfer.in_vain > MOST_IN_VAIN {
            self.leave_if_useless(now_ns, id, device);
            return;
        }
        let transfer = &mut self.ops[id];
        if transfer.stage != TransferStage::Sent || header.attempt != transfer.attempt {
            transfer.held = transfer.held.union(reported);
            return;
        }
        let (slot, cut) = (transfer.slot, transfer.cut);
        let dropped = !transfer.held.without(reported).is_empty();
        transfer.held = reported;
        let held = reported.bits();
        // CAST: below 256; the mask of all below the highest that is held.
        let below_highest = (1_u32 << (u8::BITS - held.leading_zeros())).wrapping_sub(1) as u8;
        let gap = FragmentMask::from_bits(below_highest & !held);
        if gap.is_empty() && !dropped {
            return;
        }
        if dropped {
            let path = &mut self.paths[slot];
            path.window.on_loss(now_ns, path.rtt.smoothed_ns());
            self.leave_window(id);
            self.resend(id, cut.all());
        } else {
            self.resend(id, gap);
        }
    }
}
