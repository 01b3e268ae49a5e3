// SPDX-License-Identifier: GPL-2.0

//! What all shards may know of the servers: written by the cluster's state machine, read on the
//! data path. Its lines are read-mostly, so that reading them costs the CPUs nothing.
//!
//! A slot belongs to one incarnation of one server. Its numbers are published before its bit
//! appears in [`ServerTable::valid`], and do not change until after that bit has gone and every
//! shard has been told ([`super::shard::Shard::servers_changed`]).

use super::ids::{ServerSlot, SlotSet, MAX_REPLICAS, SERVER_SLOTS};
use crate::sync::{Acquire, Atomic, Full, Relaxed, Release};
use crate::wire::{Fragmentation, MacAddress};

/// One server, as the data path sees it.
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

/// Who a frame to a server is for.
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
    /// Pages that it has for us.
    pub capacity_pages: u32,
    /// Pages of them in use, at the last announcement.
    pub used_pages: u32,
    /// Changes with every announcement.
    pub announcement: u32,
}

/// All slots.
pub struct ServerTable {
    views: [View; SERVER_SLOTS],
    valid: Atomic<u32>,
    usable: Atomic<u32>,
    full: Atomic<u32>,
    draining: Atomic<u32>,
    quiescing: Atomic<u32>,
    lost: Atomic<u32>,
    hopeless: Atomic<u32>,
    hoped: Atomic<u32>,
    freeing: Atomic<u32>,
    greeted: Atomic<u32>,
    suspects: Atomic<u32>,
    insane: Atomic<u32>,
    forgetful: Atomic<u32>,
    losses: Atomic<u32>,
    missing: Atomic<u32>,
}

pub(super) fn mac_to_u64(mac: MacAddress) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn mac_from_u64(number: u64) -> MacAddress {
    let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
    MacAddress([a, b, c, d, e, f])
}

/// Returns whether that is a change.
fn change(word: &Atomic<u32>, slot: ServerSlot, set: bool) -> bool {
    let mut old = word.load(Relaxed);
    loop {
        let mut new = SlotSet::from_bits(old);
        if set {
            new.insert(slot);
        } else {
            new.remove(slot);
        }
        if new.bits() == old {
            return false;
        }
        match word.cmpxchg(old, new.bits(), Full) {
            Ok(_) => return true,
            Err(seen) => old = seen,
        }
    }
}

impl Default for ServerTable {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerTable {
    /// A table without servers.
    pub const fn new() -> Self {
        Self {
            views: [const { View::new() }; SERVER_SLOTS],
            valid: Atomic::<u32>::new(0),
            usable: Atomic::<u32>::new(0),
            full: Atomic::<u32>::new(0),
            draining: Atomic::<u32>::new(0),
            quiescing: Atomic::<u32>::new(0),
            lost: Atomic::<u32>::new(0),
            hopeless: Atomic::<u32>::new(0),
            // CAST: three.
            hoped: Atomic::<u32>::new(MAX_REPLICAS as u32),
            freeing: Atomic::<u32>::new(0),
            greeted: Atomic::<u32>::new(0),
            suspects: Atomic::<u32>::new(0),
            insane: Atomic::<u32>::new(0),
            forgetful: Atomic::<u32>::new(0),
            losses: Atomic::<u32>::new(0),
            missing: Atomic::<u32>::new(0),
        }
    }

    fn view(&self, slot: ServerSlot) -> Option<&View> {
        self.views.get(slot.index())
    }

    /// Slots whose replica bits mean something: the server may still have the pages.
    pub fn valid(&self) -> SlotSet {
        SlotSet::from_bits(self.valid.load(Acquire))
    }

    /// Slots of servers that answer: new transfers may go there.
    pub fn usable(&self) -> SlotSet {
        SlotSet::from_bits(self.usable.load(Acquire))
    }

    /// Slots of servers that have refused a page for lack of room since they last had any.
    pub fn full(&self) -> SlotSet {
        SlotSet::from_bits(self.full.load(Relaxed))
    }

    /// Slots of servers that are to be removed: nothing is placed there while there is a choice.
    pub fn draining(&self) -> SlotSet {
        SlotSet::from_bits(self.draining.load(Acquire))
    }

    /// Slots of servers that go as soon as no page turns out to need them: they are read from, but
    /// no page-out ends on the strength of a copy there.
    pub fn quiescing(&self) -> SlotSet {
        SlotSet::from_bits(self.quiescing.load(Acquire))
    }

    /// Slots of servers that have been silent for so long that others are to have their pages. They
    /// may come back with them.
    pub fn lost(&self) -> SlotSet {
        SlotSet::from_bits(self.lost.load(Acquire))
    }

    /// Slots of servers that have been silent for as long as a request may wait: nothing waits for
    /// them any more, until they answer.
    pub fn hopeless(&self) -> SlotSet {
        SlotSet::from_bits(self.hopeless.load(Acquire))
    }

    /// How many servers a page-out may count on or wait for: more than so many have not been usable
    /// at a time for as long as a request may wait.
    pub fn hoped(&self) -> usize {
        // CAST: three at the most.
        self.hoped.load(Acquire) as usize
    }

