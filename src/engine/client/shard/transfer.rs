// SPDX-License-Identifier: GPL-2.0

//! One server's part in an op.

use super::super::ids::{ServerSlot, Version};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::list::Place;
use super::ops::TransferId;
use super::Shard;
use crate::wire::{FragmentMask, Fragmentation, PageSum};

/// After this many answers in a row without progress, missing fragments are sent again only after a
/// timeout.
pub(super) const MOST_IN_VAIN: u32 = 8;

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TransferStage {
    /// Unused.
    #[default]
    Idle,
    /// In a list, to be sent.
    Queued,
    /// Sent, not answered.
    Sent,
    /// Acknowledged.
    Acknowledged,
}

/// One server's part in an op: a copy of a page-out, or the READ of a page-in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transfer {
    pub(super) stage: TransferStage,
    /// The last server that it was assigned to.
    pub(super) slot: ServerSlot,
    /// The server's incarnation when the transfer began. Answers of another one do not match.
    pub(super) incarnation: u64,
    pub(super) session: u64,
    pub(super) first_attempt: u32,
    pub(super) attempt: u32,
    /// Timeouts since the last progress.
    pub(super) tries: u32,
    /// When it began with this server, for suspicion.
    pub(super) began_ns: u64,
    pub(super) first_sent_ns: u64,
    pub(super) sent_ns: u64,
    /// Whether its round trip has been measured.
    pub(super) measured: bool,
    pub(super) due_ns: u64,
    pub(super) cut: Fragmentation,
    /// Fragments to send (page-out) or to request (page-in).
    pub(super) pending: FragmentMask,
    /// Page-out: fragments that the server has reported to hold.
    pub(super) held: FragmentMask,
    /// The most fragments that the server has ever reported to hold (page-out), or that were there
    /// after one of its fragments (page-in).
    pub(super) most_held: u32,
    /// Page-in: fragments that were dropped while another was being copied.
    pub(super) missed: FragmentMask,
    /// Answers without progress since the last progress.
    pub(super) in_vain: u32,
    /// Page-in: the version and the sums of the page that the server sends.
    pub(super) content: Option<(Version, PageSum)>,
    /// Whether the page has arrived damaged, at the server or from it.
    pub(super) was_damaged: bool,
    /// Whether it counts in the server's window.
    pub(super) in_window: bool,
    /// Whether its frames are being sent right now. No other CPU may touch them.
    pub(super) sending: bool,
    /// In the ready list, or in the list that waits for its server's window.
    pub(super) place: Place<TransferId>,
}

impl Transfer {
    /// Whether the server is asked, or is about to be, and has not answered.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.stage, TransferStage::Queued | TransferStage::Sent)
    }

    /// Whether `attempt` is one of its sendings.
    pub(super) fn has_sent(&self, attempt: u32) -> bool {
        let since_first = attempt.wrapping_sub(self.first_attempt);
        since_first <= self.attempt.wrapping_sub(self.first_attempt)
    }

    /// Notes that the server holds or has sent these fragments. Returns whether they are more than ever.
    pub(super) fn note_progress(&mut self, held: FragmentMask) -> bool {
        let count = held.bits().count_ones();
        let is_more = count > self.most_held;
        self.most_held = self.most_held.max(count);
        self.in_vain = match is_more {
            true => 0,
            false => self.in_vain.saturating_add(1),
        };
        is_more
    }
}

impl<S: Storage> Shard<S> {
    /// Assigns the transfer to `slot`, and queues it.
    pub(super) fn start_transfer(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) {
        let address = device.servers.address(slot);
        let cut = device.servers.fragmentation(slot);
        let old = &self.ops[id];
        if old.place.is_linked() {
            // It may be in the list of a server whose window no longer moves.
            self.flush_waiting(old.slot);
        }
        let op = &mut self.ops[id.op];
        let first_attempt = op.take_attempt();
        let transfer = &mut op.transfers[id];
        *transfer = Transfer {
            stage: TransferStage::Queued,
            slot,
            incarnation: address.incarnation,
            session: address.session,
            first_attempt,
            attempt: first_attempt,
            began_ns: now_ns,
            cut,
            pending: cut.all(),
            // It stays in the list in which it is.
            place: transfer.place,
            sending: transfer.sending,
            ..Transfer::default()
        };
        self.push_ready(id);
    }

    /// The transfer has ended, with or without success: nothing of it is under way any more.
    #[inline]
    pub(super) fn release(&mut self, id: TransferId) {
        self.ops[id].stage = TransferStage::Idle;
        self.leave_window(id);
    }

    /// The transfer no longer counts in its server's window; waiting transfers become ready.
    #[inline]
    pub(super) fn leave_window(&mut self, id: TransferId) {
        let transfer = &mut self.ops[id];
        let slot = transfer.slot;
        if core::mem::take(&mut transfer.in_window) && !mutated!(WindowLeaks) {
            self.paths[slot].window.leave();
            self.flush_waiting(slot);
        }
    }
}
