// SPDX-License-Identifier: GPL-2.0

//! Which session ends for another one: the session of an older life of the same client, or one whose lease
//! has expired, to make room for a session or a page. Neither ends before its client was challenged and
//! silent.
//!
//! The rules: `docs/protocol.md`, "HELLO" and "Lease".

use super::challenge::Life;
use super::{Admission, Server};
use crate::engine::server::store::Memory;
use crate::wire::{MacAddress, Status};

/// The most clients that are challenged at a time.
const MOST_ASKED: usize = 16;

/// Whether room could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// A session has ended.
    Made,
    /// Clients are being challenged.
    Perhaps,
    /// All clients are alive, as far as is known.
    None,
}

impl<M: Memory, A: Admission> Server<M, A> {
    /// Ends the session at `index` for another session of the same client, if that client's older life is
    /// silent.
    pub(super) fn replace(&mut self, now_ns: u64, index: usize) -> Result<(), Status> {
        // Its client has restarted, or two machines use the same client number.
        match self.life(now_ns, index) {
            Life::Unknown => return Err(Status::Wait),
            Life::Lives => {
                self.counters.sessions_in_use = self.counters.sessions_in_use.wrapping_add(1);
                return Err(Status::InUse);
            }
            Life::Silent => {}
        }
        if !mutated!(FormerLifeKept) {
            self.end_session(now_ns, index);
        }
        self.counters.sessions_replaced = self.counters.sessions_replaced.wrapping_add(1);
        Ok(())
    }

    /// Makes room for session `number` at an address where it is not yet.
    pub(super) fn need_room_at(
        &mut self,
        now_ns: u64,
        number: u64,
        source: MacAddress,
    ) -> Result<(), Status> {
        if self.sessions.at(source) < self.most_at_an_address() {
            return Ok(());
        }
        self.need_room(now_ns, number, Some(source))
    }

    /// Ends a session, among those at `from` or among all, to make room for session `number`.
    pub(super) fn need_room(
        &mut self,
        now_ns: u64,
        number: u64,
        from: Option<MacAddress>,
    ) -> Result<(), Status> {
        match self.make_room(now_ns, number, from) {
            Room::Made => Ok(()),
            Room::Perhaps => Err(Status::Wait),
            Room::None => Err(Status::TooManyClients),
        }
    }

    /// Makes room for session `number`: ends the session that has been silent longest, among those
    /// at `from` or among all, if its lease has expired and its client does not answer. Challenges
    /// clients whose lease has expired (`docs/protocol.md`, "Lease").
    pub(super) fn make_room(&mut self, now_ns: u64, number: u64, from: Option<MacAddress>) -> Room {
        let lease_ns = u64::from(self.config.lease_s).saturating_mul(1_000_000_000);
        let mut longest = None::<(u64, usize)>;
        let mut asking = 0_usize;
        for index in 0..self.sessions.places() {
            let Some(session) = self.sessions.get(index) else {
                continue;
            };
            let silent_ns = now_ns.saturating_sub(session.heard_ns);
            let is_other = session.number != number && from.is_none_or(|mac| session.mac == mac);
            if !is_other || (silent_ns <= lease_ns && !mutated!(LeaseEndsLiveClient)) {
                continue;
            }
            match self.life(now_ns, index) {
                Life::Silent => longest = longest.max(Some((silent_ns, index))),
                _ if mutated!(LeaseEndsLiveClient) => {
                    longest = longest.max(Some((silent_ns, index)))
                }
                Life::Unknown => asking = asking.saturating_add(1),
                Life::Lives => {}
            }
            if asking >= MOST_ASKED {
                break;
            }
        }
        let Some((_, index)) = longest else {
            return if asking > 0 {
                Room::Perhaps
            } else {
                Room::None
            };
        };
        self.end_session(now_ns, index);
        self.counters.sessions_expired = self.counters.sessions_expired.wrapping_add(1);
        Room::Made
    }
}
