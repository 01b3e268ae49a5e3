// SPDX-License-Identifier: GPL-2.0

//! A page-in whose server does not hold the page: another source is asked (`page_in_source.rs`), and the
//! map may lose the server.

use super::super::ids::{ServerSlot, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::ops::{OpId, TransferId};
use super::Shard;

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
    /// version of it: the server or this machine was rolled back. Removes the
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
}