    /// Slots of servers that say what cannot be: they count as silent until they begin anew.
    pub fn insane(&self) -> SlotSet {
        SlotSet::from_bits(self.insane.load(Acquire))
    }

    /// Slots of servers that turned out not to have a page that they should have.
    pub fn forgetful(&self) -> SlotSet {
        SlotSet::from_bits(self.forgetful.load(Acquire))
    }

    /// Slots of servers that are being told to free pages.
    pub fn freeing(&self) -> SlotSet {
        SlotSet::from_bits(self.freeing.load(Acquire))
    }

    /// Slots of servers with which a session is being opened, or will be when the slot has been swept:
    /// they have answered, refuse nothing, and have not been asked in vain for as long as a request may
    /// wait.
    pub fn greeted(&self) -> SlotSet {
        SlotSet::from_bits(self.greeted.load(Acquire))
    }

    /// Slots of servers that cannot be used, and may be soon: they are silent, and not in `others`; or a
    /// session is being opened, in a slot of which nothing was said yet. Not for as long as a request may
    /// wait. `usable` are those that can be: what was read before this, so that none is missed that
    /// becomes usable meanwhile.
    pub fn awaited(&self, usable: SlotSet, others: SlotSet) -> SlotSet {
        // In this order: one that begins anew is greeted before it is closed.
        let silent = self.valid().without(usable).without(self.hopeless());
        silent
            .without(self.quiescing())
            .without(self.insane())
            .without(others)
            .union(self.greeted())
    }

    /// Slots whose copies count towards the replicas that are wanted of a page.
    pub fn counting(&self) -> SlotSet {
        self.valid().without(self.draining()).without(self.lost())
    }

    /// How often a slot has ceased to be one of [`Self::counting`]. Who only looked at those now and
    /// then would miss one that has come and gone, and pages with it.
    pub fn losses(&self) -> u32 {
        self.losses.load(Acquire)
    }

    /// How often a copy has ceased to count: all of a slot's, as [`Self::losses`] says, or one that turned
    /// out to be missing. What was found in the map before, means nothing after that.
    pub(super) fn changes_against(&self) -> u32 {
        self.losses().wrapping_add(self.missing.load(Acquire))
    }

    /// The server has not a page that it should have. Its bit in the map is gone already.
    pub(super) fn note_missing(&self, slot: ServerSlot) {
        change(&self.forgetful, slot, true);
        self.missing.fetch_add(1, Full);
    }

    /// A slot's copies count no longer, if `is_new`.
    fn note_loss(&self, is_new: bool) {
        if is_new {
            self.losses.fetch_add(1, Full);
        }
    }

    /// Slots of servers that new copies may go to.
    pub fn placeable(&self) -> SlotSet {
        self.usable()
            .intersection(self.counting())
            .without(self.quiescing())
            .without(self.full())
    }

    /// Who is in `slot`; only right while the slot is valid.
    pub fn address(&self, slot: ServerSlot) -> Address {
        self.view(slot).map_or(
            Address {
                mac: MacAddress::default(),
                session: 0,
                incarnation: 0,
            },
            |view| Address {
                mac: mac_from_u64(view.mac.load(Relaxed)),
                session: view.session.load(Relaxed),
                incarnation: view.incarnation.load(Relaxed),
            },
        )
    }

    /// The hardware address of who is in `slot`; only right while the slot is valid.
    #[inline]
    pub fn mac(&self, slot: ServerSlot) -> MacAddress {
        self.view(slot).map_or(MacAddress([0; 6]), |view| {
            mac_from_u64(view.mac.load(Relaxed))
        })
    }

    /// Whether `slot` still belongs to `session`, and its pages count. A session is of one incarnation; a
    /// server that was removed and added again has another session in the same incarnation, and lacks the
    /// pages of the first, perhaps in the same slot.
    #[inline]
    pub fn is_current(&self, slot: ServerSlot, session: u64) -> bool {
        self.valid().contains(slot)
            && self
                .view(slot)
                .is_some_and(|view| view.session.load(Relaxed) == session)
    }

    /// Whether the server in `slot` has this hardware address.
    #[inline]
    pub fn is_at(&self, slot: ServerSlot, mac: MacAddress) -> bool {
        self.view(slot)
            .is_some_and(|view| view.mac.load(Relaxed) == mac_to_u64(mac))
    }

    /// How full the server is.
    pub fn load(&self, slot: ServerSlot) -> Load {
        self.view(slot).map_or(
            Load {
                capacity_pages: 0,
                used_pages: 0,
                announcement: 0,
            },
            |view| Load {
                capacity_pages: view.capacity_pages.load(Relaxed),
                used_pages: view.used_pages.load(Relaxed),
                announcement: view.announcements.load(Relaxed),
            },
        )
    }

