// SPDX-License-Identifier: GPL-2.0

//! Asking a server what it has, so that nothing stays there that nobody needs: copies whose frees
//! were lost or never sent, and frames that came late.
//!
//! All of it is asked for at once when a server is back, and a little at a time for ever. What it
//! names is the caller's to judge: [`Cluster::take_listed`], then [`is_orphan`].

use core::ops::{Deref, DerefMut};

use super::peer::{Query, State};
use super::{Cluster, Outbox, Peer};
use crate::engine::config::NS_PER_S;
use crate::engine::device::Device;
use crate::engine::free::StaleCopy;
use crate::engine::ids::{PageIndex, ServerSlot, SlotSet, Version};
use crate::sync::Atomic;
use crate::wire::{Frame, Header, InventoryReply, Opcode, PageVersion};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

/// Pages that a server is asked for at a time: the answer crosses the smallest MTU.
pub const LISTED_PAGES: usize = 30;

/// Between two questions, when nothing has happened.
const SLOW_NS: u64 = NS_PER_S / 4;
/// Between two rounds.
const ROUND_NS: u64 = 60 * NS_PER_S;
/// How soon it is tried again while there is no room for what might have to be freed.
const NO_ROOM_NS: u64 = 5_000_000;

/// A page that a server says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which server.
    pub slot: ServerSlot,
    /// The page's number, as the server says.
    pub page: u64,
    /// Its version.
    pub version: u64,
}

/// How far we are with asking one server.
#[derive(Clone, Debug)]
pub(super) struct Questions {
    query: Query,
    cursor: u64,
    /// It has just come back: as fast as it answers.
    is_quick: bool,
    listed: [PageVersion; LISTED_PAGES],
    len: usize,
}

impl Questions {
    pub(super) fn new(query: Query) -> Self {
        Self {
            query,
            cursor: 0,
            is_quick: false,
            listed: [PageVersion::ZERO; LISTED_PAGES],
            len: 0,
        }
    }

    /// All of it, from the beginning.
    pub(super) fn begin(&mut self, now_ns: u64) {
        self.cursor = 0;
        self.is_quick = true;
        self.query.restart(now_ns);
    }

    /// The session has just been opened: there is nothing to be asked for a while.
    pub(super) fn begin_slowly(&mut self, now_ns: u64) {
        self.cursor = 0;
        self.is_quick = false;
        self.query.restart(now_ns.saturating_add(ROUND_NS));
    }

    pub(super) fn due_ns(&self) -> u64 {
        self.query.due_ns()
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
            match self.is_quick {
                true => 0,
                false => SLOW_NS,
            }
        };
        self.query.restart(now_ns.saturating_add(wait_ns));
    }

    fn take(&mut self) -> Option<PageVersion> {
        self.len = self.len.checked_sub(1)?;
        self.listed.get(self.len).copied()
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
        if self.silent || self.questions.len != 0 || !self.frees.has_room_for(LISTED_PAGES) {
            self.questions
                .query
                .put_off(now_ns.saturating_add(NO_ROOM_NS));
            return;
        }
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

impl<P: DerefMut<Target = [Peer]>> Cluster<P> {
    /// A page that a server says it has, to be judged.
    pub fn take_listed(&mut self) -> Option<Listed> {
        SlotSet::ALL.iter().find_map(|slot| {
            let peer = self.peer_mut(slot)?;
            if peer.state != State::Open {
                return None;
            }
            let one = peer.questions.take()?;
            Some(Listed {
                slot,
                page: one.page.get(),
                version: one.version.get(),
            })
        })
    }
}

/// What the server is to be told, if nobody needs what it says it has.
pub fn is_orphan<M>(listed: &Listed, device: &Device<M>) -> Option<StaleCopy>
where
    M: Deref<Target = [Atomic<u32>]>,
{
    let page = PageIndex(u32::try_from(listed.page).ok()?);
    let version = Version(listed.version);
    if page.0 as usize >= device.map.len() || version >= device.next_version() {
        // We never gave it that.
        return None;
    }
    // First, whether it is being copied there; then the entry: what has ended in between stands
    // in the entry.
    if device.copies.contains(page) {
        return None;
    }
    let entry = device.map.load(page);
    let is_held =
        entry.replicas().contains(listed.slot) && entry.generation() == version.generation();
    if entry.is_busy() || is_held {
        return None;
    }
    Some(StaleCopy {
        page,
        slots: SlotSet::one(listed.slot),
        below: Version(version.0.saturating_add(1)),
    })
}
