// SPDX-License-Identifier: GPL-2.0

//! Requests inventories of servers, to free copies that are no longer needed: those whose frees
//! were lost or never sent, and those written by late frames.
//!
//! A whole inventory is requested at once when a server returns, soon when frees were dropped for
//! lack of room, and otherwise slowly and continuously. [`Cluster::free_orphans`] compares the
//! pages with the map.
//!
//! The rules: `docs/protocol.md`, "INVENTORY".

use super::peer::State;
use super::query::Query;
use super::{Cluster, Outbox, Peer, Random};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::{PageIndex, ServerSlot, SlotSet, Version};
use crate::engine::client::stale_copy::StaleCopy;
use crate::engine::client::storage::Storage;
use crate::engine::client::swap_device::SwapDevice;
use crate::wire::{Frame, Inventory, InventoryReply, Opcode, PageVersion};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Pages requested at a time: the answer crosses the smallest MTU.
pub const LISTED_PAGES: usize = 30;

/// Time between two requests of a slow round.
const SLOW_NS: u64 = NS_PER_S / 4;
/// The most answers in a quick round, which then continues slowly: enough for 120 GiB of pages. A
/// server whose cursor rises by one would otherwise never end.
const QUICK_ANSWERS: u32 = 1 << 20;
/// Time between two rounds.
const ROUND_NS: u64 = 60 * NS_PER_S;
/// How long after dropped frees an inventory begins. More frees may be dropped meanwhile, because a
/// flood of refused page-outs lasts.
const FORGOTTEN_NS: u64 = NS_PER_S / 2;
/// The time between two inventories begun for that reason, whose cost grows with the server's pages.
const FORGOTTEN_AGAIN_NS: u64 = 5 * NS_PER_S;
/// The first pause while the server is suspected, or there is no room for frees. It doubles each
/// time, up to a second, and ends at once when there is room.
const NO_ROOM_NS: u64 = 5_000_000;
/// The pause before pages that are being written or copied are checked again.
const UNCLEAR_NS: u64 = 50_000_000;

/// The inventory of one server.
#[derive(Clone, Debug)]
pub(super) struct InventoryQuery {
    query: Query,
    cursor: u64,
    /// Whether requests follow at once, because the server has returned or frees were dropped.
    is_quick: bool,
    /// How many more answers may follow at once.
    quick_left: u32,
    /// How often it was put off for lack of room since the last request.
    put_off: u32,
    /// When to begin again because frees were dropped; after the current quick round.
    forgotten_due_ns: u64,
    /// The earliest time for the next such inventory.
    forgotten_next_ns: u64,
    listed: [PageVersion; LISTED_PAGES],
    len: usize,
}

impl InventoryQuery {
    pub(super) fn new(query: Query) -> Self {
        Self {
            query,
            cursor: 0,
            is_quick: false,
            quick_left: 0,
            put_off: 0,
            forgotten_due_ns: u64::MAX,
            forgotten_next_ns: 0,
            listed: FromZeros::new_zeroed(),
            len: 0,
        }
    }

    /// Begins a quick round.
    pub(super) fn begin(&mut self, now_ns: u64) {
        self.cursor = 0;
        self.is_quick = true;
        self.quick_left = QUICK_ANSWERS;
        self.put_off = 0;
        self.query.restart(now_ns);
    }

    /// The session has just been opened: begins a slow round later.
    pub(super) fn begin_slowly(&mut self, now_ns: u64) {
        self.cursor = 0;
        self.is_quick = false;
        self.query.restart(now_ns.saturating_add(ROUND_NS));
    }

    /// Frees for the server were dropped: begins an inventory soon.
    fn note_forgotten(&mut self, now_ns: u64) {
        if self.forgotten_due_ns == u64::MAX {
            let due_ns = now_ns.saturating_add(FORGOTTEN_NS);
            self.forgotten_due_ns = due_ns.max(self.forgotten_next_ns);
        }
    }

    /// Begins the inventory for dropped frees, if it is due.
    fn look_for_forgotten(&mut self, now_ns: u64) {
        if !self.is_quick && now_ns >= self.forgotten_due_ns {
            self.forgotten_due_ns = u64::MAX;
            self.forgotten_next_ns = now_ns.saturating_add(FORGOTTEN_AGAIN_NS);
            self.begin(now_ns);
        }
    }

    pub(super) fn due_ns(&self) -> u64 {
        match self.is_quick {
            true => self.query.due_ns(),
            false => self.query.due_ns().min(self.forgotten_due_ns),
        }
    }

    /// Handles an answer. An old or malformed one changes nothing.
    pub(super) fn answered(&mut self, now_ns: u64, frame: &Frame<'_>) {
        if !self.query.answers(&frame.header) {
            return;
        }
        let Ok((reply, pages)) = InventoryReply::read_from_prefix(frame.payload) else {
            return;
        };
        let Ok(pages) = <[PageVersion]>::ref_from_bytes(pages) else {
            return;
        };
        let Some(place) = self.listed.get_mut(..pages.len()) else {
            return;
        };
        place.copy_from_slice(pages);
        self.len = pages.len();
        let cursor = reply.cursor.get();
        // A cursor that does not rise would never end.
        let wait_ns = if cursor <= self.cursor {
            self.cursor = 0;
            self.is_quick = false;
            ROUND_NS
        } else {
            self.cursor = cursor;
            self.quick_left = self.quick_left.saturating_sub(1);
            self.is_quick &= self.quick_left != 0;
            match self.is_quick {
                true => 0,
                false => SLOW_NS,
            }
        };
        self.query.restart(now_ns.saturating_add(wait_ns));
    }

