// SPDX-License-Identifier: GPL-2.0

//! Asking a server what it has, so that nothing stays there that nobody needs: copies whose frees
//! were lost or never sent, and frames that came late.
//!
//! All of it is asked for at once when a server is back, soon when frees have been forgotten for want of
//! room, and a little at a time for ever. What it names is judged by the map: [`Cluster::free_orphans`].
//!
//! The rules: `docs/protocol.md`, "INVENTORY".

use super::super::storage::Storage;
use core::ops::DerefMut;

use super::peer::{Query, State};
use super::{Cluster, Outbox, Peer, Random};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::device::Device;
use crate::engine::client::free::StaleCopy;
use crate::engine::client::ids::{PageIndex, ServerSlot, SlotSet, Version};
use crate::wire::{Frame, Header, InventoryReply, Opcode, PageVersion};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

/// Pages that a server is asked for at a time: the answer crosses the smallest MTU.
pub const LISTED_PAGES: usize = 30;

/// Between two questions, when nothing has happened.
const SLOW_NS: u64 = NS_PER_S / 4;
/// Answers that a quick round has at the most, then it goes on slowly: enough for 120 GiB of pages. A server
/// whose cursor rises by one has more of them than there is time for.
const QUICK_ANSWERS: u32 = 1 << 20;
/// Between two rounds.
const ROUND_NS: u64 = 60 * NS_PER_S;
/// How long after frees were forgotten a server is asked for all that it has: more may be, for a flood of
/// page-outs that are refused is not over at once.
const FORGOTTEN_NS: u64 = NS_PER_S / 2;
/// And how long after it was last begun to be asked for that reason: it costs as much as it has pages.
const FORGOTTEN_AGAIN_NS: u64 = 5 * NS_PER_S;
/// How soon it is tried again while the server is silent, or there is no room for what might have to be
/// freed; then after twice as long each time, up to a second. That there is room ends it at once.
const NO_ROOM_NS: u64 = 5_000_000;
/// How soon pages are looked at again that are being written or copied.
const UNCLEAR_NS: u64 = 50_000_000;

/// How far we are with asking one server.
#[derive(Clone, Debug)]
pub(super) struct Questions {
    query: Query,
    cursor: u64,
    /// It has just come back, or frees have been forgotten: as fast as it answers.
    is_quick: bool,
    /// How many answers it may have so.
    quick_left: u32,
    /// How often it has been put off for want of room since it was last asked.
    put_off: u32,
    /// When it is to be asked from the beginning, for frees have been forgotten; once the round that is
    /// quick is over.
    forgotten_due_ns: u64,
    /// When that may be again.
    forgotten_next_ns: u64,
    listed: [PageVersion; LISTED_PAGES],
    len: usize,
}

impl Questions {
    pub(super) fn new(query: Query) -> Self {
        Self {
            query,
            cursor: 0,
            is_quick: false,
            quick_left: 0,
            put_off: 0,
            forgotten_due_ns: u64::MAX,
            forgotten_next_ns: 0,
            listed: [PageVersion::ZERO; LISTED_PAGES],
            len: 0,
        }
    }

    /// All of it, from the beginning.
    pub(super) fn begin(&mut self, now_ns: u64) {
        self.cursor = 0;
        self.is_quick = true;
        self.quick_left = QUICK_ANSWERS;
        self.put_off = 0;
        self.query.restart(now_ns);
    }

    /// The session has just been opened: there is nothing to be asked for a while.
    pub(super) fn begin_slowly(&mut self, now_ns: u64) {
        self.cursor = 0;
        self.is_quick = false;
        self.query.restart(now_ns.saturating_add(ROUND_NS));
    }

    /// Frees for the server have been forgotten: it is asked for all of it, soon.
    fn note_forgotten(&mut self, now_ns: u64) {
        if self.forgotten_due_ns == u64::MAX {
            let due_ns = now_ns.saturating_add(FORGOTTEN_NS);
            self.forgotten_due_ns = due_ns.max(self.forgotten_next_ns);
        }
    }

    /// Begins with what is to be asked for because frees have been forgotten, if it is time.
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

    /// Takes an answer in; an old one, or one that is no list, changes nothing.
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

    /// It cannot be asked now.
    fn put_off(&mut self, now_ns: u64) {
        let wait_ns = NO_ROOM_NS.wrapping_shl(self.put_off.min(8)).min(NS_PER_S);
        self.put_off = self.put_off.saturating_add(1);
        self.query.put_off(now_ns.saturating_add(wait_ns));
    }

