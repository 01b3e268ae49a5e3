// SPDX-License-Identifier: GPL-2.0

//! What a page that has arrived damaged, or an answer that is of no use, leads to.
//!
//! The rules: `docs/protocol.md`, "READ" and "WRITE".

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::ops::TransferId;
use super::Shard;
use crate::wire::FragmentMask;

/// How often in a row a page may arrive damaged before the server, not the path, is at fault.
const MOST_DAMAGED: u32 = 3;

impl<S: Storage> Shard<S> {
    /// The page has arrived damaged at a server. A server where this repeats is left, however
    /// well it answers other requests.
    #[cold]
    pub(super) fn damaged_out(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        self.counters.corrupt_out = self.counters.corrupt_out.wrapping_add(1);
        self.transfer_again(now_ns, id, device);
    }

    /// The page has arrived damaged from a server: discards it and requests all of it again, from the
    /// next holder if there is one, else from this one.
    #[cold]
    pub(super) fn damaged_in(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        self.counters.corrupt_in = self.counters.corrupt_in.wrapping_add(1);
        let op = &mut self.ops[id.op];
        // A page from another server may be whole.
        op.assembly = op.assembly.filter(|one| one.transfer != id);
        op.restarts = op.restarts.saturating_add(1);
        match self.fail_over(now_ns, id.op, device) {
            true => self.release(id),
            false => self.transfer_again(now_ns, id, device),
        }
    }

    /// Damage on the path is transient: the first time, sends or requests the page again at once. Damage in
    /// memory persists: after that, waits for the transfer's timeout.
    fn transfer_again(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        let transfer = &mut self.ops[id];
        transfer.held = FragmentMask::EMPTY;
        transfer.content = None;
        let is_new = !core::mem::replace(&mut transfer.was_damaged, true);
        if is_new {
            let all = transfer.cut.all();
            self.resend(id, all);
        }
        self.note_useless(now_ns, id, MOST_DAMAGED, device);
    }

    /// The server's answer is of no use. A server that repeats such answers is suspected.
    #[cold]
    pub(super) fn note_useless(
        &mut self,
        now_ns: u64,
        id: TransferId,
        most: u32,
        device: &SwapDevice<S>,
    ) {
        let transfer = &mut self.ops[id];
        if !transfer.note_progress(FragmentMask::EMPTY) && transfer.in_vain > most {
            self.leave_if_useless(now_ns, id, device);
        }
    }
}
