// SPDX-License-Identifier: GPL-2.0

//! The end of a session: the server is removed, or the module is unloaded. (When the server has restarted or
//! does not know the session any more: `server_restart.rs`.) The old slot is swept from the page map, and
//! only then reused.
//!
//! A removed server that has pages *drains* first: no more pages are placed there, its pages can be read, and
//! its copies no longer count, so that repair makes others. Once no page seems to need it, it *quiesces*: no
//! page-out ends any more because of a copy there. After every shard has been notified, a page can only begin
//! to need it when another copy is lost, or when a page-out fails that has overwritten another copy. Such a
//! page may be given up. [`super::super::maintenance::removal`] then decides whether the session is closed.
//!
//! The rules: `docs/protocol.md`, "BYE".

use super::peer::State;
use super::{Cluster, Health, Outbox, Peer, Random};
use crate::engine::client::ids::{ServerSlot, SlotSet};
use crate::engine::client::server_table::ServerTable;
use crate::engine::client::storage::Storage;
use crate::wire::{Header, MacAddress};

/// The result of [`Cluster::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The server had no pages, and is removed.
    Done,
    /// The server has a session in this slot, with this number, and is removed when no page needs it.
    Draining(ServerSlot, u64),
}

/// The result of [`Cluster::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The server is closed.
    Done,
    /// The server was already gone, or has been kept.
    Gone,
    /// The server is still quiescing: another server whose copies counted was lost meanwhile. Check the map
    /// again, or call [`Cluster::cancel_quiescing`].
    Outdated,
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// Begins to remove a server; `None` if there is no such server.
    pub fn remove(&mut self, now_ns: u64, mac: MacAddress, table: &ServerTable) -> Option<Removal> {
        let Some(slot) = self.slot_of(mac) else {
            return self.forget_successor(mac, table);
        };
        let peer = &mut self.peers[slot];
        if peer.state != State::Open {
            // The server may have opened the session although its answer has not arrived yet.
            peer.state = State::Closing;
            peer.bye.restart(now_ns);
            self.publish_opening(table);
            return Some(Removal::Done);
        }
        peer.draining = true;
        let session = peer.session;
        table.set_draining(slot, true);
        self.changes.servers_changed = true;
        Some(Removal::Draining(slot, session))
    }

    /// No session is opened afterwards with a server whose old slot is being swept.
    fn forget_successor(&mut self, mac: MacAddress, table: &ServerTable) -> Option<Removal> {
        self.successor(mac)?.state = State::Sweeping { successor: false };
        self.publish_opening(table);
        Some(Removal::Done)
    }

    /// The slot that is being swept before a session with this server is opened in it.
    pub(super) fn successor(&mut self, mac: MacAddress) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| {
            peer.mac == mac && matches!(peer.state, State::Sweeping { successor: true })
        })
    }

    /// A session with a removed server is opened again once its old slot has been swept, because no other
    /// slot is free.
    pub(super) fn succeed(&mut self, mac: MacAddress) -> Option<ServerSlot> {
        let slot = self.peers.find(|peer| {
            peer.mac == mac && matches!(peer.state, State::Sweeping { successor: false })
        })?;
        self.peers[slot].state = State::Sweeping { successor: true };
        Some(slot)
    }

    /// Cancels the removal of the server in `slot`. Returns whether it was being removed.
    pub(super) fn keep(&mut self, slot: ServerSlot, table: &ServerTable) -> bool {
        let was_draining = core::mem::take(&mut self.peers[slot].draining);
        if was_draining {
            table.set_draining(slot, false);
            // A task that is closing it now finds that it is not draining, and does nothing more.
            table.set_quiescing(slot, false);
            self.changes.servers_changed = true;
        }
        was_draining
    }

    fn draining_peer(&mut self, slot: ServerSlot, session: u64) -> Option<&mut Peer> {
        let peer = &mut self.peers[slot];
        let is_it = peer.state == State::Open && peer.session == session && peer.draining;
        is_it.then_some(peer)
    }

    /// The draining server begins to quiesce: its copies end no page-out any more, once every shard has been
    /// notified ([`super::super::shard::Shard::servers_changed`]). Returns false if it is not draining.
    pub fn begin_quiescing(&mut self, slot: ServerSlot, session: u64, table: &ServerTable) -> bool {
        let leaves = self.draining_peer(slot, session).is_some();
        if leaves {
            table.set_quiescing(slot, true);
            self.changes.servers_changed = true;
        }
        leaves
    }

    /// Some page needs the quiescing server: it continues to drain or, if it `stays`, it is kept.
    pub fn cancel_quiescing(
        &mut self,
        slot: ServerSlot,
        session: u64,
        stays: bool,
        table: &ServerTable,
    ) {
        if self.draining_peer(slot, session).is_some() {
            table.set_quiescing(slot, false);
            self.changes.servers_changed = true;
            if stays {
                self.keep(slot, table);
            }
        }
    }

    /// Closes the quiescing server's session, so that it drops its pages. `is_valid`: whether the check of
    /// the map is still valid ([`super::super::maintenance::removal_need`]), or none is wanted.
    pub fn close(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        session: u64,
        is_valid: bool,
        table: &ServerTable,
    ) -> Close {
        let Some(peer) = self.draining_peer(slot, session) else {
            return Close::Gone;
        };
        if !is_valid {
            return Close::Outdated;
        }
        peer.state = State::Sweeping { successor: false };
        peer.bye.restart(now_ns);
        table.close(slot);
        self.changes.servers_changed = true;
        self.changes.to_sweep.insert(slot);
        Close::Done
    }

    /// Whether the server with this address is already draining.
    pub fn is_draining(&self, mac: MacAddress) -> bool {
        self.slot_of(mac)
            .and_then(|slot| self.report(slot))
            .is_some_and(|report| report.health == Health::Draining)
    }

    /// `slot` has been swept: no page of the map names it.
    pub fn swept(&mut self, now_ns: u64, slot: ServerSlot) {
        let peer = &mut self.peers[slot];
        let State::Sweeping { successor } = peer.state else {
            return;
        };
        if successor {
            // There was no other slot when the server restarted or was added again.
            let mac = peer.mac;
            peer.clear();
            self.connect_again(now_ns, mac);
        } else if peer.is_bye_over() {
            peer.clear();
        } else {
            peer.state = State::Closing;
        }
    }

    pub(super) fn repeat_bye(&mut self, now_ns: u64, slot: ServerSlot, outbox: &mut impl Outbox) {
        let nonce = self.random();
        let peer = &mut self.peers[slot];
        peer.repeat_bye(now_ns, slot, nonce, outbox);
        if peer.state == State::Closing && peer.is_bye_over() {
            peer.clear();
        }
    }

    /// A server reports that it has dropped our pages.
    pub(super) fn handle_bye_ack(&mut self, source: MacAddress, header: &Header) {
        let peer = self.peers.iter_mut().find(|peer| {
            matches!(peer.state, State::Sweeping { .. } | State::Closing)
                && peer.mac == source
                && peer.session == header.session
                && peer.bye.answers(header)
        });
        if let Some(peer) = peer {
            peer.bye.answered();
            if peer.state == State::Closing {
                peer.clear();
            }
        }
    }

    /// Sends a BYE to every server: it may drop the session's pages. It is sent once. A server that
    /// misses it drops the pages when the lease expires and the room is needed.
    pub fn say_bye(&mut self, outbox: &mut impl Outbox) {
        let outbox = &mut self.settled(outbox);
        for slot in SlotSet::ALL.iter() {
            let peer = &mut self.peers[slot];
            if peer.state == State::Open {
                peer.send_bye(slot, outbox);
            }
        }
    }
}
