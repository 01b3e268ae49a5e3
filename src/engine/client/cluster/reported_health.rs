// SPDX-License-Identifier: GPL-2.0

//! What is reported of a server, to people and programs: its state and its numbers.

use super::peer::State;
use super::{Cluster, Random};
use crate::engine::client::ids::ServerSlot;
use crate::engine::client::storage::Storage;
pub use crate::uapi::Health;
use crate::wire::{MacAddress, Status};

/// A server, for status output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its state.
    pub health: Health,
    /// Its incarnation; 0 before the first session.
    pub incarnation: u64,
    /// Pages that it has for this client.
    pub capacity_pages: u64,
    /// Pages of them that are free.
    pub free_pages: u64,
    /// Why it refused the session last, if it did.
    pub refusal: Option<Status>,
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// The state of the server in `slot`; `None` if there is none.
    pub fn report(&self, slot: ServerSlot) -> Option<Report> {
        let peer = &self.peers[slot];
        let health = match peer.state {
            State::Empty | State::Closing => return None,
            State::Connecting => Health::Connecting,
            State::Open if peer.draining => Health::Draining,
            State::Open if peer.is_lost(self.loss_timeout_ns) => Health::Lost,
            State::Open if peer.suspected => Health::Suspected,
            State::Open => Health::Up,
            State::Sweeping { .. } => Health::Sweeping,
        };
        Some(Report {
            mac: peer.mac,
            health,
            incarnation: peer.incarnation,
            capacity_pages: peer.capacity_pages,
            free_pages: peer.free_pages,
            refusal: peer.refusal,
        })
    }
}