    /// No request can be sent now.
    fn put_off(&mut self, now_ns: u64) {
        let wait_ns = NO_ROOM_NS.wrapping_shl(self.put_off.min(8)).min(NS_PER_S);
        self.put_off = self.put_off.saturating_add(1);
        self.query.put_off(now_ns.saturating_add(wait_ns));
    }

    /// The server has freed pages: there may be room now.
    pub(super) fn note_room(&mut self, now_ns: u64) {
        if core::mem::take(&mut self.put_off) != 0 {
            self.query.restart(now_ns);
        }
    }

    /// Calls `is_kept` for every page of the last answer, and keeps those for which it returns true.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(PageVersion) -> bool) {
        let mut kept: usize = 0;
        for index in 0..self.len {
            let Some(one) = self.listed.get(index).copied() else {
                break;
            };
            if is_kept(one) {
                if let Some(place) = self.listed.get_mut(kept) {
                    *place = one;
                }
                kept = kept.saturating_add(1);
            }
        }
        self.len = kept;
    }
}

impl Peer {
    /// Sends the next request, if it is due.
    pub(super) fn send_inventory(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        outbox: &mut impl Outbox,
    ) {
        if now_ns < self.inventory.due_ns() {
            return;
        }
        self.inventory.look_for_forgotten(now_ns);
        if self.suspected || self.inventory.len == 0 && !self.frees.has_room_for(LISTED_PAGES) {
            self.inventory.put_off(now_ns);
            return;
        }
        if self.inventory.len != 0 {
            let query = &mut self.inventory.query;
            query.put_off(now_ns.saturating_add(UNCLEAR_NS));
            return;
        }
        self.inventory.put_off = 0;
        let query = &mut self.inventory.query;
        let header = query.ask(now_ns, slot, nonce, Opcode::Inventory);
        let question = Inventory {
            cursor: self.inventory.cursor.into(),
            // CAST: a small constant.
            max_pages: (LISTED_PAGES as u32).into(),
            reserved: U32::ZERO,
        };
        self.send(header, question.as_bytes(), outbox);
    }
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// The versions have jumped: requests inventories at once, to find pages of another instance.
    pub fn look_for_orphans(&mut self, now_ns: u64) {
        for peer in self.peers.iter_mut() {
            if peer.state == State::Open {
                peer.inventory.begin(now_ns);
            }
        }
    }

    /// Frees for these servers were dropped: requests their inventories.
    pub fn ask_what_they_have(&mut self, now_ns: u64, slots: SlotSet) {
        for slot in slots.iter() {
            let peer = &mut self.peers[slot];
            if peer.state == State::Open {
                peer.inventory.note_forgotten(now_ns);
            }
        }
    }

    /// Compares the pages that servers hold with the map, and notes those that are not needed to be
    /// freed. Returns their number. A page that cannot be decided yet, or noted for lack of room,
    /// is kept, and nothing more is requested of that server meanwhile.
    pub fn free_orphans(&mut self, now_ns: u64, device: &SwapDevice<S>) -> u64 {
        let mut found: u64 = 0;
        for slot in SlotSet::ALL.iter() {
            let peer = &mut self.peers[slot];
            if peer.state != State::Open {
                continue;
            }
            let frees = &mut peer.frees;
            peer.inventory.retain(|one| match judge(slot, one, device) {
                Judgement::Needed => false,
                Judgement::Orphan(copy) if frees.has_room() => {
                    frees.put(now_ns, &copy);
                    found = found.saturating_add(1);
                    false
                }
                Judgement::Orphan(_) | Judgement::Unclear => true,
            });
        }
        found
    }
}

/// What to do with a page that a server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Needed,
    /// It is being written or copied: undecided.
    Unclear,
    Orphan(StaleCopy),
}

pub(super) fn judge<S: Storage>(
    slot: ServerSlot,
    one: PageVersion,
    device: &SwapDevice<S>,
) -> Judgement {
    let version = Version(one.version.get());
    let Ok(page) = u32::try_from(one.page.get()).map(PageIndex) else {
        return Judgement::Needed;
    };
    if page.0 as usize >= device.map.len() || version >= device.next_version() {
        // This client never gave it that.
        return Judgement::Needed;
    }
    let Some(is_ours) = device.versions().is_ours(version) else {
        return Judgement::Unclear;
    };
    // First whether it is being copied there, then the entry: a copy that ended in between shows in
    // the entry.
    if device.copies.contains(page) {
        return Judgement::Unclear;
    }
    let entry = device.map.load(page);
    // The map never names a version of another instance, whatever its generation.
    let is_named = entry.replicas().contains(slot) && entry.generation() == version.generation();
    let is_held = is_named && is_ours;
    if entry.is_busy() {
        return Judgement::Unclear;
    }
    if is_held && !mutated!(LiveCopyFreed) {
        return Judgement::Needed;
    }
    Judgement::Orphan(StaleCopy {
        page,
        slots: SlotSet::one(slot),
        below: Version(version.0.saturating_add(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_rises_for_ever_is_followed_slowly_after_a_while() {
        let mut inventory = InventoryQuery::new(Query::new(1));
        let (slot, now_ns) = (ServerSlot::new(3).unwrap(), 1_000_000_000);
        inventory.begin(now_ns);
        let mut answers: u64 = 0;
        while inventory.due_ns() <= now_ns {
            answers += 1;
            assert!(answers <= u64::from(QUICK_ANSWERS), "for ever");
            let question = inventory
                .query
                .ask(now_ns, slot, answers, Opcode::Inventory);
            let header = question.answer(Opcode::InventoryReply, crate::wire::Status::Ok);
            let payload = answers.to_be_bytes();
            inventory.answered(
                now_ns,
                &Frame {
                    header,
                    payload: &payload,
                },
            );
        }
        assert!(answers > 1_000_000, "{answers}");
        assert_eq!(inventory.due_ns(), now_ns + SLOW_NS);
    }
}
