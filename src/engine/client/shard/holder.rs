// SPDX-License-Identifier: GPL-2.0

//! Which holder of a page a page-in asks: the one that is expected to answer first.

use super::super::ids::{ServerSlot, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
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
    /// The server of `candidates` that is expected to answer first.
    pub(super) fn soonest(&mut self, candidates: SlotSet) -> Option<ServerSlot> {
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
}
