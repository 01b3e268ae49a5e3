// SPDX-License-Identifier: GPL-2.0

//! Which server gets a page: another copy of a page-out, or repair's new copy.
//!
//! How full a server is: [`super::super::utilisation`].

use super::super::ids::{ServerSlot, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::super::utilisation::least_utilised;
use super::ops::OpId;
use super::Shard;

impl<S: Storage> Shard<S> {
    /// Chooses a server for another copy of the op's page.
    pub(super) fn place(&mut self, index: OpId, device: &SwapDevice<S>) -> Option<ServerSlot> {
        let op = &self.ops[index];
        let holders = op.begun.map_or(SlotSet::EMPTY, |entry| entry.replicas());
        // A full server still takes a newer version of a page that it holds.
        let full = device.servers.full().without(holders);
        let candidates = device
            .servers
            .usable()
            .without(device.servers.quiescing())
            .without(full)
            .without(op.targets())
            .without(op.tried);
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
        least_utilised(candidates, holders, |slot| {
            let load = device.servers.load(slot);
            let placed = &mut paths[slot].placed;
            placed.utilisation(load, device.shards())
        })
    }

    /// The best of `candidates` for a new copy of a page.
    pub fn emptiest(&mut self, candidates: SlotSet, device: &SwapDevice<S>) -> Option<ServerSlot> {
        let paths = &mut self.paths;
        least_utilised(candidates, SlotSet::EMPTY, |slot| {
            let load = device.servers.load(slot);
            paths[slot].placed.utilisation(load, 1)
        })
    }
}
