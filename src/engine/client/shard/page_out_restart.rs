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
use super::send::Send;
use super::transfer::TransferStage;
use super::Shard;

/// How often a page may change during its page-out before that fails.
const MAX_CHANGES: u32 = 16;

/// How often a page-out may take another version because a server has a later one: each of its
/// servers may know of higher versions than those before.
const MAX_RENEWALS: u32 = MAX_REPLICAS as u32 + 1;

impl<S: Storage> Shard<S> {
    /// A server has a later version than the page-out's: takes a still later version, unless this
    /// has happened too often.
    pub(super) fn renew_stale(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) -> bool {
        let op = &mut self.ops[index];
        if op.renewals >= MAX_RENEWALS || op.disk.is_last {
            return false;
        }
        op.renewals = op.renewals.saturating_add(1);
        self.renew(now_ns, index, device);
        true
    }

    /// The page has changed since its checksum was computed. All copies must be of one version, so
    /// the page-out restarts with the next one.
    pub fn page_changed(&mut self, now_ns: u64, send: &Send, crc: u32, device: &SwapDevice<S>) {
        let index = send.id.op;
        let op = &mut self.ops[index];
        if op.stage != Stage::Active
            || op.kind != Kind::PageOut
            || op.version.0 != send.header.version
        {
            return;
        }
        self.restart_changed(now_ns, index, crc, device);
    }

    /// Sends the page-out again with another version, because the page now has another checksum. It fails if
    /// that has happened too often.
    pub(super) fn restart_changed(
        &mut self,
        now_ns: u64,
        index: OpId,
        crc: u32,
        device: &SwapDevice<S>,
    ) {
        let op = &mut self.ops[index];
        self.counters.pages_changed = self.counters.pages_changed.wrapping_add(1);
        op.restarts = op.restarts.saturating_add(1);
        if op.restarts > MAX_CHANGES {
            if !self.delay_end(index) {
                self.fail_page_out(index, Outcome::Failed, device);
            }
            return;
        }
        op.crc = Some(crc);
        let version = match mutated!(ChangedPageSameVersion) {
            true => op.version,
            false => device.take_version(),
        };
        self.send_as(now_ns, index, version, device);
    }

    /// The page-out takes a later version, because its own is not accepted or no longer counts.
    pub(super) fn renew(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        self.counters.versions_renewed = self.counters.versions_renewed.wrapping_add(1);
        self.send_as(now_ns, index, device.take_version(), device);
    }

    /// Sends the page-out again, with this version, to all servers that it was sent to.
    fn send_as(&mut self, now_ns: u64, index: OpId, version: Version, device: &SwapDevice<S>) {
        let op = &mut self.ops[index];
        op.version = version;
        if device.seals() && op.fill.is_none() {
            // The page is sealed, and copied for the mirror, again.
            op.crc = None;
        }
        // It may have been waiting for room in the mirror after its servers answered.
        op.stage = Stage::Active;
        self.put_again(index);
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
    /// about such a version may concern another incarnation of the client.
    pub fn versions_jumped(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &self.ops[index];
            let is_under_way = matches!(op.stage, Stage::Active | Stage::Stalled);
            match op.kind {
                Kind::PageOut if is_under_way && op.begun.is_some() && !op.disk.is_last => {
                    self.renew(now_ns, index, device);
                    self.advance_page_out(now_ns, index, device);
                }
                // Repair tries again.
                Kind::RepairToServer if is_under_way => self.end(index, Outcome::Failed),
                _ => {}
            }
        }
    }
}
