// SPDX-License-Identifier: GPL-2.0

//! A page-in whose server does not answer or does not hold the page: another holder is asked
//! (`holder.rs` says which).

use super::super::ids::{ServerSlot, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::ops::{OpId, TransferId};
use super::Shard;
use crate::wire::FragmentMask;

impl<S: Storage> Shard<S> {
    /// The server does not hold the page, or not in this generation; this is certain if `lacks_it`. If not,
    /// the server may be asked once more.
    pub(super) fn handle_miss(
        &mut self,
        now_ns: u64,
        id: TransferId,
        lacks_it: bool,
        device: &SwapDevice<S>,
    ) {
        self.counters.misses = self.counters.misses.wrapping_add(1);
        let slot = self.ops[id].slot;
        self.release(id);
        let op = &mut self.ops[id.op];
        if lacks_it || op.doubted.contains(slot) {
            op.tried.insert(slot);
        }
        op.doubted.insert(slot);
        if lacks_it {
            self.drop_replica(id.op, slot, device);
        }
        self.continue_page_in(now_ns, id.op, device);
    }

    /// The map says that the server holds the page, but the server holds no version or another
    /// version of it: the server or this machine was put back to an earlier state. Removes the
    /// server from the map entry, so that the copy is made again, but only if the entry is as it
    /// was when the server was asked, and another holder can be read that has not answered the
    /// same. So no such answer, however late or wrong, removes the last copy.
    fn drop_replica(&mut self, index: OpId, slot: ServerSlot, device: &SwapDevice<S>) {
        let op = &self.ops[index];
        let page = op.page;
        let entry = device.map.load(page);
        let is_as_it_was = entry.is_written() && entry.generation() == op.generation;
        if !is_as_it_was || !entry.replicas().contains(slot) {
            return;
        }
        let others = entry
            .replicas()
            .intersection(device.servers.usable())
            .without(op.tried);
        let is_on_disk = entry.is_on_disk() && device.disk.load().is_usable() && !op.disk.failed();
        if others.is_empty() && !is_on_disk {
            return;
        }
        // Fails if the page is being written, or if another CPU drops another replica at the same
        // time.
        if device.map.drop_replicas(page, entry, SlotSet::one(slot)) {
            device.servers.note_missing(slot);
            device.note_degraded(page);
            // No reader needs what it holds instead.
            self.frees_lost.insert(slot);
            self.counters.copies_missing = self.counters.copies_missing.wrapping_add(1);
        }
    }

    pub(super) fn page_in_timed_out(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) {
        let op = &self.ops[id.op];
        let entry = device.map.load(op.page);
        if entry.generation() != op.generation && !entry.is_busy() {
            // It has been written since, so other servers hold it now.
            for id in id.op.transfers() {
                self.release(id);
            }
            self.continue_page_in(now_ns, id.op, device);
            return;
        }
        let another = self.fail_over(now_ns, id.op, device);
        if !another {
            self.retry_ask(id.op);
            self.ask_disk(id.op, device);
        }
        let op = &mut self.ops[id.op];
        let is_mixed = op.restarts == 0;
        let assembly = op.assembly;
        if another && !device.servers.usable().contains(slot) {
            self.release(id);
            return;
        }
        let cut = self.ops[id].cut;
        let have = assembly.filter(|one| one.cut == cut && (one.transfer == id || is_mixed));
        let have = have.map_or(FragmentMask::EMPTY, |assembly| assembly.have);
        self.resend(id, cut.all().without(have));
    }

    /// The transfer has waited for room in its server's window as long as for an answer: asks
    /// another holder, if there is one.
    pub(super) fn page_in_waited(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        if self.fail_over(now_ns, id.op, device) {
            self.release(id);
        } else {
            self.retry_ask(id.op);
            self.ask_disk(id.op, device);
        }
    }

    /// All servers that were asked are silent. Another holder may be back, or repair may have
    /// copied the page to the disk meanwhile.
    pub(super) fn look_elsewhere(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        if self.fail_over(now_ns, id.op, device) {
            self.release(id);
        } else {
            self.ask_disk(id.op, device);
        }
    }

    /// Asks another holder, because the one that was asked has failed. Returns whether there was one.
    pub(super) fn fail_over(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) -> bool {
        let another = self.ask_another(now_ns, index, device).is_some();
        if another {
            self.counters.failovers = self.counters.failovers.wrapping_add(1);
        }
        another
    }
}
