// SPDX-License-Identifier: GPL-2.0

//! Which session ends for another one when there is no room for a session or a page: one whose lease has
//! expired. It does not end before its client was challenged and silent.
//!
//! The rules: `docs/protocol.md`, "HELLO" and "Lease".

use super::challenge::Liveness;
use super::{Admission, Server};
use crate::engine::server::store::Memory;
use crate::wire::{MacAddress, Status};

/// The most sessions of one hardware address: a machine has one for each device.
const MOST_AT_AN_ADDRESS: usize = 4;
/// The most clients that are challenged at a time.
const MOST_ASKED: usize = 16;

/// The result of [`Server::evict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// A session has ended.
    Done,
    /// Clients are being challenged.
    Challenging,
    /// All clients are alive, as far as is known.
    NoneSilent,
}

impl<M: Memory, A: Admission> Server<M, A> {
    /// Makes room for the new session `number` of a client at `source`.
    pub(super) fn evict_for(
        &mut self,
        now_ns: u64,
        number: u64,
        source: MacAddress,
    ) -> Result<(), Status> {
        self.evict_at(now_ns, number, source)?;
        if self.sessions.open() >= self.max_clients {
            self.evict_from(now_ns, number, None)?;
        }
        match self.owners_of(source) < self.most_at_an_address().saturating_mul(2) {
            true => Ok(()),
            false => Err(Status::Wait),
        }
    }

    /// Makes room for session `number` at an address where it is not yet.
    pub(super) fn evict_at(
        &mut self,
        now_ns: u64,
        number: u64,
        source: MacAddress,
    ) -> Result<(), Status> {
        match self.sessions.at(source) < self.most_at_an_address() {
            true => Ok(()),
            false => self.evict_from(now_ns, number, Some(source)),
        }
    }

    fn evict_from(
        &mut self,
        now_ns: u64,
        number: u64,
        from: Option<MacAddress>,
    ) -> Result<(), Status> {
        match self.evict(now_ns, number, from) {
            Eviction::Done => Ok(()),
            Eviction::Challenging => Err(Status::Wait),
            Eviction::NoneSilent => Err(Status::TooManyClients),
        }
    }

    /// The most sessions of one hardware address, so that no address can use all of them.
    fn most_at_an_address(&self) -> usize {
        (self.max_clients / 2).clamp(1, MOST_AT_AN_ADDRESS)
    }

    /// Owners in the store for sessions from this address: open ones, and ended ones until their pages
    /// are dropped. An address may have as many ended as open ones. So its clients can restart at once,
    /// but cannot use up all owners by ending sessions faster than pages are dropped.
    fn owners_of(&self, mac: MacAddress) -> usize {
        self.sessions
            .places_of(mac)
            .filter(|&index| !self.store.is_vacant(index))
            .count()
    }

    /// Makes room for session `number`: ends the session that has been silent longest, among those
    /// at `from` or among all, if its lease has expired and its client does not answer. Challenges
    /// clients whose lease has expired (`docs/protocol.md`, "Lease").
    pub(super) fn evict(&mut self, now_ns: u64, number: u64, from: Option<MacAddress>) -> Eviction {
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
            match self.liveness(now_ns, index) {
                Liveness::Silent => longest = longest.max(Some((silent_ns, index))),
                _ if mutated!(LeaseEndsLiveClient) => {
                    longest = longest.max(Some((silent_ns, index)))
                }
                Liveness::Unknown => asking = asking.saturating_add(1),
                Liveness::Alive => {}
            }
            if asking >= MOST_ASKED {
                break;
            }
        }
        let Some((_, index)) = longest else {
            return match asking {
                0 => Eviction::NoneSilent,
                _ => Eviction::Challenging,
            };
        };
        self.end_session(now_ns, index);
        self.counters.sessions_expired = self.counters.sessions_expired.wrapping_add(1);
        Eviction::Done
    }
}
