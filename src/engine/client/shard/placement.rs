// SPDX-License-Identifier: GPL-2.0

//! Which server gets a page: another copy of a page-out, or repair's new copy. Which servers may take
//! it, and which of them does.
//!
//! How full a server is: [`super::super::utilisation`].

use super::super::ids::{ServerSlot, SlotSet};
use super::super::page_map::Entry;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::super::utilisation::least_utilised;
use super::ops::OpId;
use super::Shard;

impl<S: Storage> Shard<S> {
    /// Chooses a server for another copy of the op's page.
    pub(super) fn place(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> Option<ServerSlot> {
        let op = &self.ops[index];
        let holders = op.holders();
        // A full server still takes a newer version of a page that it holds.
        let full = device.servers.full().union(self.asked_lately(now_ns));
        let full = full.without(holders);
        let all = device
            .servers
            .usable()
            .without(device.servers.quiescing())
            .without(op.targets())
            .without(op.tried);
        let candidates = all.without(full);
        // A draining server is used only if the page-out could not end otherwise.
        let draining = device.servers.draining();
        let staying = candidates.without(draining);
        let must = op.targets().without(draining).len() < device.min_copies();
        let candidates = match staying.is_empty() && must {
            true => candidates,
            false => staying,
        };
        let candidates = match mutated!(TwoCopiesOnOneServer) {
            true => device.servers.usable(),
            false => candidates,
        };
        let paths = &mut self.paths;
        let slot = least_utilised(candidates, holders, |slot| {
            let load = device.servers.load(slot);
            let placed = &mut paths[slot].placed;
            placed.utilisation(load, device.shards())
        })
        .or_else(|| self.ask_full(now_ns, all.without(draining)))?;
        if !holders.contains(slot) {
            self.note_asked(now_ns, slot);
        }
        Some(slot)
    }

    /// Servers that can take repair's copy of the page now.
    pub fn copy_targets(&self, now_ns: u64, entry: Entry, device: &SwapDevice<S>) -> SlotSet {
        let servers = &device.servers;
        servers
            .usable()
            .intersection(servers.counting())
            .without(servers.quiescing())
            .without(servers.full())
            .without(self.asked_lately(now_ns))
            .without(entry.replicas())
    }

    /// Chooses a server for repair's copy of the page.
    pub fn place_copy(
        &mut self,
        now_ns: u64,
        entry: Entry,
        device: &SwapDevice<S>,
    ) -> Option<ServerSlot> {
        let candidates = self.copy_targets(now_ns, entry, device);
        let paths = &mut self.paths;
        let slot = least_utilised(candidates, SlotSet::EMPTY, |slot| {
            let load = device.servers.load(slot);
            paths[slot].placed.utilisation(load, 1)
        })?;
        self.note_asked(now_ns, slot);
        Some(slot)
    }
}
