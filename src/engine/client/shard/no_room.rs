// SPDX-License-Identifier: GPL-2.0

//! When a page-out fails because no server has room, at once or after a wait for servers that free pages,
//! and when a full server is asked again.

use super::super::ids::{ServerSlot, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::ops::{OpId, TransferId};
use super::Shard;

/// How long a page-out for which no server has room waits for servers to free pages.
const FREED_WAIT_NS: u64 = 1_000_000_000;

/// How long a refusal for lack of room holds. After that a page-out that finds no other server asks again:
/// a server ends the session of a silent client only for a page that needs its room.
const REFUSAL_NS: u64 = 5_000_000_000;

/// How soon one page-out of a shard asks again a server that checks whether a client is alive. That takes two
/// seconds (`docs/protocol.md`, "Lease"); the other page-outs that need its room wait meanwhile.
const CHECKING_NS: u64 = 250_000_000;

/// How long a server may go on checking and take no page, until it counts as full.
const MOST_CHECKING_NS: u64 = 10_000_000_000;

impl<S: Storage> Shard<S> {
    /// The server has refused the page for lack of room.
    pub(super) fn note_refusal(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        let slot = self.ops[id].slot;
        self.paths[slot].checks_since_ns = 0;
        self.note_full(now_ns, id, device);
    }

    fn note_full(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        self.counters.no_space = self.counters.no_space.wrapping_add(1);
        let slot = self.ops[id].slot;
        device.servers.set_full(slot, true);
        self.ops[id.op].refused.insert(slot);
        self.checking.remove(slot);
        self.paths[slot].ask_full_ns = Some(now_ns.saturating_add(REFUSAL_NS));
    }

    /// The server has no room for the page, but checks whether a client that holds some is alive. To other
    /// shards it is not full: their page-outs are to wait as well.
    pub(super) fn note_checking(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        let slot = self.ops[id].slot;
        let path = &mut self.paths[slot];
        if path.checks_since_ns == 0 {
            path.checks_since_ns = now_ns;
        }
        if now_ns.saturating_sub(path.checks_since_ns) >= MOST_CHECKING_NS {
            self.note_full(now_ns, id, device);
            return;
        }
        device.servers.set_full(slot, false);
        self.checking.insert(slot);
        self.paths[slot].ask_full_ns = Some(now_ns.saturating_add(CHECKING_NS));
    }

    /// The server has taken the page. If it did not hold it before, it has room.
    pub(super) fn note_room(&mut self, id: TransferId) {
        let slot = self.ops[id].slot;
        if !self.ops[id.op].holders().contains(slot) {
            self.checking.remove(slot);
            self.paths[slot].checks_since_ns = 0;
        }
    }

    /// Whether the page-out fails for lack of room.
    pub(super) fn fails_for_room(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> bool {
        self.has_no_room(index, device)
            && (!device.is_freeing() || self.room_wait_ns(now_ns, index) >= FREED_WAIT_NS)
    }

    /// Whether every server that answers and does not hold the page has no room, and no server or disk that
    /// may have room is only temporarily out of reach.
    fn has_no_room(&self, index: OpId, device: &SwapDevice<S>) -> bool {
        let op = &self.ops[index];
        // A holder of an older version has room for this one, unless it has lost that version.
        let full = device.servers.full().without(op.holders());
        let full = full.union(op.refused).without(self.checking);
        let usable = device.servers.usable();
        let others = usable
            .without(device.servers.quiescing())
            .without(op.targets());
        if others.is_empty() || !others.without(full).is_empty() {
            return false;
        }
        let awaited = device.servers.awaited(usable, full.union(op.targets()));
        awaited.is_empty() && !device.disk.load().may_return()
    }

    /// Servers are freeing pages: for how long the page-out has waited for them, from its first call on. The
    /// wait is limited because other page-outs may take each page that is freed, again and again.
    fn room_wait_ns(&mut self, now_ns: u64, index: OpId) -> u64 {
        let since_ns = self.ops[index].waits_for_room_ns.get_or_insert(now_ns);
        now_ns.saturating_sub(*since_ns)
    }

    /// Servers that check whether a client is alive, and have been asked lately.
    pub(super) fn asked_lately(&self, now_ns: u64) -> SlotSet {
        let mut asked = self.checking;
        for slot in self.checking.iter() {
            if now_ns >= self.paths[slot].ask_full_ns.unwrap_or(0) {
                asked.remove(slot);
            }
        }
        asked
    }

    /// Chooses one of these full servers, if it has not been asked lately.
    pub(super) fn ask_full(&mut self, now_ns: u64, full: SlotSet) -> Option<ServerSlot> {
        if mutated!(FullNeverAsked) {
            return None;
        }
        let again_ns = now_ns.saturating_add(REFUSAL_NS);
        let paths = &mut self.paths;
        let slot = full
            .iter()
            .find(|&slot| now_ns >= *paths[slot].ask_full_ns.get_or_insert(again_ns))?;
        paths[slot].ask_full_ns = Some(again_ns);
        Some(slot)
    }

    /// The server gets a page that it does not hold.
    pub(super) fn note_asked(&mut self, now_ns: u64, slot: ServerSlot) {
        let path = &mut self.paths[slot];
        if now_ns.saturating_sub(path.ask_full_ns.unwrap_or(0)) > REFUSAL_NS {
            // What it did long ago says nothing about now.
            path.checks_since_ns = 0;
        }
        if self.checking.contains(slot) {
            path.ask_full_ns = Some(now_ns.saturating_add(CHECKING_NS));
        }
    }
}
