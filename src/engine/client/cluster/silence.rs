// SPDX-License-Identifier: GPL-2.0

//! How long servers have been silent, and whether requests still wait for them (the I/O timeout). When the
//! copies of a silent server no longer count: `loss_timeout.rs`.
//!
//! A request waits for the I/O timeout, counted from when the last server that could help fell
//! silent, even if the request began later. So all requests to servers that are gone end within one
//! I/O timeout together, not one for each page. Only time in which the client ran counts: a client
//! that was stopped gives no server up when it continues.

use super::loss_timeout::MOST_COUNTED_NS;
use super::peer::State;
use super::{Cluster, Peer, Random};
use crate::engine::client::ids::{ServerSlot, SlotSet, MAX_REPLICAS};
use crate::engine::client::server_table::ServerTable;
use crate::engine::client::storage::Storage;

/// For how long there have been too few servers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shortage {
    /// How long fewer than one, two and three servers have been usable; 0 if enough are.
    fewer_ns: [u64; MAX_REPLICAS],
    looked_ns: u64,
}

impl Shortage {
    /// `usable` servers are usable now, and the client ran until `ran_ns`. Returns how many a
    /// page-out may count on or wait for.
    pub(super) fn look(
        &mut self,
        now_ns: u64,
        ran_ns: u64,
        usable: usize,
        io_timeout_ns: u64,
    ) -> usize {
        let passed_ns = ran_ns.saturating_sub(self.looked_ns).min(MOST_COUNTED_NS);
        self.looked_ns = now_ns;
        for (others, fewer_ns) in self.fewer_ns.iter_mut().enumerate() {
            *fewer_ns = match (usable > others, *fewer_ns) {
                (true, _) => 0,
                // There were enough at the last check, so the start is unknown.
                (false, 0) => 1,
                (false, fewer_ns) => fewer_ns.saturating_add(passed_ns),
            };
        }
        let expected = self.fewer_ns.iter().filter(|ns| **ns < io_timeout_ns);
        expected.count()
    }

    /// When the next check is due.
    fn due_ns(&self, io_timeout_ns: u64) -> u64 {
        let left = |fewer_ns: &u64| match *fewer_ns {
            0 => None,
            fewer_ns => io_timeout_ns.checked_sub(fewer_ns).filter(|left| *left > 0),
        };
        let first = self.fewer_ns.iter().filter_map(left).min();
        first.map_or(u64::MAX, |left_ns| self.looked_ns.saturating_add(left_ns))
    }
}

impl Peer {
    /// Counts for how long no frame of the suspected server has been received; the client ran until `ran_ns`.
    pub(super) fn count_silence(&mut self, ran_ns: u64) {
        // An answer to a request under way is a sign of life, though not an answer to a ping.
        let since_ns = self.heard_ns.max(self.looked_ns);
        let unheard_ns = match self.heard_ns > self.looked_ns {
            true => 0,
            false => self.unheard_ns,
        };
        self.unheard_ns = match (self.suspected, self.suspected_ns) {
            (false, _) => 0,
            // It was not suspected at the last check, so the start is unknown. It may have had nothing to
            // answer for a second.
            (true, 0) => 1,
            (true, _) => {
                let passed_ns = ran_ns.saturating_sub(since_ns).min(MOST_COUNTED_NS);
                unheard_ns.saturating_add(passed_ns)
            }
        };
    }

    /// Whether requests no longer wait for it.
    pub(super) fn is_given_up(&self, io_timeout_ns: u64) -> bool {
        self.suspected && self.unheard_ns >= io_timeout_ns
    }

    /// Whether a session with it is being opened, or will be when its slot has been swept, and
    /// requests wait for that. It has answered before, so a wrong address makes no request wait.
    pub(super) fn is_opening(&self, io_timeout_ns: u64) -> bool {
        match self.state {
            State::Connecting => {
                self.heard_ns != 0 && self.refusals == 0 && !self.is_given_up(io_timeout_ns)
            }
            State::Sweeping { successor } => successor,
            State::Empty | State::Open | State::Closing => false,
        }
    }

    /// A server with which a session is being opened has answered. Only the first answer counts: requests do
    /// not wait for ever for a server that never opens a session.
    pub(super) fn note_answering(&mut self, now_ns: u64) {
        if self.state == State::Connecting && self.heard_ns == 0 {
            self.heard_ns = now_ns.max(1);
        }
    }

    /// When that check is due.
    fn given_up_at_ns(&self, io_timeout_ns: u64) -> u64 {
        match io_timeout_ns.checked_sub(self.unheard_ns) {
            Some(left_ns) if self.suspected && left_ns > 0 => {
                self.looked_ns.saturating_add(left_ns)
            }
            _ => u64::MAX,
        }
    }
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// Publishes whether requests still wait for the server in `slot`.
    pub(super) fn check_io_timeout(&mut self, slot: ServerSlot, table: &ServerTable) {
        let is_given_up = self.peers[slot].is_given_up(self.io_timeout_ns);
        self.changes.servers_changed |= table.set_given_up(slot, is_given_up);
    }

    /// The same for all servers together.
    pub(super) fn count_expected(&mut self, now_ns: u64, ran_ns: u64, table: &ServerTable) {
        let usable = table.usable().without(table.quiescing()).len();
        let expected = self
            .shortage
            .look(now_ns, ran_ns, usable, self.io_timeout_ns);
        self.changes.servers_changed |= table.set_expected(expected);
    }

    /// Publishes with which servers a session is being opened.
    pub(super) fn publish_opening(&mut self, table: &ServerTable) {
        let mut opening = SlotSet::EMPTY;
        for slot in SlotSet::ALL.iter() {
            if self.peers[slot].is_opening(self.io_timeout_ns) {
                opening.insert(slot);
            }
        }
        self.changes.servers_changed |= table.set_opening(opening);
    }

    /// When the next check is due.
    pub(super) fn io_timeout_due_ns(&self) -> u64 {
        let due = |peer: &Peer| match peer.state {
            State::Open | State::Connecting => peer.given_up_at_ns(self.io_timeout_ns),
            _ => u64::MAX,
        };
        let first = self.peers.iter().map(due).min();
        first
            .unwrap_or(u64::MAX)
            .min(self.shortage.due_ns(self.io_timeout_ns))
    }
}
