// SPDX-License-Identifier: GPL-2.0

//! Which source a page-in reads, first and after its first source has failed: a buffer of the mirror, a
//! server, or the disk.
//!
//! A page that may be on its way to the disk is looked for in the buffers first. Then the holder that is
//! expected to answer first is asked, then each other holder. The disk is asked when there is no other
//! holder. How the mirror is asked: `disk_page_in.rs`.

use super::super::ids::{ServerSlot, SlotSet};
use super::super::page_map::Entry;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_part::DiskStage;
use super::op::{Kind, Stage};
use super::ops::{OpId, TransferId};
use super::path::Path;
use super::transfer::TransferStage;
use super::Shard;

impl Path {
    /// The expected time until an answer, in units of 4 µs, coarse so that similar servers are
    /// equal. A server that is overdue comes after all others.
    fn expected(&self) -> u64 {
        if self.overdue {
            return u64::MAX;
        }
        self.rtt
            .smoothed_ns()
            .saturating_mul(u64::from(self.window.in_flight()).saturating_add(4))
            >> 14
    }
}

impl<S: Storage> Shard<S> {
    /// Asks the first source for the op's page, whose map entry is `entry`. The op must have nothing
    /// under way, except that it may wait for the disk.
    pub(super) fn ask_first_source(
        &mut self,
        now_ns: u64,
        index: OpId,
        entry: Entry,
        device: &SwapDevice<S>,
    ) {
        let op = &self.ops[index];
        let holders = entry
            .replicas()
            .intersection(device.servers.valid())
            .without(op.tried);
        let may_be_buffered = device.disk.load().is_tracked() && !entry.is_on_disk();
        if may_be_buffered && op.disk.stage == DiskStage::Idle {
            self.queue_read(index, DiskStage::LookQueued);
            return;
        }
        let candidates = holders.intersection(device.servers.usable());
        let Some(slot) = self.soonest(candidates) else {
            match self.ask_disk(index, device) {
                Some(true) => {}
                other => {
                    let lacks_disk = other.is_none();
                    self.wait_or_fail_page_in(now_ns, index, entry, holders, lacks_disk, device);
                }
            }
            return;
        };
        let op = &mut self.ops[index];
        op.stage = Stage::Active;
        op.prepare_hedge(candidates.len());
        self.start_transfer(now_ns, index.first_transfer(), slot, device);
    }

    /// The server of `candidates` that is expected to answer first.
    fn soonest(&mut self, candidates: SlotSet) -> Option<ServerSlot> {
        self.rotation = self.rotation.wrapping_add(1);
        let odd = self.rotation & 1;
        let mut best = None;
        for slot in candidates.iter() {
            let expected = self.paths[slot].expected();
            let better = best.is_none_or(|(_, other)| {
                // Equal servers take turns, so that both are measured.
                expected < other || (expected == other && odd == 1)
            });
            if better {
                best = Some((slot, expected));
            }
        }
        best.map(|(slot, _)| slot)
    }

    /// Asks a holder that is not being asked. Returns the transfer, if there was one.
    pub(super) fn ask_another(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> Option<TransferId> {
        let op = &self.ops[index];
        let entry = device.map.load(op.page);
        if entry.generation() != op.generation || !entry.is_written() {
            return None;
        }
        let candidates = entry
            .replicas()
            .intersection(device.servers.usable())
            .without(op.targets())
            .without(op.tried);
        let is_idle = |&id: &TransferId| op.transfers[id].stage == TransferStage::Idle;
        let free = index.transfers().find(is_idle);
        let (Some(id), Some(slot)) = (free, self.soonest(candidates)) else {
            return None;
        };
        let op = &mut self.ops[index];
        op.hedge = op.hedge.filter(|&hedge| hedge != id);
        self.start_transfer(now_ns, id, slot, device);
        Some(id)
    }

    /// Asks another holder, because the one that was asked has failed. Returns whether there was one.
    pub(super) fn fail_over(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) -> bool {
        let another = self.ask_another(now_ns, index, device).is_some();
        if another {
            self.counters.failovers = self.counters.failovers.wrapping_add(1);
        }
        another
    }

    /// Asks another holder, or else the disk, because the holder that was asked has not answered in time.
    /// Returns whether there was another holder.
    pub(super) fn fail_over_or_ask_disk(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> bool {
        let another = self.fail_over(now_ns, index, device);
        if !another {
            self.ask_disk_again(index, device);
        }
        another
    }

    /// If none of the servers that were asked answers, turns to another holder, which may be back, or to
    /// the disk, to which repair may have copied the page meanwhile.
    pub(super) fn turn_from_silent(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        let op = &self.ops[id.op];
        let usable = device.servers.usable();
        if op.kind != Kind::PageIn || !op.targets().intersection(usable).is_empty() {
            return;
        }
        if self.fail_over(now_ns, id.op, device) {
            self.release(id);
        } else {
            self.ask_disk(id.op, device);
        }
    }

    /// Asks the disk, also if it did not answer before.
    pub(super) fn ask_disk_again(&mut self, index: OpId, device: &SwapDevice<S>) {
        self.allow_ask_again(index);
        self.ask_disk(index, device);
    }

    /// Asks the disk for a page-in that has timed out, once, if it has not been asked. Returns whether an
    /// answer is awaited.
    pub(super) fn ask_disk_at_last(&mut self, index: OpId, device: &SwapDevice<S>) -> bool {
        let op = &self.ops[index];
        let is_open = matches!(op.stage, Stage::Active | Stage::Stalled);
        let may_ask =
            op.kind == Kind::PageIn && !op.is_background && is_open && op.disk.may_ask_at_last();
        let is_asked = may_ask && self.ask_disk(index, device).is_some();
        self.ops[index].disk.is_last |= is_asked;
        is_asked
    }
}