    /// The server has freed something: there may be room now.
    pub(super) fn note_room(&mut self, now_ns: u64) {
        if core::mem::take(&mut self.put_off) != 0 {
            self.query.restart(now_ns);
        }
    }

    /// Looks at every page that the server says it has, and keeps those for which `is_kept` says so.
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
    /// Asks for some more, if it is time.
    pub(super) fn send_inventory(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        outbox: &mut impl Outbox,
    ) {
        if now_ns < self.questions.due_ns() {
            return;
        }
        self.questions.look_for_forgotten(now_ns);
        if self.silent || self.questions.len == 0 && !self.frees.has_room_for(LISTED_PAGES) {
            self.questions.put_off(now_ns);
            return;
        }
        if self.questions.len != 0 {
            let query = &mut self.questions.query;
            query.put_off(now_ns.saturating_add(UNCLEAR_NS));
            return;
        }
        self.questions.put_off = 0;
        let header: Header = self
            .questions
            .query
            .ask(now_ns, slot, nonce, Opcode::Inventory);
        let question = crate::wire::Inventory {
            cursor: self.questions.cursor.into(),
            // CAST: a small constant.
            max_pages: (LISTED_PAGES as u32).into(),
            reserved: U32::ZERO,
        };
        self.send(header, question.as_bytes(), outbox);
    }
}

impl<P: DerefMut<Target = [Peer]>, R: Random> Cluster<P, R> {
    /// The versions have jumped: what servers have of another life is found out at once.
    pub fn look_for_orphans(&mut self, now_ns: u64) {
        for slot in SlotSet::ALL.iter() {
            if let Some(peer) = self.peer_mut(slot).filter(|p| p.state == State::Open) {
                peer.questions.begin(now_ns);
            }
        }
    }

    /// Of what these servers were to free, something has been forgotten: they are asked what they have.
    pub fn ask_what_they_have(&mut self, now_ns: u64, slots: SlotSet) {
        for slot in slots.iter() {
            let peer = self.peer_mut(slot).filter(|p| p.state == State::Open);
            if let Some(peer) = peer {
                peer.questions.note_forgotten(now_ns);
            }
        }
    }

    /// Judges what servers say that they have, and has them told of what nobody needs. Returns how
    /// much that is. What cannot be judged yet, or be told for want of room, is kept; nothing more
    /// is asked of that server before.
    pub fn free_orphans<S: Storage>(&mut self, now_ns: u64, device: &Device<S>) -> u64 {
        let mut found: u64 = 0;
        for slot in SlotSet::ALL.iter() {
            let Some(peer) = self.peer_mut(slot).filter(|p| p.state == State::Open) else {
                continue;
            };
            let frees = &mut peer.frees;
            peer.questions.retain(|one| match judge(slot, one, device) {
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

/// What is to become of a page that a server says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Needed,
    /// It is being written or copied: nobody can say.
    Unclear,
    Orphan(StaleCopy),
}

pub(super) fn judge<S: Storage>(
    slot: ServerSlot,
    one: PageVersion,
    device: &Device<S>,
) -> Judgement {
    let version = Version(one.version.get());
    let Ok(page) = u32::try_from(one.page.get()).map(PageIndex) else {
        return Judgement::Needed;
    };
    if page.0 as usize >= device.map.len() || version >= device.next_version() {
        // We never gave it that.
        return Judgement::Needed;
    }
    let Some(is_ours) = device.versions().is_ours(version) else {
        return Judgement::Unclear;
    };
    // First, whether it is being copied there; then the entry: what has ended in between stands
    // in the entry.
    if device.copies.contains(page) {
        return Judgement::Unclear;
    }
    let entry = device.map.load(page);
    // Another life's version is none that the map means, whatever its generation.
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
        let mut questions = Questions::new(Query::new(1));
        let (slot, now_ns) = (ServerSlot::new(3).unwrap(), 1_000_000_000);
        questions.begin(now_ns);
        let mut answers: u64 = 0;
        while questions.due_ns() <= now_ns {
            answers += 1;
            assert!(answers <= u64::from(QUICK_ANSWERS), "for ever");
            let question = questions
                .query
                .ask(now_ns, slot, answers, Opcode::Inventory);
            let header = question.answer(Opcode::InventoryReply, crate::wire::Status::Ok);
            let payload = answers.to_be_bytes();
            questions.answered(
                now_ns,
                &Frame {
                    header,
                    payload: &payload,
                },
            );
        }
        assert!(answers > 1_000_000, "{answers}");
        assert_eq!(questions.due_ns(), now_ns + SLOW_NS);
    }
}
