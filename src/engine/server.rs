// SPDX-License-Identifier: GPL-2.0

//! A memory server's protocol: takes frames and the time, and returns what to send.
//!
//! This module has sessions, leases and the handshake. Pages belong to [`store`], sockets and
//! clocks to the caller. Every operation is idempotent. A frame is handled only after its checksum,
//! its session, its source address and its incarnation have been checked.

mod acks;
mod admission;
mod challenge;
mod hello;
mod outbox;
mod request;
mod session_eviction;
mod session_table;
pub mod store;
#[cfg(test)]
pub(in crate::engine) mod tests;

pub use admission::{Admission, CookieClaim};
pub use outbox::{Outbox, Payload};
pub use session_table::Session;

use crate::wire::{
    Announce, ClientId, ClusterName, Flags, Frame, FrameError, Header, MacAddress, Opcode, Status,
    HEADER_LEN, PROTOCOL_VERSION,
};
use acks::Acks;
use session_table::Sessions;
use store::{Arrays, Layout, Memory, Store};
use zerocopy::IntoBytes;

/// Time between two announcements.
const ANNOUNCE_INTERVAL_NS: u64 = 1_000_000_000;
/// Time between two steps of dropping an ended session's pages.
const SWEEP_INTERVAL_NS: u64 = 1_000_000;
/// Pages of the arena checked in one step: about 40 µs, or three times that where all are dropped.
const SWEEP_STEP: u32 = 16_384;

/// A server's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Random, not 0: identifies this start of the server.
    pub incarnation: u64,
    /// Random: the key of the store's hash.
    pub seed: u64,
    /// The cluster whose clients are served.
    pub cluster: ClusterName,
    /// Seconds without a frame after which a session may end to make room for another, if its
    /// client does not answer a challenge.
    pub lease_s: u32,
    /// Pages that one client may keep here; at least the capacity for no limit.
    pub quota_pages: u64,
}

/// What a server counts from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received, including bad ones.
    pub frames: u64,
    /// Frames that were short, damaged, malformed or of another protocol version.
    pub bad: u64,
    /// Frames of an open session that came from another address than its client's.
    pub forged: u64,
    /// Frames of sessions that are not open, or for another incarnation.
    pub unknown_session: u64,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions ended because their lease had expired, their client did not answer, and their room
    /// was needed.
    pub sessions_expired: u64,
    /// Sessions ended because their client has restarted.
    pub sessions_replaced: u64,
    /// Times that a client was refused because an older session of it is alive.
    pub sessions_in_use: u64,
    /// Pages received whole.
    pub pages_written: u64,
    /// Pages sent, whole or in part.
    pub pages_read: u64,
    /// Pages freed by clients.
    pub pages_freed: u64,
    /// Pages that were requested but not held.
    pub pages_missing: u64,
    /// Page-outs refused for lack of space or quota.
    pub pages_refused: u64,
    /// Page-outs of an old version.
    pub pages_stale: u64,
    /// Page-outs whose bytes did not match their checksum.
    pub pages_corrupt: u64,
}

/// The arrays of a server.
pub struct ServerArrays<M: Memory> {
    /// The store's arrays.
    pub store: Arrays<M>,
    /// As many as the layout's owners.
    pub sessions: M::Array<Session>,
    /// Zeros; any number, best the number of sessions.
    pub session_heads: M::Array<u16>,
}

/// Bytes that a server needs for each owner of the layout, in addition to the store's.
pub const BYTES_PER_OWNER: usize = size_of::<Session>() + size_of::<u16>();

/// A memory server without its sockets.
pub struct Server<M: Memory, A: Admission> {
    config: Config,
    max_clients: usize,
    store: Store<M>,
    sessions: Sessions<M>,
    acks: Acks,
    admission: A,
    counters: Counters,
    /// Frames that the host dropped before the server saw them.
    frames_dropped: u64,
    /// Counts openings, moves and ends of sessions.
    epoch: u64,
    /// The epoch of the last end of a session.
    last_end: u64,
    announce_at_ns: u64,
    /// Frames counted at the last announcement.
    frames_announced: u64,
    sweep_at_ns: Option<u64>,
    /// When to send the next challenges.
    challenge_at_ns: Option<u64>,
}

