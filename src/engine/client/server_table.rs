// SPDX-License-Identifier: GPL-2.0

//! What all shards know of the servers: read on the data path, written by the cluster, except for a few
//! bits that shards set too. Its cache lines are read-mostly, so that reads are cheap.
//!
//! A slot belongs to one incarnation of one server. Its numbers are published before its bit in
//! [`ServerTable::valid`], and do not change until that bit has been cleared and every shard has
//! been notified ([`super::shard::Shard::servers_changed`]).

use super::ids::{BySlot, ServerSlot, SlotSet, MAX_REPLICAS, SERVER_SLOTS};
use crate::sync::{update, Acquire, Atomic, Full, Relaxed, Release};
use crate::wire::{Fragmentation, MacAddress};

/// One server, as seen by the data path.
struct View {
    mac: Atomic<u64>,
    session: Atomic<u64>,
    incarnation: Atomic<u64>,
    capacity_pages: Atomic<u32>,
    used_pages: Atomic<u32>,
    /// Counts the server's announcements, so that shards notice a new one.
    announcements: Atomic<u32>,
    fragment_count: Atomic<u32>,
}

impl View {
    const fn new() -> Self {
        Self {
            mac: Atomic::<u64>::new(0),
            session: Atomic::<u64>::new(0),
            incarnation: Atomic::<u64>::new(0),
            capacity_pages: Atomic::<u32>::new(0),
            used_pages: Atomic::<u32>::new(0),
            announcements: Atomic::<u32>::new(0),
            fragment_count: Atomic::<u32>::new(0),
        }
    }
}

/// The destination of frames to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its hardware address.
    pub mac: MacAddress,
    /// Our session there.
    pub session: u64,
    /// Its incarnation.
    pub incarnation: u64,
}

/// How full a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Pages that it has for this client.
    pub capacity_pages: u32,
    /// Pages of them in use at the last announcement.
    pub used_pages: u32,
    /// Changes with each announcement.
    pub announcement: u32,
}

/// All slots.
pub struct ServerTable {
    views: BySlot<View>,
    valid: Atomic<u32>,
    usable: Atomic<u32>,
    full: Atomic<u32>,
    draining: Atomic<u32>,
    quiescing: Atomic<u32>,
    lost: Atomic<u32>,
    given_up: Atomic<u32>,
    expected: Atomic<u32>,
    freeing: Atomic<u32>,
    opening: Atomic<u32>,
    suspected: Atomic<u32>,
    distrusted: Atomic<u32>,
    lacking: Atomic<u32>,
    losses: Atomic<u32>,
    missing: Atomic<u32>,
}

pub(crate) fn mac_to_u64(mac: MacAddress) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn mac_from_u64(number: u64) -> MacAddress {
    let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
    MacAddress([a, b, c, d, e, f])
}

/// Returns whether the bit has changed.
fn change(word: &Atomic<u32>, slot: ServerSlot, set: bool) -> bool {
    let replaced = update(word, |old| {
        let mut new = SlotSet::from_bits(old);
        match set {
            true => new.insert(slot),
            false => new.remove(slot),
        }
        (new.bits() != old).then_some(new.bits())
    });
    replaced.is_some()
}

impl Default for ServerTable {
    /// A table without servers.
    fn default() -> Self {
        Self {
            views: BySlot([const { View::new() }; SERVER_SLOTS]),
            valid: Atomic::<u32>::new(0),
            usable: Atomic::<u32>::new(0),
            full: Atomic::<u32>::new(0),
            draining: Atomic::<u32>::new(0),
            quiescing: Atomic::<u32>::new(0),
            lost: Atomic::<u32>::new(0),
            given_up: Atomic::<u32>::new(0),
            // CAST: at most three.
            expected: Atomic::<u32>::new(MAX_REPLICAS as u32),
            freeing: Atomic::<u32>::new(0),
            opening: Atomic::<u32>::new(0),
            suspected: Atomic::<u32>::new(0),
            distrusted: Atomic::<u32>::new(0),
            lacking: Atomic::<u32>::new(0),
            losses: Atomic::<u32>::new(0),
            missing: Atomic::<u32>::new(0),
        }
    }
}

impl ServerTable {
    /// Slots whose replica bits count: the server may still hold the pages.
    pub fn valid(&self) -> SlotSet {
        SlotSet::from_bits(self.valid.load(Acquire))
    }

    /// Slots of servers that answer: new transfers may go there.
    pub fn usable(&self) -> SlotSet {
        SlotSet::from_bits(self.usable.load(Acquire))
    }

    /// Slots of servers that refused a page for lack of room and have reported none since.
    pub fn full(&self) -> SlotSet {
        SlotSet::from_bits(self.full.load(Relaxed))
    }

    /// Slots of draining servers: pages are placed there only if nothing else is possible.
    pub fn draining(&self) -> SlotSet {
        SlotSet::from_bits(self.draining.load(Acquire))
    }

    /// Slots of quiescing servers, which close when no page turns out to need them: they are read
    /// from, but a copy there does not complete a page-out.
    pub fn quiescing(&self) -> SlotSet {
        SlotSet::from_bits(self.quiescing.load(Acquire))
    }

