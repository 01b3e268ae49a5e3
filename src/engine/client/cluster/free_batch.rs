// SPDX-License-Identifier: GPL-2.0

//! Notifies one server of pages to free: one batch is filled while another awaits its acknowledgement.
//! Which pages: `maintenance/round/copies_to_free.rs`.
//!
//! The rules: `docs/protocol.md`, "FREE" and "Low water".

use zerocopy::{FromZeros, IntoBytes};
use zerocopy_derive::FromZeros;

use super::query::Query;
use crate::engine::client::ids::ServerSlot;
use crate::engine::client::stale_copy::StaleCopy;
use crate::wire::{Header, Opcode, PageVersion, HEADER_LEN, MAX_PAGE_VERSIONS};

/// How long a batch waits to be filled.
const FILL_NS: u64 = 5_000_000;

#[derive(Clone, Debug, FromZeros)]
struct Batch {
    pages: [PageVersion; MAX_PAGE_VERSIONS],
    len: usize,
}

/// The frees of one server.
#[derive(Clone, Debug)]
pub(super) struct Frees {
    filling: Batch,
    sent: Batch,
    /// How many pages of the batch were in the last frame: all, unless the path MTU is small.
    asked: usize,
    nonce: u64,
    query: Query,
    /// When the batch being filled is due, if no other one awaits its acknowledgement.
    fill_until_ns: u64,
}

impl Frees {
    pub(super) fn new(query: Query) -> Self {
        Self {
            filling: Batch::new_zeroed(),
            sent: Batch::new_zeroed(),
            asked: 0,
            nonce: 0,
            query,
            fill_until_ns: u64::MAX,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    /// Whether `pages` more can be added.
    pub(super) fn has_room_for(&self, pages: usize) -> bool {
        self.filling.len.saturating_add(pages) <= MAX_PAGE_VERSIONS
    }

    pub(super) fn put(&mut self, now_ns: u64, copy: &StaleCopy) {
        if let Some(cell) = self.filling.pages.get_mut(self.filling.len) {
            *cell = PageVersion {
                page: u64::from(copy.page.0).into(),
                version: copy.below.0.into(),
            };
            if self.filling.len == 0 {
                self.fill_until_ns = now_ns.saturating_add(FILL_NS);
            }
            self.filling.len = self.filling.len.saturating_add(1);
            if !self.has_room() {
                self.fill_until_ns = now_ns;
            }
        }
    }

    /// Whether some frees have not been acknowledged.
    pub(super) fn has_any(&self) -> bool {
        self.is_awaiting() || self.filling.len != 0
    }

    fn is_awaiting(&self) -> bool {
        self.sent.len != 0
    }

    pub(super) fn due_ns(&self) -> u64 {
        match self.is_awaiting() {
            true => self.query.due_ns(),
            false => self.fill_until_ns,
        }
    }

    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns()
    }

    /// The header to send with [`Self::asked`], the batch: as much of it as crosses a path of `mtu`
    /// bytes. `nonce` is a fresh one for a new batch. A repeated batch keeps its nonce, so any
    /// answer to it counts.
    pub(super) fn ask(&mut self, now_ns: u64, slot: ServerSlot, mtu: usize, nonce: u64) -> Header {
        if !self.is_awaiting() {
            core::mem::swap(&mut self.filling, &mut self.sent);
            self.filling.len = 0;
            self.fill_until_ns = u64::MAX;
            self.query.restart(now_ns);
        }
        let is_new = !self.query.is_asking();
        if is_new {
            self.nonce = nonce;
        }
        let header = self.query.ask(now_ns, slot, self.nonce, Opcode::Free);
        let room = mtu.saturating_sub(HEADER_LEN) / size_of::<PageVersion>();
        let asked = self.sent.len.min(room.max(1));
        // An answer to any attempt counts, including a shorter one, so the batch never grows.
        self.asked = match is_new {
            true => asked,
            false => asked.min(self.asked),
        };
        header
    }

    /// The pages of the batch that are sent.
    pub(super) fn asked(&self) -> &[u8] {
        let pages = self.sent.pages.get(..self.asked);
        pages.unwrap_or_default().as_bytes()
    }

    /// Returns whether it is a new acknowledgement.
    pub(super) fn acknowledged(&mut self, now_ns: u64, header: &Header) -> bool {
        if !self.is_awaiting() || !self.query.answers(header) {
            return false;
        }
        self.query.answered();
        self.sent.len = self.sent.len.saturating_sub(self.asked);
        if self.is_awaiting() {
            // PANIC: never; at most a whole batch was sent.
            self.sent.pages.rotate_left(self.asked);
            self.query.restart(now_ns);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::ids::{PageIndex, SlotSet, Version};

    const SLOT_BITS: u32 = 1;
    const MTU: usize = 1500;

    fn frees(pages: u32) -> Frees {
        let mut frees = Frees::new(Query::new(Query::FREE));
        for page in 0..pages {
            frees.put(0, &copy(page));
        }
        frees
    }

    fn copy(page: u32) -> StaleCopy {
        StaleCopy {
            page: PageIndex(page),
            slots: SlotSet::from_bits(SLOT_BITS),
            below: Version(7),
        }
    }

    fn ask(frees: &mut Frees, mtu: usize, nonce: u64) -> (Header, usize) {
        let slot = ServerSlot::new(0).unwrap();
        let header = frees.ask(0, slot, mtu, nonce);
        (header, frees.asked().len() / size_of::<PageVersion>())
    }

    #[test]
    fn an_answer_repeated_is_not_the_next_batchs() {
        let mut frees = frees(1);
        let (first, _) = ask(&mut frees, MTU, 100);
        frees.put(0, &copy(1));
        assert!(frees.acknowledged(0, &first));
        let (second, count) = ask(&mut frees, MTU, 101);
        assert_eq!(count, 1);
        assert!(!frees.acknowledged(0, &first));
        assert!(frees.is_awaiting());
        // Any answer to a repeated batch counts.
        ask(&mut frees, MTU, 102);
        assert!(frees.acknowledged(0, &second));
        assert!(!frees.is_awaiting());
    }

    #[test]
    fn a_batch_is_cut_to_a_small_mtu() {
        let mut frees = frees(50);
        let mtu = HEADER_LEN + 20 * size_of::<PageVersion>();
        for (nonce, expected) in [(1, 20), (2, 20), (3, 10)] {
            let (header, count) = ask(&mut frees, mtu, nonce);
            assert_eq!(count, expected);
            assert!(frees.acknowledged(0, &header));
        }
        assert!(!frees.is_awaiting());
    }

    #[test]
    fn an_answer_to_a_short_batch_says_nothing_of_a_longer_one() {
        let mut frees = frees(50);
        let (short, count) = ask(&mut frees, 600, 1);
        assert_eq!(count, 32);
        // The path MTU has grown, or seems to have, and the short batch is answered late.
        ask(&mut frees, MTU, 2);
        assert!(frees.acknowledged(0, &short));
        assert_eq!(ask(&mut frees, MTU, 3).1, 18);
    }
}
