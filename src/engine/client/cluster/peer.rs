// SPDX-License-Identifier: GPL-2.0

//! One server, as seen by the cluster.

use super::free_batch::Frees;
use super::inventory::InventoryQuery;
use super::path_mtu::{PathMtu, PING_LEN};
use super::query::Query;
use super::{Outbox, CONTROL};
use crate::engine::client::ids::ServerSlot;
use crate::wire::{Header, MacAddress, Opcode, Status, PADDING};

/// The state of a server's slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Not in use.
    #[default]
    Empty,
    /// A session is being opened.
    Connecting,
    /// A session is open.
    Open,
    /// The pages are gone, but the map still names the slot.
    Sweeping {
        /// Whether a session with the same server is opened in this slot afterwards.
        successor: bool,
    },
    /// The server was removed and the map no longer names it; it is being sent a BYE.
    Closing,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(super) mac: MacAddress,
    pub(super) state: State,
    pub(super) session: u64,
    pub(super) incarnation: u64,
    pub(super) cookie: u64,
    pub(super) refusal: Option<Status>,
    /// The statuses with which it has refused the session to be opened, as bits: a repeated one is
    /// not reported again.
    pub(super) refusals: u32,
    /// When a frame of it was last received; 0 for never.
    pub(super) heard_ns: u64,
    /// When the request was sent whose answer last confirmed the session and the incarnation.
    pub(super) confirmed_ns: u64,
    /// Nothing new is sent to it until it answers a ping or opens the session.
    pub(super) suspected: bool,
    /// Since it was suspected it has answered a HELLO, which is shorter than a ping.
    pub(super) answers_hello_only: bool,
    /// For how long it has been suspected, counting only time in which the client ran.
    pub(super) suspected_ns: u64,
    /// The same, but since any frame of it was last received.
    pub(super) unheard_ns: u64,
    /// When these times were last updated.
    pub(super) looked_ns: u64,
    /// The path MTU.
    pub(super) path_mtu: PathMtu,
    pub(super) quota_pages: u64,
    pub(super) capacity_pages: u64,
    pub(super) free_pages: u64,
    /// Whether our quota is less than its capacity: announcements then do not state how much of the
    /// quota is left, but answers to pings do.
    pub(super) has_quota: bool,
    pub(super) hello: Query,
    pub(super) ping: Query,
    pub(super) frees: Frees,
    /// Whether it is to be removed as soon as no page needs it.
    pub(super) draining: bool,
    /// The BYE for its removal.
    pub(super) bye: Query,
    pub(super) inventory: InventoryQuery,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            mac: MacAddress::default(),
            state: State::Empty,
            session: 0,
            incarnation: 0,
            cookie: 0,
            refusal: None,
            refusals: 0,
            heard_ns: 0,
            confirmed_ns: 0,
            suspected: false,
            answers_hello_only: false,
            suspected_ns: 0,
            unheard_ns: 0,
            looked_ns: 0,
            path_mtu: PathMtu::new(Query::new(Query::PROBE)),
            quota_pages: 0,
            capacity_pages: 0,
            free_pages: 0,
            has_quota: false,
            hello: Query::new(Query::HELLO),
            ping: Query::new(Query::PING),
            frees: Frees::new(Query::new(Query::FREE)),
            draining: false,
            bye: Query::new(Query::BYE),
            inventory: InventoryQuery::new(Query::new(Query::INVENTORY)),
        }
    }
}

impl Peer {
    /// Frees the slot. Never inlined: the value is large for a kernel stack.
    #[inline(never)]
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether there is a session, or one is being opened.
    pub(super) fn is_served(&self) -> bool {
        matches!(self.state, State::Connecting | State::Open)
    }

    /// Whether there is a session with this incarnation of it.
    pub(super) fn is_at(&self, incarnation: u64) -> bool {
        self.state == State::Open && self.incarnation == incarnation
    }

