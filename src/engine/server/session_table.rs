// SPDX-License-Identifier: GPL-2.0

//! The open sessions, found by the number that the client chose.
//!
//! Knows client, address and times; pages are in the store. A session has the index of its owner in
//! the store.

use super::challenge::Challenge;
use crate::engine::server::store::Memory;
use crate::wire::{ClientId, MacAddress};

/// An open session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Session {
    /// The number that the client chose; 0 if no session is open here.
    pub(super) number: u64,
    pub(super) client: ClientId,
    /// Pages that the client may keep.
    pub(super) quota_pages: u64,
    pub(super) mac: MacAddress,
    /// The server's epoch when the session was opened or last moved.
    pub(super) epoch: u64,
    /// `docs/protocol.md`, "Low water".
    pub(super) low_water: u64,
    /// `docs/protocol.md`, "High water".
    pub(super) high_water: u64,
    /// When a frame of its client was last received.
    pub(super) heard_ns: u64,
    /// Whether the client is alive, if that is needed.
    pub(super) challenge: Challenge,
    pub(super) pages_written: u64,
    pub(super) pages_read: u64,
    pub(super) pages_freed: u64,
    /// The next session in the chain, plus one; 0 at its end.
    pub(super) next: u16,
}

/// All sessions.
pub(super) struct Sessions<M: Memory> {
    all: M::Array<Session>,
    /// Heads of chains of sessions whose numbers share a bucket, plus one; 0 for an empty chain.
    heads: M::Array<u16>,
    open: usize,
}

impl<M: Memory> Sessions<M> {
    /// No session is open. `None` if an array is empty.
    pub(super) fn new(all: M::Array<Session>, heads: M::Array<u16>) -> Option<Self> {
        if all.is_empty() || heads.is_empty() {
            return None;
        }
        Some(Self {
            all,
            heads,
            open: 0,
        })
    }

    /// Number of open sessions.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    fn bucket(&self, number: u64) -> usize {
        // Clients choose numbers at random, and there are few sessions.
        // CAST: the remainder is below a length.
        number.checked_rem(self.heads.len() as u64).unwrap_or(0) as usize
    }

    /// The index of the session with this number.
    pub(super) fn find(&self, number: u64) -> Option<usize> {
        let mut link = *self.heads.get(self.bucket(number))?;
        loop {
            let index = usize::from(link.checked_sub(1)?);
            let session = self.all.get(index)?;
            if session.number == number {
                return Some(index);
            }
            link = session.next;
        }
    }

    /// The index of this client's session.
    pub(super) fn of_client(&self, client: ClientId) -> Option<usize> {
        self.all
            .iter()
            .position(|session| session.number != 0 && session.client == client)
    }

    /// Number of sessions open from this address.
    pub(super) fn at(&self, mac: MacAddress) -> usize {
        let is_there = |session: &&Session| session.number != 0 && session.mac == mac;
        self.all.iter().filter(is_there).count()
    }

    /// The indices of the sessions from this address: open ones, and the last one of each other place.
    pub(super) fn places_of(&self, mac: MacAddress) -> impl Iterator<Item = usize> + '_ {
        let all = self.all.iter().enumerate();
        all.filter(move |(_, session)| session.mac == mac)
            .map(|(index, _)| index)
    }

    /// One past the highest index.
    pub(super) fn places(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Session> {
        self.all.get(index).filter(|session| session.number != 0)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Session> {
        self.all
            .get_mut(index)
            .filter(|session| session.number != 0)
    }

    /// The server could not receive frames for this long, so that its clients' silence does not count.
    pub(super) fn put_off_silence(&mut self, now_ns: u64, stopped_ns: u64) {
        for session in self.all.iter_mut().filter(|session| session.number != 0) {
            session.heard_ns = session.heard_ns.saturating_add(stopped_ns).min(now_ns);
        }
    }

    /// Opens a session at `index`, where none is open. Its number must not be in use.
    pub(super) fn insert(&mut self, index: usize, session: Session) {
        let bucket = self.bucket(session.number);
        let (Some(place), Some(head), Ok(link)) = (
            self.all.get_mut(index),
            self.heads.get_mut(bucket),
            u16::try_from(index.saturating_add(1)),
        ) else {
            return;
        };
        *place = Session {
            next: *head,
            ..session
        };
        *head = link;
        self.open = self.open.saturating_add(1);
    }

    /// Closes the session at `index`.
    pub(super) fn remove(&mut self, index: usize) {
        let Some(&Session { number, next, .. }) = self.get(index) else {
            return;
        };
        let bucket = self.bucket(number);
        let mut link = self.heads.get_mut(bucket);
        while let Some(to) = link {
            if usize::from(*to) == index.saturating_add(1) {
                *to = next;
                break;
            }
            let before = usize::from(*to).wrapping_sub(1);
            link = self.all.get_mut(before).map(|session| &mut session.next);
        }
        if let Some(place) = self.all.get_mut(index) {
            // The address is still needed while the pages are dropped.
            *place = Session {
                mac: place.mac,
                ..Session::default()
            };
        }
        self.open = self.open.saturating_sub(1);
    }
}
