// SPDX-License-Identifier: GPL-2.0

//! The handshake: how a session begins, replaces that of an earlier instance of the same client, and moves to
//! another address. [`super::session_eviction`] decides which session ends when there is no room for it.
//!
//! A HELLO alone changes nothing. The server answers it with a cookie that is valid for this
//! client, session, address and incarnation, and only until a session of this client begins, moves
//! or ends. So an old HELLO is never valid.
//!
//! The rules, in this order: `docs/protocol.md`, "HELLO".

use super::challenge::Liveness;
use super::{Admission, CookieClaim, Outbox, Payload, Server, Session};
use crate::engine::server::store::Memory;
use crate::wire::{ClientId, Frame, Header, Hello, HelloAck, MacAddress, Opcode, Status};
use zerocopy::{FromBytes, IntoBytes};

impl<M: Memory, A: Admission> Server<M, A> {
    pub(super) fn handle_hello(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        client: Option<ClientId>,
        frame: &Frame<'_>,
        out: &mut impl Outbox,
    ) {
        let number = frame.header.session;
        let hello = Hello::read_from_bytes(frame.payload).ok();
        let Some(mut hello) = hello.filter(|_| number != 0) else {
            self.count_bad();
            return;
        };
        // Who has signed it is who it is.
        hello.client = client.unwrap_or(hello.client);
        if self.resumes_without_session(&frame.header, &hello) {
            let header = frame.header.answer(Opcode::Reject, Status::NoSession);
            self.counters.unknown_session = self.counters.unknown_session.wrapping_add(1);
            self.send(source, header, Payload::EMPTY, out);
            return;
        }
        let (status, cookie) = self.answer_hello(now_ns, source, &frame.header, &hello);
        let held = match self.sessions.find(number) {
            Some(index) if status == Status::Ok => self
                .store
                .owner(index)
                .map_or(0, |owner| self.store.held_pages(owner)),
            _ => 0,
        };
        let ack = HelloAck {
            cookie: cookie.into(),
            quota_pages: self
                .quota_pages_for(hello.client)
                .min(self.store.capacity_pages())
                .into(),
            held_pages: held.into(),
            lease_s: self.config.lease_s.into(),
            reserved: 0.into(),
        };
        let header = frame.header.answer(Opcode::HelloAck, status);
        self.send_message(source, header, ack.as_bytes(), out);
    }

    /// Pages that this client may keep.
    pub(super) fn quota_pages_for(&self, client: ClientId) -> u64 {
        let quota_pages = self.admission.quota_pages(client);
        quota_pages.unwrap_or(self.config.quota_pages)
    }

    /// Whether a HELLO that names an incarnation, and so continues a session, finds none open. Its
    /// client must not mistake an empty session for its own.
    fn resumes_without_session(&self, header: &Header, hello: &Hello) -> bool {
        let open = || {
            let index = self.sessions.find(header.session)?;
            let session = self.sessions.get(index)?;
            (session.client == hello.client).then_some(())
        };
        header.incarnation != 0
            && (header.incarnation != self.config.incarnation || open().is_none())
    }

    /// Returns the status, and the cookie for [`Status::Cookie`].
    fn answer_hello(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        header: &Header,
        hello: &Hello,
    ) -> (Status, u64) {
        let number = header.session;
        if hello.cluster != self.config.cluster || !self.admission.admits(hello.client, source) {
            return (Status::NotAdmitted, 0);
        }
        // A session's number is its client's secret: a client that uses another's is refused.
        let of_that_number = self.sessions.find(number);
        let session = of_that_number.and_then(|index| self.sessions.get(index));
        if session.is_some_and(|session| session.client != hello.client) {
            return (Status::NotAdmitted, 0);
        }
        let current = self.sessions.of_client(hello.client);
        let mut epoch = self.last_end;
        if let Some(session) = current.and_then(|index| self.sessions.get_mut(index)) {
            if session.number == number && session.mac == source {
                session.heard_ns = now_ns;
                session.challenge.note_frame();
                return (Status::Ok, 0);
            }
            epoch = session.epoch;
        }
        let cookie = self.cookie(source, number, hello, epoch);
        if hello.cookie.get() != cookie && !mutated!(CookieUnchecked) {
            return (Status::Cookie, cookie);
        }
        if let Some(index) = current {
            if self.sessions.find(number) == Some(index) {
                return (self.move_session(now_ns, index, number, source), 0);
            }
            if let Err(status) = self.replace(now_ns, index) {
                return (status, 0);
            }
        }
        (self.open_session(now_ns, source, header, hello), 0)
    }

    /// Moves the session to its client's new address.
    fn move_session(
        &mut self,
        now_ns: u64,
        index: usize,
        number: u64,
        source: MacAddress,
    ) -> Status {
        if let Err(status) = self.evict_at(now_ns, number, source) {
            return status;
        }
        self.epoch = self.epoch.wrapping_add(1);
        if let Some(session) = self.sessions.get_mut(index) {
            session.epoch = self.epoch;
            session.mac = source;
            session.heard_ns = now_ns;
            session.challenge.note_frame();
        }
        Status::Ok
    }

    fn cookie(&self, source: MacAddress, number: u64, hello: &Hello, epoch: u64) -> u64 {
        let claim = CookieClaim {
            client: hello.client,
            session: number.into(),
            incarnation: self.config.incarnation.into(),
            epoch: epoch.into(),
            mac: source.0,
            reserved: [0; 2],
        };
        // A client uses 0 for "no cookie".
        self.admission.cookie(&claim).max(1)
    }

    fn open_session(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        header: &Header,
        hello: &Hello,
    ) -> Status {
        if let Err(status) = self.evict_for(now_ns, header.session, source) {
            return status;
        }
        let Some(owner) = self.store.open() else {
            // The pages of ended sessions are still being dropped.
            return Status::Wait;
        };
        self.epoch = self.epoch.wrapping_add(1);
        let session = Session {
            number: header.session,
            client: hello.client,
            quota_pages: self.quota_pages_for(hello.client),
            mac: source,
            epoch: self.epoch,
            low_water: header.low_water,
            high_water: header.low_water,
            heard_ns: now_ns,
            ..Session::default()
        };
        self.sessions.insert(owner.index(), session);
        self.counters.sessions_opened = self.counters.sessions_opened.wrapping_add(1);
        Status::Ok
    }

    /// Ends the session at `index` for another session of the same client, if the earlier instance of that
    /// client is silent.
    fn replace(&mut self, now_ns: u64, index: usize) -> Result<(), Status> {
        // Its client has restarted, or two machines use the same client number.
        match self.liveness(now_ns, index) {
            Liveness::Unknown => return Err(Status::Wait),
            Liveness::Alive => {
                self.counters.sessions_in_use = self.counters.sessions_in_use.wrapping_add(1);
                return Err(Status::InUse);
            }
            Liveness::Silent => {}
        }
        if !mutated!(EarlierInstanceKept) {
            self.end_session(now_ns, index);
        }
        self.counters.sessions_replaced = self.counters.sessions_replaced.wrapping_add(1);
        Ok(())
    }
}