    /// Slots of servers that have been suspected for the loss timeout, so that others get their pages.
    /// They may return with theirs.
    pub fn lost(&self) -> SlotSet {
        SlotSet::from_bits(self.lost.load(Acquire))
    }

    /// Slots of servers that have been silent for the I/O timeout: nothing waits for them any more,
    /// until they answer.
    pub fn given_up(&self) -> SlotSet {
        SlotSet::from_bits(self.given_up.load(Acquire))
    }

    /// How many servers a page-out may count on or wait for. It is the highest number
    /// that were usable at a time during the last I/O timeout.
    pub fn expected(&self) -> usize {
        // CAST: at most three.
        self.expected.load(Acquire) as usize
    }

    /// Slots of servers that report impossible versions: they stay suspected until they restart.
    pub fn distrusted(&self) -> SlotSet {
        SlotSet::from_bits(self.distrusted.load(Acquire))
    }

    /// Slots of servers that lacked a page that they should hold.
    pub fn lacking(&self) -> SlotSet {
        SlotSet::from_bits(self.lacking.load(Acquire))
    }

    /// Slots of servers that are being notified of freed pages.
    pub fn freeing(&self) -> SlotSet {
        SlotSet::from_bits(self.freeing.load(Acquire))
    }

    /// Slots of servers with which a session is being opened, or will be when the slot has been swept:
    /// they have answered, refuse nothing, and have not ignored requests for the I/O timeout.
    pub fn opening(&self) -> SlotSet {
        SlotSet::from_bits(self.opening.load(Acquire))
    }

    /// Slots of servers that are not usable but may soon be: suspected ones that are not in
    /// `others`, and those with which a session is being opened. Not those that have been silent
    /// for the I/O timeout. `usable` must have been read before this call, so that a server that
    /// becomes usable meanwhile is not missed.
    pub fn awaited(&self, usable: SlotSet, others: SlotSet) -> SlotSet {
        // In this order: a session with a server that restarts is being opened before its slot is closed.
        let suspected = self.valid().without(usable).without(self.given_up());
        suspected
            .without(self.quiescing())
            .without(self.distrusted())
            .without(others)
            .union(self.opening())
    }

    /// Slots whose copies count towards the wanted replicas of a page.
    pub fn counting(&self) -> SlotSet {
        self.valid().without(self.draining()).without(self.lost())
    }

    /// How often a slot has left [`Self::counting`]. A caller that only compared that set at
    /// intervals would miss a server that leaves and returns, with its pages lost.
    pub fn losses(&self) -> u32 {
        self.losses.load(Acquire)
    }

    /// How often a copy has ceased to count: all of a slot, as in [`Self::losses`], one that was found
    /// missing, or all on a disk that was detached. Results of an earlier search of the map are then invalid.
    pub(super) fn changes_against(&self) -> u32 {
        self.losses().wrapping_add(self.missing.load(Acquire))
    }

    /// The server lacks a page that it should hold. The caller has cleared its bit in the map.
    pub(super) fn note_missing(&self, slot: ServerSlot) {
        change(&self.lacking, slot, true);
        self.missing.fetch_add(1, Full);
    }

    /// The disk has been detached. One that is attached later has none of its pages.
    pub(super) fn note_disk_gone(&self) {
        self.missing.fetch_add(1, Full);
    }

    /// The copies of a slot no longer count, if `is_new`.
    fn note_loss(&self, is_new: bool) {
        if is_new {
            self.losses.fetch_add(1, Full);
        }
    }

    /// The server in `slot`; valid only while the slot is.
    pub fn address(&self, slot: ServerSlot) -> Address {
        let view = &self.views[slot];
        Address {
            mac: mac_from_u64(view.mac.load(Relaxed)),
            session: view.session.load(Relaxed),
            incarnation: view.incarnation.load(Relaxed),
        }
    }

    /// The hardware address of the server in `slot`; valid only while the slot is.
    #[inline]
    pub fn mac(&self, slot: ServerSlot) -> MacAddress {
        mac_from_u64(self.views[slot].mac.load(Relaxed))
    }

    /// Whether `slot` still belongs to `session`, and its pages count. A session has one
    /// incarnation. A server that was removed and added again has another session with the same
    /// incarnation, possibly in the same slot, and lacks the pages of the first.
    #[inline]
    pub fn is_current(&self, slot: ServerSlot, session: u64) -> bool {
        self.valid().contains(slot) && self.views[slot].session.load(Relaxed) == session
    }

    /// Whether the server in `slot` has this hardware address.
    #[inline]
    pub fn is_at(&self, slot: ServerSlot, mac: MacAddress) -> bool {
        self.views[slot].mac.load(Relaxed) == mac_to_u64(mac)
    }

    /// How full the server is.
    pub fn load(&self, slot: ServerSlot) -> Load {
        let view = &self.views[slot];
        Load {
            capacity_pages: view.capacity_pages.load(Relaxed),
            used_pages: view.used_pages.load(Relaxed),
            announcement: view.announcements.load(Relaxed),
        }
    }

