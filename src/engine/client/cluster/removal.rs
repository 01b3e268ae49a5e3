// SPDX-License-Identifier: GPL-2.0

//! Removing servers.
//!
//! A server that has pages *leaves*: nothing more is placed there, it is read from, and its copies
//! no longer count, so that repair makes others. Once no page seems to need it, it is *quiescing*:
//! from then on no page-out ends on the strength of a copy there. After every shard has been told
//! that, no page can come to need it but by the loss of another copy: whoever then finds by looking at the
//! whole map that none does, lets it go, if nobody was lost meanwhile who has such a copy.

use core::ops::DerefMut;

use super::peer::State;
use super::{Cluster, Health, Outbox, Peer, Random};
use crate::engine::client::disk::DiskState;
use crate::engine::client::ids::{ServerSlot, SlotSet};
use crate::engine::client::maintenance::drain::Drain;
use crate::engine::client::server_table::ServerTable;
use crate::wire::{Header, MacAddress};

/// What becomes of a server that is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It had no pages, and is gone.
    Done,
    /// It has a session in this slot, with this number, and goes when no page needs it.
    Draining(ServerSlot, u64),
}

/// Why a server that is quiescing may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// By this look at the whole map no page needs it; and how the disk is now.
    NotNeeded(&'a Drain, DiskState),
    /// It does not matter which pages need it.
    Regardless,
}

/// What has become of a server that was quiescing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// It is let go.
    Done,
    /// It has gone by itself, or stays after all.
    Gone,
    /// It is quiescing still: somebody was lost meanwhile whose copies counted. Look at the map anew, or
    /// [`Cluster::cancel_quiescing`].
    Outdated,
}

/// There is no such server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotThere;

impl<P: DerefMut<Target = [Peer]>, R: Random> Cluster<P, R> {
    /// Has a server removed.
    pub fn remove(
        &mut self,
        now_ns: u64,
        mac: MacAddress,
        table: &ServerTable,
    ) -> Result<Removal, NotThere> {
        let Some(slot) = self.slot_of(mac) else {
            return self.forget_successor(mac, table);
        };
        let peer = self.peer_mut(slot).ok_or(NotThere)?;
        if peer.state != State::Open {
            // A session may be open there all the same, if we have not heard yet.
            peer.state = State::Parting;
            peer.bye.restart(now_ns);
            self.look_for_greeted(table);
            return Ok(Removal::Done);
        }
        peer.draining = true;
        let session = peer.session;
        table.set_draining(slot, true);
        self.changes.servers_changed = true;
        Ok(Removal::Draining(slot, session))
    }

    /// The server that waits for its old slot to be swept is not greeted then.
    fn forget_successor(
        &mut self,
        mac: MacAddress,
        table: &ServerTable,
    ) -> Result<Removal, NotThere> {
        let peer = self.successor(mac).ok_or(NotThere)?;
        peer.state = State::Sweeping { successor: false };
        self.look_for_greeted(table);
        Ok(Removal::Done)
    }

    /// The slot that is being swept before this server is greeted in it.
    pub(super) fn successor(&mut self, mac: MacAddress) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| {
            peer.mac == mac && matches!(peer.state, State::Sweeping { successor: true })
        })
    }

    /// A server that was removed is greeted again once its old slot has been swept, there being
    /// no other.
    pub(super) fn succeed(&mut self, mac: MacAddress) -> Option<ServerSlot> {
        let slot = SlotSet::ALL.iter().find(|&slot| {
            self.peer(slot).is_some_and(|peer| {
                peer.mac == mac && matches!(peer.state, State::Sweeping { successor: false })
            })
        })?;
        self.peer_mut(slot)?.state = State::Sweeping { successor: true };
        Some(slot)
    }

    /// The server in `slot` stays, if it was to be removed. Returns whether it was.
    pub(super) fn keep(&mut self, slot: ServerSlot, table: &ServerTable) -> bool {
        let was_draining = self
            .peer_mut(slot)
            .is_some_and(|peer| core::mem::take(&mut peer.draining));
        if was_draining {
            table.set_draining(slot, false);
            // Whoever lets it go just now finds that it is not draining, and does nothing more.
            table.set_quiescing(slot, false);
            self.changes.servers_changed = true;
        }
        was_draining
    }

    /// Servers that are to be removed: slots and sessions.
    pub fn draining(&self) -> impl Iterator<Item = (ServerSlot, u64)> + '_ {
        SlotSet::ALL.iter().filter_map(|slot| {
            let peer = self.peer(slot)?;
            (peer.state == State::Open && peer.draining).then_some((slot, peer.session))
        })
    }

    fn draining_peer(&mut self, slot: ServerSlot, session: u64) -> Option<&mut Peer> {
        self.peer_mut(slot)
            .filter(|peer| peer.state == State::Open && peer.session == session && peer.draining)
    }

    /// Copies of the server that is draining end no page-out any more, once every shard has been
    /// told ([`super::super::shard::Shard::servers_changed`]). Returns false if it is not draining.
    pub fn begin_quiescing(&mut self, slot: ServerSlot, session: u64, table: &ServerTable) -> bool {
        let leaves = self.draining_peer(slot, session).is_some();
        if leaves {
            table.set_quiescing(slot, true);
            self.changes.servers_changed = true;
        }
        leaves
    }

    /// Some page needs the server: it goes on as it was, draining or, if it was not to be removed
    /// before, staying.
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

    /// No page needs the server, or it does not matter: its session ends, and it drops what it has.
    pub fn close(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        session: u64,
        why: Why<'_>,
        table: &ServerTable,
    ) -> Close {
        let Some(peer) = self.draining_peer(slot, session) else {
            return Close::Gone;
        };
        if let Why::NotNeeded(drain, disk) = why {
            if !drain.is_valid(table, disk) {
                return Close::Outdated;
            }
        }
        peer.state = State::Sweeping { successor: false };
        peer.bye.restart(now_ns);
        table.close(slot);
        self.changes.servers_changed = true;
        self.changes.to_sweep.insert(slot);
        Close::Done
    }

    /// Whether the server with this address is to be removed already.
    pub fn is_draining(&self, mac: MacAddress) -> bool {
        self.slot_of(mac)
            .and_then(|slot| self.report(slot))
            .is_some_and(|report| report.health == Health::Draining)
    }

    pub(super) fn say_goodbye(&mut self, now_ns: u64, slot: ServerSlot, outbox: &mut impl Outbox) {
        let nonce = self.random();
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        peer.repeat_bye(now_ns, slot, nonce, outbox);
        if peer.state == State::Parting && peer.has_parted() {
            peer.clear();
        }
    }

    /// A server says that it has dropped our pages.
    pub(super) fn handle_bye_ack(&mut self, source: MacAddress, header: &Header) {
        let told = self.peers.iter_mut().find(|peer| {
            matches!(peer.state, State::Sweeping { .. } | State::Parting)
                && peer.mac == source
                && peer.session == header.session
                && peer.bye.answers(header)
        });
        if let Some(peer) = told {
            peer.bye.answered();
            if peer.state == State::Parting {
                peer.clear();
            }
        }
    }
}