    /// Becomes a server with which a session is to be opened.
    // Changed in place: two peers are too large for a kernel stack.
    #[inline(never)]
    pub(super) fn connect(&mut self, now_ns: u64, mac: MacAddress, session: u64) {
        self.clear();
        self.mac = mac;
        self.session = session;
        self.state = State::Connecting;
        self.suspected = true;
        self.looked_ns = now_ns;
        self.hello.restart(now_ns);
    }

    /// Sends a HELLO that continues the session, so that the server learns our current address.
    pub(super) fn say_hello_again(&mut self, now_ns: u64) {
        self.cookie = 0;
        self.hello.restart(now_ns);
    }

    pub(super) fn send_ping(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        outbox: &mut impl Outbox,
    ) {
        let header = self.ping.ask(now_ns, slot, nonce, Opcode::Ping);
        self.send(header, PADDING.get(..PING_LEN).unwrap_or_default(), outbox);
    }

    /// Sends the next batch of frees, if it is due.
    pub(super) fn send_frees(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        outbox: &mut impl Outbox,
    ) {
        if self.frees.is_due(now_ns) {
            let mtu = self.path_mtu.cut().needed_mtu();
            let header = self.frees.ask(now_ns, slot, mtu, nonce);
            self.send(header, self.frees.asked(), outbox);
        }
    }

    pub(super) fn send_bye(&mut self, slot: ServerSlot, outbox: &mut impl Outbox) {
        let mut header = Header::new(Opcode::Bye);
        // CAST: below 256.
        header.tag = CONTROL | slot.index() as u32;
        self.send(header, &[], outbox);
    }

    /// As [`Self::send_bye`], but repeated until it is acknowledged or has been sent in vain often
    /// enough.
    pub(super) fn repeat_bye(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        outbox: &mut impl Outbox,
    ) {
        if !self.bye.is_due(now_ns) {
            return;
        }
        if self.bye.tries() >= BYE_TRIES {
            self.bye.answered();
            return;
        }
        let header = self.bye.ask(now_ns, slot, nonce, Opcode::Bye);
        self.send(header, &[], outbox);
    }

    /// Whether the BYE is no longer repeated.
    pub(super) fn is_bye_over(&self) -> bool {
        self.bye.due_ns() == u64::MAX
    }

    pub(super) fn send(&self, mut header: Header, payload: &[u8], outbox: &mut impl Outbox) {
        header.session = self.session;
        header.incarnation = self.incarnation;
        header.payload_crc = crate::crc::crc32c(payload);
        outbox.send(self.mac, &header, payload);
    }

    /// The server refuses to open a session. Returns whether the reason is new.
    pub(super) fn note_refusal(&mut self, why: Status) -> bool {
        self.refusal = Some(why);
        // CAST: below 32.
        let bit = 1_u32.wrapping_shl(why as u32);
        let is_new = self.refusals & bit == 0;
        self.refusals |= bit;
        is_new
    }

    /// The session is open: later refusals count as new.
    pub(super) fn forget_refusals(&mut self) {
        self.refusal = None;
        self.refusals = 0;
    }

    /// A frame of our session reports the server's utilisation for us.
    pub(super) fn note_utilisation(&mut self, header: &Header) {
        let used = self
            .capacity_pages
            .saturating_mul(u64::from(header.utilisation))
            .div_ceil(u64::from(u16::MAX));
        self.free_pages = self.capacity_pages.saturating_sub(used);
    }

    /// The server has announced its capacity, and how much of that is free, for all clients.
    pub(super) fn note_announced(&mut self, capacity_pages: u64, free_pages: u64) {
        self.has_quota = self.quota_pages < capacity_pages;
        self.capacity_pages = capacity_pages.min(self.quota_pages);
        self.free_pages = match self.has_quota {
            true => self.free_pages.min(free_pages),
            false => free_pages.min(self.capacity_pages),
        };
    }
}

/// BYEs sent before a server counts as unreachable: within about half a second.
const BYE_TRIES: u32 = 5;
