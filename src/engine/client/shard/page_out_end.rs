// SPDX-License-Identifier: GPL-2.0

//! How a page-out ends: complete, refused for lack of room, or with an error. At the I/O timeout:
//! `io_timeout.rs`.

use super::super::ids::{SlotSet, Version};
use super::super::stale_copy::StaleCopy;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_page_out::DiskVerdict;
use super::op::{Op, Outcome, Stage};
use super::ops::OpId;
use super::transfer::{Transfer, TransferStage};
use super::Shard;

/// How long a refused page-out waits for servers to free pages.
const FREED_WAIT_NS: u64 = 1_000_000_000;

impl<S: Storage> Shard<S> {
    /// Ends the op if every transfer is answered and there are enough copies. An op that is being
    /// sent cannot complete, and an acknowledgement counts only if its server still has the same
    /// incarnation at completion, so [`Shard::sent`] checks again.
    pub(super) fn finish_if_done(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
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
        match self.judge_disk(index, is_short, device) {
            DiskVerdict::InHand => {}
            DiskVerdict::Wait => self.wait_for_more(now_ns, index),
            DiskVerdict::Go(on_disk) => {
                let held = copies.len().saturating_add(usize::from(on_disk));
                if held < device.min_copies() && !mutated!(MinCopiesIgnored) {
                    self.wait_or_fail(now_ns, index, on_disk, device);
                } else if device.versions().enter(self.number, version) {
                    self.finish(index, copies, on_disk, device);
                } else {
                    // At most once for each jump of the counter; no server can cause endless jumps.
                    self.counters.versions_renewed = self.counters.versions_renewed.wrapping_add(1);
                    self.renew(now_ns, index, device.take_version(), device);
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
    pub(super) fn finish(
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
        if copies.intersection(device.servers.counting()).len() < device.replicas() {
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

    /// Too few servers have the page and no other can be asked now: waits for one, unless no server
    /// can be expected.
    fn wait_or_fail(&mut self, now_ns: u64, index: OpId, on_disk: bool, device: &SwapDevice<S>) {
        let may_take = on_disk || device.disk.load().may_return();
        let expected = device
            .servers
            .expected()
            .saturating_add(usize::from(may_take));
        if expected < device.min_copies() {
            self.fail_page_out(index, Outcome::Failed, device);
        } else if self.is_refused(now_ns, index, device) {
            self.counters.pages_out_no_space = self.counters.pages_out_no_space.wrapping_add(1);
            self.fail_page_out(index, Outcome::NoSpace, device);
        } else {
            self.count_stalled(index);
            self.wait_for_more(now_ns, index);
        }
    }

    /// Whether every server that answers and does not hold the page has no room and will have none
    /// soon, and no server with room is only temporarily out of reach.
    fn is_refused(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) -> bool {
        let op = &mut self.ops[index];
        // A holder of an older version has room for this one, unless it has lost that version.
        let holders = op.begun.map_or(SlotSet::EMPTY, |entry| entry.replicas());
        let full = device.servers.full().without(holders).union(op.refused);
        let usable = device.servers.usable();
        let others = usable
            .without(device.servers.quiescing())
            .without(op.targets());
        if others.is_empty() || !others.without(full).is_empty() {
            return false;
        }
        let awaited = device.servers.awaited(usable, full.union(op.targets()));
        let may_come = !awaited.is_empty();
        if may_come || device.disk.load().may_return() {
            return false;
        }
        if !device.is_freeing() {
            return true;
        }
        // Other page-outs may take each page that is freed, again and again.
        let since_ns = *op.waits_for_room_ns.get_or_insert(now_ns);
        now_ns.saturating_sub(since_ns) >= FREED_WAIT_NS
    }

    /// Too few servers: waits for one, or for the disk. Acknowledged transfers stay so.
    fn wait_for_more(&mut self, now_ns: u64, index: OpId) {
        let op = &mut self.ops[index];
        // Servers that were tried may be asked again.
        op.stage = Stage::Stalled;
        op.tried = op.targets();
        self.note_deadline(now_ns.saturating_add(super::SAFETY_NET_NS));
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
