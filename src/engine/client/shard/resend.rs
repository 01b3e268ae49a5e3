// SPDX-License-Identifier: GPL-2.0

//! Sends a transfer again. When: `transfer_timeout.rs`.
//!
//! The rules: `docs/protocol.md`, "Pages" and "WRITE".

use super::super::storage::Storage;
use super::ops::TransferId;
use super::transfer::TransferStage;
use super::Shard;
use crate::wire::FragmentMask;

impl<S: Storage> Shard<S> {
    /// Queues a transfer again, for `pending`, under a new attempt.
    pub(super) fn resend(&mut self, id: TransferId, pending: FragmentMask) {
        let op = &mut self.ops[id.op];
        let attempt = op.take_attempt();
        let transfer = &mut op.transfers[id];
        transfer.attempt = attempt;
        transfer.pending = pending;
        transfer.stage = TransferStage::Queued;
        self.counters.retransmissions = self.counters.retransmissions.wrapping_add(1);
        self.push_ready(id);
    }

    /// The server has not answered in time. The first time, sends again what it has not reported to
    /// hold. From the second time on sends the whole page: the server may have dropped fragments
    /// for other pages, and those for this one, so that none would ever be complete.
    pub(super) fn resend_missing(&mut self, id: TransferId) {
        let transfer = &self.ops[id];
        let all = transfer.cut.all();
        let missing = all.without(transfer.held);
        // A server that held all of it would have reported that.
        let is_whole = missing.is_empty() || transfer.tries > 1;
        self.resend(id, if is_whole { all } else { missing });
    }
}