    /// How pages are cut on the path to and from the server.
    pub fn fragmentation(&self, slot: ServerSlot) -> Fragmentation {
        u8::try_from(self.views[slot].fragment_count.load(Relaxed))
            .ok()
            .and_then(Fragmentation::from_count)
            .unwrap_or(Fragmentation::WHOLE)
    }

    /// Publishes the server in `slot`: valid and usable from now on.
    pub(super) fn open(&self, slot: ServerSlot, address: Address, cut: Fragmentation) {
        let view = &self.views[slot];
        view.mac.store(mac_to_u64(address.mac), Relaxed);
        view.session.store(address.session, Relaxed);
        view.incarnation.store(address.incarnation, Release);
        self.set_fragmentation(slot, cut);
        for word in [
            &self.full,
            &self.draining,
            &self.quiescing,
            &self.lost,
            &self.given_up,
            &self.freeing,
            &self.distrusted,
            &self.lacking,
        ] {
            change(word, slot, false);
        }
        change(&self.valid, slot, true);
        change(&self.usable, slot, true);
    }

    /// The pages in `slot` are lost.
    pub(super) fn close(&self, slot: ServerSlot) {
        change(&self.usable, slot, false);
        let is_new = change(&self.valid, slot, false);
        self.note_loss(is_new);
    }

    /// Whether new transfers may go to `slot`.
    pub(super) fn set_usable(&self, slot: ServerSlot, usable: bool) {
        change(&self.usable, slot, usable);
    }

    /// Sets whether the server is to be removed.
    pub(super) fn set_draining(&self, slot: ServerSlot, draining: bool) {
        let is_new = change(&self.draining, slot, draining);
        self.note_loss(is_new && draining);
    }

    /// Sets whether copies there no longer complete a page-out. Every shard must be notified before
    /// this is relied on.
    pub(super) fn set_quiescing(&self, slot: ServerSlot, quiescing: bool) {
        change(&self.quiescing, slot, quiescing);
    }

    /// Sets whether the server has been suspected for the loss timeout.
    pub(super) fn set_lost(&self, slot: ServerSlot, lost: bool) {
        let is_new = change(&self.lost, slot, lost);
        self.note_loss(is_new && lost);
    }

    /// Sets whether the server has been silent for the I/O timeout. Returns whether this has changed.
    pub(super) fn set_given_up(&self, slot: ServerSlot, given_up: bool) -> bool {
        change(&self.given_up, slot, given_up)
    }

    /// Sets how many servers may be waited for. Returns whether this has changed.
    pub(super) fn set_expected(&self, servers: usize) -> bool {
        // CAST: three at the most.
        let servers = servers.min(MAX_REPLICAS) as u32;
        self.expected.load(Relaxed) != servers && self.expected.xchg(servers, Full) != servers
    }

    /// Sets whether the server is being notified of freed pages.
    pub(super) fn set_freeing(&self, slot: ServerSlot, freeing: bool) {
        change(&self.freeing, slot, freeing);
    }

    /// Sets with which servers a session is being opened. Returns whether one has been removed.
    pub(super) fn set_opening(&self, opening: SlotSet) -> bool {
        let old = self.opening.load(Relaxed);
        if old == opening.bits() {
            return false;
        }
        let old = self.opening.xchg(opening.bits(), Full);
        !SlotSet::from_bits(old).without(opening).is_empty()
    }

    /// The path MTU to the server has changed.
    pub(super) fn set_fragmentation(&self, slot: ServerSlot, cut: Fragmentation) {
        let count = u32::from(cut.count());
        self.views[slot].fragment_count.store(count, Relaxed);
    }

    /// Sets how full the server is. Returns whether it has room again after it was full.
    pub(super) fn announce(&self, slot: ServerSlot, capacity_pages: u32, used_pages: u32) -> bool {
        let view = &self.views[slot];
        view.capacity_pages.store(capacity_pages, Relaxed);
        view.used_pages.store(used_pages, Relaxed);
        view.announcements.fetch_add(1, Release);
        let has_room = used_pages < capacity_pages && !mutated!(RoomForgotten);
        has_room && change(&self.full, slot, false)
    }

    /// The server refused a page for lack of room, or may have room again.
    pub fn set_full(&self, slot: ServerSlot, full: bool) {
        change(&self.full, slot, full);
    }

    /// The server does not answer a shard: nothing new waits for it until it answers. Returns
    /// whether this is new, so that the cluster can check at once.
    pub fn suspect(&self, slot: ServerSlot) -> bool {
        let is_new = self.usable().contains(slot);
        change(&self.usable, slot, false);
        change(&self.suspected, slot, true);
        is_new
    }

    /// The server reports impossible versions: it is not used again, whatever it answers.
    pub(super) fn distrust(&self, slot: ServerSlot) {
        change(&self.distrusted, slot, true);
    }

    /// Takes the slots suspected since the last call.
    pub(super) fn take_suspected(&self) -> SlotSet {
        SlotSet::from_bits(self.suspected.xchg(0, Full))
    }
}