impl<M: Memory, A: Admission> Server<M, A> {
    /// A server without sessions. It announces itself at the first [`Server::handle_timeout`].
    /// `None` if the arrays do not match `layout` or the incarnation is 0.
    pub fn new(
        config: Config,
        layout: &Layout,
        arrays: ServerArrays<M>,
        admission: A,
        now_ns: u64,
    ) -> Option<Self> {
        if config.incarnation == 0 || arrays.sessions.len() != usize::from(layout.owners) {
            return None;
        }
        Some(Self {
            config,
            max_clients: layout.max_clients.into(),
            store: Store::new(arrays.store, layout, config.seed)?,
            sessions: Sessions::new(arrays.sessions, arrays.session_heads)?,
            acks: Acks::new(),
            admission,
            counters: Counters::default(),
            frames_dropped: 0,
            epoch: 0,
            last_end: 0,
            announce_at_ns: now_ns,
            frames_announced: 0,
            sweep_at_ns: None,
            challenge_at_ns: None,
        })
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The pages.
    pub fn store(&self) -> &Store<M> {
        &self.store
    }

    /// What the host decides. After a change of quotas, [`Server::update_quotas`] is called.
    pub fn admission_mut(&mut self) -> &mut A {
        &mut self.admission
    }

    /// Gives open sessions the quotas that their clients have now. Pages beyond a quota stay.
    pub fn update_quotas(&mut self) {
        for index in 0..self.sessions.places() {
            let client = self.sessions.get(index).map(|session| session.client);
            let quota_pages = client.map(|client| self.quota_pages_for(client));
            if let (Some(session), Some(quota_pages)) = (self.sessions.get_mut(index), quota_pages)
            {
                session.quota_pages = quota_pages;
            }
        }
    }

    /// Number of open sessions.
    pub fn open_sessions(&self) -> usize {
        self.sessions.open()
    }

    /// Sets how many frames the host has dropped since the start, for STATS.
    pub fn set_frames_dropped(&mut self, frames: u64) {
        self.frames_dropped = frames;
    }

    /// Whether [`Server::flush`] has something to send that `out` has not been given.
    pub fn has_kept(&self) -> bool {
        !self.acks.is_empty()
    }

    /// Sends the acknowledgements kept here and what `out` has kept. Then nothing in `out` refers
    /// to the arena any more.
    pub fn flush(&mut self, out: &mut impl Outbox) {
        self.send_acks(out);
        out.flush(self.store.arena());
        self.store.settle();
    }

    /// Handles one frame, without its Ethernet header, that came from `source`.
    pub fn handle_frame(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        bytes: &[u8],
        out: &mut impl Outbox,
    ) {
        self.counters.frames = self.counters.frames.wrapping_add(1);
        if !source.is_unicast() {
            self.count_bad();
            return;
        }
        let frame = match Frame::parse_with(bytes, M::crc32c) {
            Ok(frame) => frame,
            Err(error) => {
                self.count_bad();
                // In every version the lowest bit of the second byte distinguishes a server's
                // frames, which are never answered, from a client's.
                let from_client = bytes.get(1).is_some_and(|opcode| opcode & 1 == 0);
                if matches!(error, FrameError::Version(v) if v != PROTOCOL_VERSION) && from_client {
                    let mut reject = Header::new(Opcode::Reject);
                    reject.status = Status::UnknownVersion;
                    self.send(source, reject, Payload::EMPTY, out);
                }
                return;
            }
        };
        if frame.header.opcode.is_from_server() {
            return;
        }
        let is_signed = frame.header.flags.contains(Flags::SIGNED);
        if is_signed || frame.header.opcode == Opcode::KeyRequest {
            // It cannot be verified here.
            let header = frame.header.answer(Opcode::Reject, Status::NoKeys);
            self.send(source, header, Payload::EMPTY, out);
            return;
        }
        self.handle_intact(now_ns, source, None, &frame, out);
    }

    /// Handles a frame whose signature was verified to be that of `client`.
    pub fn handle_verified(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        client: ClientId,
        frame: &Frame<'_>,
        out: &mut impl Outbox,
    ) {
        self.counters.frames = self.counters.frames.wrapping_add(1);
        self.handle_intact(now_ns, source, Some(client), frame, out);
    }

    /// `client` is known if frames are signed.
    fn handle_intact(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        client: Option<ClientId>,
        frame: &Frame<'_>,
        out: &mut impl Outbox,
    ) {
        if frame.header.opcode == Opcode::Hello {
            self.handle_hello(now_ns, source, client, frame, out);
        } else {
            self.handle_request(now_ns, source, client, frame, out);
        }
    }

    /// Whether this session is open.
    pub fn has_session(&self, number: u64) -> bool {
        self.sessions.find(number).is_some()
    }

    /// Whether this session is open, and the client's.
    pub fn has_session_of(&self, client: ClientId, number: u64) -> bool {
        let session = self.sessions.find(number);
        let session = session.and_then(|index| self.sessions.get(index));
        session.is_some_and(|session| session.client == client)
    }

    /// When to call [`Server::handle_timeout`] next.
    pub fn next_timeout_ns(&self) -> u64 {
        [self.sweep_at_ns, self.challenge_at_ns]
            .into_iter()
            .flatten()
            .fold(self.announce_at_ns, u64::min)
    }

    /// Has the server announce itself at the next [`Server::handle_timeout`]. Called when its
    /// interface is back.
    pub fn announce_now(&mut self, now_ns: u64) {
        self.note_stop(now_ns);
        self.announce_at_ns = now_ns;
    }

    /// Handles what is due.
    pub fn handle_timeout(&mut self, now_ns: u64, out: &mut impl Outbox) {
        if self.sweep_at_ns.is_some_and(|at_ns| at_ns <= now_ns) {
            self.store.sweep(SWEEP_STEP);
            let more = self.store.is_sweeping();
            self.sweep_at_ns = more.then(|| now_ns.saturating_add(SWEEP_INTERVAL_NS));
        }
        if self.challenge_at_ns.is_some_and(|at_ns| at_ns <= now_ns) {
            self.send_challenges(now_ns, out);
        }
        if self.announce_at_ns <= now_ns {
            self.announce(now_ns, out);
        }
    }

    /// A late announcement means that the server was stopped or its clock jumped ahead. It could
    /// not hear clients meanwhile, so their silence does not count.
    fn note_stop(&mut self, now_ns: u64) {
        let late_ns = now_ns.saturating_sub(self.announce_at_ns);
        if late_ns >= ANNOUNCE_INTERVAL_NS {
            self.sessions.put_off_silence(now_ns, late_ns);
        }
    }

    fn announce(&mut self, now_ns: u64, out: &mut impl Outbox) {
        self.note_stop(now_ns);
        let late_ns = now_ns.saturating_sub(self.announce_at_ns);
        // A server that was stopped does not catch up on missed announcements.
        let from_ns = if late_ns < ANNOUNCE_INTERVAL_NS {
            self.announce_at_ns
        } else {
            now_ns
        };
        self.announce_at_ns = from_ns.saturating_add(ANNOUNCE_INTERVAL_NS);
        let frames = self.counters.frames.wrapping_sub(self.frames_announced);
        self.frames_announced = self.counters.frames;
        let announce = Announce {
            cluster: self.config.cluster,
            capacity_pages: self.store.capacity_pages().into(),
            free_pages: self.store.free_pages().into(),
            frames_per_s: frames.into(),
        };
        let header = Header::new(Opcode::Announce);
        self.send_message(MacAddress::BROADCAST, header, announce.as_bytes(), out);
    }

    fn count_bad(&mut self) {
        self.counters.bad = self.counters.bad.wrapping_add(1);
    }

    /// Ends the session at `index`. Its pages are dropped gradually.
    fn end_session(&mut self, now_ns: u64, index: usize) {
        self.sessions.remove(index);
        if let Some(owner) = self.store.owner(index) {
            self.store.close(owner);
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.last_end = self.epoch;
        if self.store.is_sweeping() && self.sweep_at_ns.is_none() {
            self.sweep_at_ns = Some(now_ns);
        }
    }

    /// Adds to `header` what every frame of this server states: its incarnation and, for the client
    /// that gets the frame, its utilisation and the high water.
    fn stamped(&self, header: Header) -> Header {
        // With these the session is not the receiver's, or not any more.
        let is_none = matches!(header.status, Status::NoSession | Status::NotAdmitted)
            || header.opcode == Opcode::ByeAck;
        let session = self.sessions.find(header.session).filter(|_| !is_none);
        let high_water = session
            .and_then(|index| self.sessions.get(index))
            .map_or(0, |session| session.high_water);
        Header {
            incarnation: self.config.incarnation,
            utilisation: self.utilisation_for(session),
            low_water: high_water,
            ..header
        }
    }

    /// Pages that the client of this session may keep.
    fn quota_pages_of(&self, session: Option<usize>) -> u64 {
        let session = session.and_then(|index| self.sessions.get(index));
        session.map_or(self.config.quota_pages, |session| session.quota_pages)
    }

    /// The server's utilisation for the client of this session (`docs/protocol.md`, "Utilisation").
    fn utilisation_for(&self, session: Option<usize>) -> u16 {
        let quota_pages = self.quota_pages_of(session);
        if quota_pages >= self.store.capacity_pages() {
            return self.store.utilisation();
        }
        match session.and_then(|index| self.store.owner(index)) {
            Some(owner) => self.store.utilisation_of(owner, quota_pages),
            None => self.store.utilisation(),
        }
    }

    /// Completes `header` and sends it with a payload whose checksum it has or does not need.
    fn send(
        &self,
        destination: MacAddress,
        header: Header,
        payload: Payload<'_>,
        out: &mut impl Outbox,
    ) {
        Self::send_stamped(destination, &self.stamped(header), payload, out);
    }

    /// Sends a header that is already complete.
    fn send_stamped(
        destination: MacAddress,
        header: &Header,
        payload: Payload<'_>,
        out: &mut impl Outbox,
    ) {
        // A payload is at most as long as one received in a frame, so its length fits 16 bits.
        let Ok(len) = u16::try_from(payload.bytes().len()) else {
            return;
        };
        let mut bytes = [0; HEADER_LEN];
        header.emit_to(&mut bytes, len, M::crc32c);
        out.send(destination, &bytes, payload);
    }

    /// Sends `header` followed by a message, and computes the message's checksum.
    fn send_message(
        &self,
        destination: MacAddress,
        header: Header,
        message: &[u8],
        out: &mut impl Outbox,
    ) {
        let header = Header {
            payload_crc: M::crc32c(message),
            ..header
        };
        self.send(destination, header, Payload::Bytes(message), out);
    }
}
