// SPDX-License-Identifier: GPL-2.0

//! How a page-out ends, and with which copies it may: those that are wanted, or fewer, but no fewer than
//! `min_copies`. What the disk means for it: `disk_page_out.rs`. When it fails instead of waiting for more:
//! `fail_at_once.rs`.

use super::super::ids::{SlotSet, Version};
use super::super::stale_copy::StaleCopy;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_page_out::DiskVerdict;
use super::op::{Op, Outcome, Stage};
use super::ops::OpId;
use super::transfer::{Transfer, TransferStage};
use super::{Shard, SAFETY_NET_NS};

impl<S: Storage> Shard<S> {
    /// If every transfer is answered, the page-out completes if there are enough copies; else it waits or
    /// fails. If its version can no longer count, it is sent again. An op that is being sent cannot
    /// complete, and an acknowledgement counts only if its server still has the same incarnation at
    /// completion, so [`Shard::sent`] checks again.
    pub(super) fn decide_page_out(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let op = &mut self.ops[index];
        let is_acknowledged = |one: &Transfer| one.stage == TransferStage::Acknowledged;
        let is_waiting = op.is_waiting()
            && !(mutated!(AckBeforeSecondCopy) && op.transfers.iter().any(is_acknowledged));
        if !matches!(op.stage, Stage::Active | Stage::Stalled) || is_waiting {
            return;
        }
        op.ends_when_sent = op.pins != 0;
        if op.ends_when_sent {
            return;
        }
        let (copies, version) = (Self::acknowledged(op, device), op.version);
        let is_short = copies.len() < device.replicas();
        match self.advance_disk_part(index, is_short, device) {
            DiskVerdict::InHand => {}
            DiskVerdict::Wait => self.wait_for_more(now_ns, index),
            DiskVerdict::Go(on_disk) => {
                if !Self::is_enough(copies, on_disk, device) {
                    self.wait_or_fail_page_out(now_ns, index, on_disk, device);
                } else if device.enter(self.number, self.ops[index].page, version) {
                    self.complete_page_out(index, copies, on_disk, device);
                } else {
                    // At most once for each jump of the counter; no server can cause endless jumps.
                    self.renew(now_ns, index, device);
                }
            }
        }
    }

    /// Checks again a page-out that could not end because something of it was being sent.
    pub(super) fn end_if_sent(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let op = &mut self.ops[index];
        if op.pins == 0 && core::mem::take(&mut op.ends_when_sent) {
            self.advance_page_out(now_ns, index, device);
        }
    }

    /// The I/O timeout has passed: the page-out ends with the copies it has, or fails.
    pub(super) fn complete_or_fail(&mut self, index: OpId, device: &SwapDevice<S>) {
        if self.delay_end(index) {
            return;
        }
        let op = &self.ops[index];
        let copies = Self::acknowledged(op, device);
        let on_disk = Self::is_on_disk(op, device);
        let may_complete = op.begun.is_some()
            && Self::is_enough(copies, on_disk, device)
            && self.disk_knows(index, device)
            && device.enter(self.number, op.page, op.version);
        match may_complete {
            true => self.complete_page_out(index, copies, on_disk, device),
            false => self.fail_page_out(index, Outcome::Failed, device),
        }
    }

    /// Whether a page-out may complete with these copies. It may have fewer than are wanted: repair makes the
    /// others.
    fn is_enough(copies: SlotSet, on_disk: bool, device: &SwapDevice<S>) -> bool {
        let held = copies.len().saturating_add(usize::from(on_disk));
        held >= device.min_copies() || mutated!(MinCopiesIgnored)
    }

    /// The servers that hold the op's page.
    pub(super) fn acknowledged(op: &Op, device: &SwapDevice<S>) -> SlotSet {
        let mut copies = SlotSet::EMPTY;
        for transfer in op.transfers.iter() {
            // A server that has restarted since holds nothing (docs/protocol.md, "Restart of a
            // server"). A quiescing server may be gone before the page is read.
            let is_there = |slot| {
                let is_current = device.servers.is_current(slot, transfer.session);
                is_current && !device.servers.quiescing().contains(slot)
            };
            if transfer.stage == TransferStage::Acknowledged
                && (is_there(transfer.slot) || mutated!(IncarnationUnchecked))
            {
                copies.insert(transfer.slot);
            }
        }
        copies
    }

    /// The page-out is complete.
    fn complete_page_out(
        &mut self,
        index: OpId,
        copies: SlotSet,
        on_disk: bool,
        device: &SwapDevice<S>,
    ) {
        let op = &self.ops[index];
        let (page, version, begun) = (op.page, op.version, op.begun.unwrap_or_default());
        let old = begun.replicas().union(op.sent_to).without(copies);
        let freed = device
            .map
            .finish_write(page, begun, version, copies, on_disk);
        let counters = &mut self.counters;
        // CAST: at most three.
        counters.copies_out = counters.copies_out.wrapping_add(copies.len() as u64);
        if !device.is_replicated(copies, device.servers.counting()) {
            counters.pages_out_degraded = counters.pages_out_degraded.wrapping_add(1);
            device.note_degraded(page);
        }
        if on_disk {
            counters.local_out = counters.local_out.wrapping_add(1);
        } else if op.disk.put != Some(version) && device.disk.load().is_wanted() {
            // If the page is in a buffer, the mirror writes it. Checked after the map was changed:
            // a disk attached meanwhile is synchronised with what the map says then.
            device.mark_out_of_sync(page);
        }
        if op.fill.is_some() {
            counters.same_filled_out = counters.same_filled_out.wrapping_add(1);
        }
        self.leave_page(index, old, freed, device);
        self.end(index, Outcome::Done);
    }

    /// Too few servers: waits for one, or for the disk. Acknowledged transfers stay so.
    pub(super) fn wait_for_more(&mut self, now_ns: u64, index: OpId) {
        let op = &mut self.ops[index];
        // Servers that were tried may be asked again.
        op.tried = op.targets();
        self.stall(index, now_ns.saturating_add(SAFETY_NET_NS));
    }

    /// The page-out ends with an error. What is left of the older version stays.
    pub(super) fn fail_page_out(&mut self, index: OpId, outcome: Outcome, device: &SwapDevice<S>) {
        let op = &self.ops[index];
        if op.begun.is_some() {
            let sent_to = op.sent_to;
            let freed = device.map.abandon_write(op.page);
            device.note_degraded(op.page);
            if device.disk.load().is_wanted() {
                device.mark_out_of_sync(op.page);
            }
            self.leave_page(index, sent_to, freed, device);
        }
        self.end(index, outcome);
    }

    /// The page is no longer being written. Notes that `old`, which may hold an older version of it or a copy
    /// that does not count, should free it; if the page was freed while it was written, all its holders
    /// should. Notes whether requests wait for the page.
    fn leave_page(&mut self, index: OpId, old: SlotSet, freed: bool, device: &SwapDevice<S>) {
        let op = &self.ops[index];
        let mut stale = StaleCopy {
            page: op.page,
            slots: old,
            below: Version(op.version.0.saturating_add(1)),
        };
        if mutated!(FreeTooMuch) {
            stale.below = Version(op.version.0.saturating_add(1000));
        }
        if freed {
            let freed = device.map.take_free(op.page, || device.take_version());
            if let Some((holders, below)) = freed {
                stale.slots = old.union(holders);
                stale.below = below;
                self.count_freed(1);
            }
        }
        self.put_stale(stale);
        self.ops[index].wake = device.has_parked() && !mutated!(WakeLost);
    }
}
