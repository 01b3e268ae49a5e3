// SPDX-License-Identifier: GPL-2.0

//! When a control request is sent again, and which answer counts.

use super::CONTROL;
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::ServerSlot;
use crate::wire::{Header, Opcode};

/// A request that is repeated until it is answered, each time with a fresh nonce.
///
/// The nonce is the frame's `attempt`. Only an answer to the last one counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    kind: u8,
    nonce: u32,
    asking: bool,
    tries: u32,
    due_ns: u64,
    sent_ns: u64,
}

/// Time between the first two attempts.
const FIRST_RETRY_NS: u64 = 20_000_000;

impl Query {
    pub(super) const HELLO: u8 = 1;
    pub(super) const PING: u8 = 2;
    pub(super) const PROBE: u8 = 3;
    pub(super) const FREE: u8 = 4;
    pub(super) const BYE: u8 = 5;
    pub(super) const INVENTORY: u8 = 6;

    pub(super) const fn new(kind: u8) -> Self {
        Self {
            kind,
            nonce: 0,
            asking: false,
            tries: 0,
            due_ns: u64::MAX,
            sent_ns: 0,
        }
    }

    /// Sends the first attempt at `due_ns`.
    pub(super) fn restart(&mut self, due_ns: u64) {
        self.asking = false;
        self.tries = 0;
        self.due_ns = due_ns;
    }

    /// Sends nothing before `due_ns`.
    pub(super) fn put_off(&mut self, due_ns: u64) {
        self.due_ns = self.due_ns.max(due_ns);
    }

    pub(super) fn answered(&mut self) {
        self.restart(u64::MAX);
    }

    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns
    }

    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// When the last attempt was sent.
    pub(super) fn sent_ns(&self) -> u64 {
        self.sent_ns
    }

    /// Whether an answer is awaited.
    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }

    /// Whether an extra attempt may be sent now: not just after the last one.
    pub(super) fn may_be_hurried(&self, now_ns: u64) -> bool {
        !self.asking || now_ns.saturating_sub(self.sent_ns) >= FIRST_RETRY_NS
    }

    pub(super) fn answers(&self, header: &Header) -> bool {
        self.asking
            && header.attempt == self.nonce
            && header.tag & 0xff00 == u32::from(self.kind) << 8
    }

    /// The header of the next attempt, which is counted. The first one is repeated after 20 ms; the
    /// time doubles with each attempt, up to a second.
    pub(super) fn ask(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        opcode: Opcode,
    ) -> Header {
        // CAST: the low half of a random number is random as well.
        self.nonce = nonce as u32;
        self.asking = true;
        self.sent_ns = now_ns;
        let wait_ns = FIRST_RETRY_NS.wrapping_shl(self.tries.min(6)).min(NS_PER_S);
        self.due_ns = now_ns.saturating_add(wait_ns);
        self.tries = self.tries.saturating_add(1);
        let mut header = Header::new(opcode);
        // CAST: below 256.
        header.tag = CONTROL | u32::from(self.kind) << 8 | slot.index() as u32;
        header.attempt = self.nonce;
        header
    }
}