    /// How pages are cut on the way to and from the server.
    pub fn fragmentation(&self, slot: ServerSlot) -> Fragmentation {
        self.view(slot)
            .and_then(|view| u8::try_from(view.fragment_count.load(Relaxed)).ok())
            .and_then(Fragmentation::from_count)
            .unwrap_or(Fragmentation::WHOLE)
    }

    /// Publishes who is in `slot`: valid and usable from now on.
    pub(super) fn open(&self, slot: ServerSlot, address: Address, cut: Fragmentation) {
        if let Some(view) = self.view(slot) {
            view.mac.store(mac_to_u64(address.mac), Relaxed);
            view.session.store(address.session, Relaxed);
            view.incarnation.store(address.incarnation, Release);
            view.fragment_count.store(u32::from(cut.count()), Relaxed);
        }
        change(&self.full, slot, false);
        change(&self.draining, slot, false);
        change(&self.quiescing, slot, false);
        change(&self.lost, slot, false);
        change(&self.hopeless, slot, false);
        change(&self.freeing, slot, false);
        change(&self.insane, slot, false);
        change(&self.forgetful, slot, false);
        change(&self.valid, slot, true);
        change(&self.usable, slot, true);
    }

    /// The pages in `slot` are gone.
    pub(super) fn close(&self, slot: ServerSlot) {
        change(&self.usable, slot, false);
        let is_new = change(&self.valid, slot, false);
        self.note_loss(is_new);
    }

    /// Whether new transfers may go to `slot`.
    pub(super) fn set_usable(&self, slot: ServerSlot, usable: bool) {
        change(&self.usable, slot, usable);
    }

    /// The server is to be removed, or stays after all.
    pub(super) fn set_draining(&self, slot: ServerSlot, draining: bool) {
        let is_new = change(&self.draining, slot, draining);
        self.note_loss(is_new && draining);
    }

    /// Whether copies there are enough to end a page-out. Every shard must be told before that is
    /// relied on.
    pub(super) fn set_quiescing(&self, slot: ServerSlot, quiescing: bool) {
        change(&self.quiescing, slot, quiescing);
    }

    /// Whether the server has been silent for too long.
    pub(super) fn set_lost(&self, slot: ServerSlot, lost: bool) {
        let is_new = change(&self.lost, slot, lost);
        self.note_loss(is_new && lost);
    }

    /// Whether the server has been silent for as long as a request may wait. Returns whether this
    /// has changed.
    pub(super) fn set_hopeless(&self, slot: ServerSlot, hopeless: bool) -> bool {
        change(&self.hopeless, slot, hopeless)
    }

    /// How many servers may be waited for. Returns whether this is new.
    pub(super) fn set_hoped(&self, servers: usize) -> bool {
        // CAST: three at the most.
        let servers = servers.min(MAX_REPLICAS) as u32;
        self.hoped.load(Relaxed) != servers && self.hoped.xchg(servers, Full) != servers
    }

    /// Whether the server is being told to free pages.
    pub(super) fn set_freeing(&self, slot: ServerSlot, freeing: bool) {
        change(&self.freeing, slot, freeing);
    }

    /// Which servers are being greeted. Returns whether some is no longer.
    pub(super) fn set_greeted(&self, greeted: SlotSet) -> bool {
        let old = self.greeted.load(Relaxed);
        if old == greeted.bits() {
            return false;
        }
        let old = self.greeted.xchg(greeted.bits(), Full);
        !SlotSet::from_bits(old).without(greeted).is_empty()
    }

    /// The path to the server has another MTU.
    pub(super) fn set_fragmentation(&self, slot: ServerSlot, cut: Fragmentation) {
        if let Some(view) = self.view(slot) {
            view.fragment_count.store(u32::from(cut.count()), Relaxed);
        }
    }

    /// Takes in how full the server is. Returns whether it has room again, having been full.
    pub(super) fn announce(&self, slot: ServerSlot, capacity_pages: u32, used_pages: u32) -> bool {
        if let Some(view) = self.view(slot) {
            view.capacity_pages.store(capacity_pages, Relaxed);
            view.used_pages.store(used_pages, Relaxed);
            view.announcements.fetch_add(1, Release);
        }
        let has_room = used_pages < capacity_pages && !mutated!(RoomForgotten);
        has_room && change(&self.full, slot, false)
    }

    /// A shard was refused for lack of room.
    pub fn set_full(&self, slot: ServerSlot) {
        change(&self.full, slot, true);
    }

    /// A shard gets no answer: nothing new waits on the server until it is heard again. Returns
    /// whether this is new, so that the cluster can be told to look at once.
    pub fn suspect(&self, slot: ServerSlot) -> bool {
        let is_new = self.usable().contains(slot);
        change(&self.usable, slot, false);
        change(&self.suspects, slot, true);
        is_new
    }

    /// The server says what cannot be: whatever it answers from now on, it is not used again.
    pub(super) fn set_insane(&self, slot: ServerSlot) {
        change(&self.insane, slot, true);
    }

    /// Slots suspected since this was last asked.
    pub(super) fn take_suspects(&self) -> SlotSet {
        SlotSet::from_bits(self.suspects.xchg(0, Full))
    }
}
