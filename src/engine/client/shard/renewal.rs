// SPDX-License-Identifier: GPL-2.0

//! Restarts page-outs under another version, because the page has changed or servers do not accept
//! the version.
//!
//! The rules: `docs/protocol.md`, "WRITE" (STALE) and "High water".

use super::super::ids::{Version, MAX_REPLICAS};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome, Stage};
use super::ops::OpId;
use super::transfer::TransferStage;
use super::Shard;

/// How often a page-out may take another version because a server has a later one: each of its
/// servers may know of higher versions than those before.
const MAX_RENEWALS: u32 = MAX_REPLICAS as u32 + 1;

impl<S: Storage> Shard<S> {
    /// A server has a later version than the page-out's: takes a still later version, unless this
    /// has happened too often.
    pub(super) fn renew_once_more(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> bool {
        let op = &mut self.ops[index];
        if op.renewals >= MAX_RENEWALS || op.disk.is_last {
            return false;
        }
        op.renewals = op.renewals.saturating_add(1);
        self.counters.versions_renewed = self.counters.versions_renewed.wrapping_add(1);
        self.renew(now_ns, index, device.take_version(), device);
        true
    }

    /// Sends the page-out again, with this version, to all servers that it was sent to.
    pub(super) fn renew(
        &mut self,
        now_ns: u64,
        index: OpId,
        version: Version,
        device: &SwapDevice<S>,
    ) {
        let op = &mut self.ops[index];
        op.version = version;
        // It may have been waiting for room in the mirror after its servers answered.
        op.stage = Stage::Active;
        self.restage(index);
        for id in index.transfers() {
            let transfer = &mut self.ops[id];
            if transfer.stage != TransferStage::Idle {
                let slot = transfer.slot;
                self.leave_window(id);
                self.start_transfer(now_ns, id, slot, device);
            }
        }
    }

    /// The versions have jumped: restarts what is under way with an earlier version. An answer
    /// about such a version may concern another life of the client.
    pub fn versions_jumped(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &self.ops[index];
            let is_under_way = matches!(op.stage, Stage::Active | Stage::Stalled);
            match op.kind {
                Kind::PageOut if is_under_way && op.begun.is_some() && !op.disk.is_last => {
                    self.counters.versions_renewed = self.counters.versions_renewed.wrapping_add(1);
                    self.renew(now_ns, index, device.take_version(), device);
                    self.advance_page_out(now_ns, index, device);
                }
                // Repair tries again.
                Kind::Copy if is_under_way => self.end(index, Outcome::Failed),
                Kind::PageOut | Kind::PageIn | Kind::Copy | Kind::Mirror => {}
            }
        }
    }
}
