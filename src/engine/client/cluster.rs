// SPDX-License-Identifier: GPL-2.0

//! The servers and whether they are alive: the client's slow path.
//!
//! One state machine for all servers of a device, under one lock. It opens sessions, watches
//! suspected servers, detects restarts, notifies servers of pages to free, and publishes what the
//! data path needs in the [`ServerTable`].
//!
//! A slot belongs to one incarnation of one server. A restarted server gets another slot. The old
//! slot is closed, swept from the page map, and only then reused. Only a reply to a fresh nonce
//! changes this state: after an unexpected incarnation, or a REJECT of our session, the cluster
//! asks with a fresh nonce.

mod confirmation;
mod control_answers;
mod free_batch;
mod inventory;
mod loss_timeout;
mod path_mtu;
mod peer;
mod peers;
mod query;
mod reported_health;
mod server_restart;
mod session_end;
mod silence;
mod timers;
mod unanswered_pings;

use super::config::{DEFAULT_IO_TIMEOUT_S, DEFAULT_LOSS_TIMEOUT_S, NS_PER_S};
use super::ids::{ServerSlot, SlotSet, Version, SERVER_SLOTS};
use super::server_table::ServerTable;
use super::storage::Storage;
use super::versions::Reporter;
use crate::wire::{ClientId, ClusterName, Header, MacAddress};
pub use confirmation::Confirmed;
pub use inventory::LISTED_PAGES;
pub use path_mtu::{usual_cut, PING_LEN};
pub use peer::Peer;
use peer::State;
pub use peers::Peers;
pub use reported_health::{Health, Report};
pub use session_end::{Close, Removal};
use silence::Shortage;

/// A source of unpredictable numbers, for sessions and nonces.
pub trait Random {
    /// The next number.
    fn number(&mut self) -> u64;
}

/// Where frames to servers are sent.
pub trait Outbox {
    /// Sends a control frame. It may be lost: every control frame is repeated until it is answered.
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]);
}

/// An outbox that adds the low water to each frame.
struct Settled<'a, O> {
    outbox: &'a mut O,
    low_water: Version,
}

impl<O: Outbox> Outbox for Settled<'_, O> {
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]) {
        let mut header = *header;
        header.low_water = self.low_water.0;
        self.outbox.send(destination, &header, payload);
    }
}

/// What the caller must do for the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Servers have become usable or unusable, or a path MTU has shrunk: notify every shard.
    pub servers_changed: bool,
    /// Slots that now belong to another server: reset their paths in every shard.
    pub opened: SlotSet,
    /// Slots to be swept from the page map; then call [`Cluster::swept`].
    pub to_sweep: SlotSet,
    /// Those of them whose pages are lost because the server has restarted.
    pub copies_lost: SlotSet,
    /// Slots whose servers are lost although short frames cross the path to them.
    pub too_narrow: SlotSet,
    /// Slots whose servers refuse the session for a reason not reported before.
    pub refused: SlotSet,
    /// The highest reported version below which all have been used, and the server that reported
    /// it: call [`super::swap_device::SwapDevice::note_high_water`].
    pub high_water: Option<(Version, Reporter)>,
}

/// Why a server cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// It exists already.
    Exists,
    /// The address is not another station's.
    NotUnicast,
    /// Every slot is in use or not swept yet.
    NoSlot,
}

/// High half of the tags of control frames. No shard has this number.
const CONTROL: u32 = 0xffff_0000;

/// Whether a tag belongs to a control frame.
pub fn is_control_tag(tag: u32) -> bool {
    tag & CONTROL == CONTROL
}

/// The servers of a device.
pub struct Cluster<S: Storage, R> {
    client: ClientId,
    name: ClusterName,
    peers: Peers<S::Peers>,
    random: R,
    mtu: usize,
    /// The source address of our frames; `None` until the interface is known.
    address: Option<MacAddress>,
    loss_timeout_ns: u64,
    io_timeout_ns: u64,
    shortage: Shortage,
    /// When [`Self::handle_timeout`] was due next, after its last call.
    look_at_ns: u64,
    low_water: Version,
    changes: Changes,
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// A cluster without servers.
    pub fn new(
        client: ClientId,
        name: ClusterName,
        random: R,
        mtu: usize,
        peers: Peers<S::Peers>,
    ) -> Self {
        Self {
            client,
            name,
            peers,
            random,
            mtu,
            address: None,
            loss_timeout_ns: NS_PER_S.saturating_mul(u64::from(DEFAULT_LOSS_TIMEOUT_S)),
            io_timeout_ns: NS_PER_S.saturating_mul(u64::from(DEFAULT_IO_TIMEOUT_S)),
            shortage: Shortage::default(),
            look_at_ns: u64::MAX,
            low_water: Version(0),
            changes: Changes::default(),
        }
    }

    /// An unpredictable number other than 0, which is not a valid session.
    fn random(&mut self) -> u64 {
        self.random.number().max(1)
    }

    /// Sets the loss timeout: a server that has been suspected for so long is lost, and its copies no
    /// longer count.
    pub fn set_loss_timeout_ns(&mut self, loss_timeout_ns: u64) {
        self.loss_timeout_ns = loss_timeout_ns;
    }

    /// Sets the I/O timeout: how long requests wait for silent servers.
    pub fn set_io_timeout_ns(&mut self, io_timeout_ns: u64) {
        self.io_timeout_ns = io_timeout_ns;
    }

    /// Sets the low water. Every frame to a server states it, so that no late frame restores what
    /// the server was notified to free.
    pub fn set_low_water(&mut self, low_water: Version) {
        self.low_water = low_water;
    }

    /// Wraps the outbox for all frames.
    fn settled<'a, O: Outbox>(&self, outbox: &'a mut O) -> Settled<'a, O> {
        Settled {
            outbox,
            low_water: self.low_water,
        }
    }

    /// Takes what the caller must do since the last call.
    pub fn take_changes(&mut self) -> Changes {
        core::mem::take(&mut self.changes)
    }

    /// Adds a server. Its session is opened as soon as it answers. A draining server stays instead. Our own
    /// address is not a server's.
    pub fn add(
        &mut self,
        now_ns: u64,
        mac: MacAddress,
        table: &ServerTable,
    ) -> Result<ServerSlot, AddError> {
        match self.address == Some(mac) {
            true => Err(AddError::NotUnicast),
            false => self.add_any(now_ns, mac, table),
        }
    }

    /// The same, for our own address too.
    fn add_any(
        &mut self,
        now_ns: u64,
        mac: MacAddress,
        table: &ServerTable,
    ) -> Result<ServerSlot, AddError> {
        if !mac.is_unicast() {
            return Err(AddError::NotUnicast);
        }
        if let Some(slot) = self.slot_of(mac) {
            let is_kept = self.keep(slot, table);
            return is_kept.then_some(slot).ok_or(AddError::Exists);
        }
        // A server has one peer: its frames are assigned by its address.
        if self.successor(mac).is_some() {
            return Err(AddError::Exists);
        }
        self.connect(now_ns, mac)
            .or_else(|| self.succeed(mac))
            .ok_or(AddError::NoSlot)
    }

    /// Adds the servers of the list with which the module is loaded, then sets our `own` address. Several
    /// machines may have one list, so our own address in it is no error. Returns whether it is there.
    pub fn add_listed(
        &mut self,
        now_ns: u64,
        servers: &[MacAddress],
        own: Option<MacAddress>,
        table: &ServerTable,
    ) -> Result<bool, AddError> {
        for &mac in servers {
            self.add_any(now_ns, mac, table)?;
        }
        if let Some(own) = own {
            self.set_address(now_ns, own);
        }
        Ok(own.is_some_and(|own| servers.contains(&own)))
    }

    /// Begins to open a session with `mac` in a free slot.
    fn connect(&mut self, now_ns: u64, mac: MacAddress) -> Option<ServerSlot> {
        let session = self.random();
        let has = |wanted: State| self.peers.find(|peer| peer.state == wanted);
        // A server that missed our BYE drops the pages when its lease expires.
        let slot = has(State::Empty).or_else(|| has(State::Closing))?;
        self.peers[slot].connect(now_ns, mac, session);
        Some(slot)
    }

    /// The same, for a server that had a session before.
    fn connect_again(&mut self, now_ns: u64, mac: MacAddress) -> Option<ServerSlot> {
        let slot = self.connect(now_ns, mac)?;
        self.peers[slot].note_answering(now_ns);
        Some(slot)
    }

    /// The slot of the server with this address, unless it is gone.
    pub fn slot_of(&self, mac: MacAddress) -> Option<ServerSlot> {
        self.peers.find(|peer| peer.mac == mac && peer.is_served())
    }

    /// The client's servers and the session with each, including servers that are being sent a BYE.
    /// They must be published ([`super::frame_filter`]) before frames are sent to them.
    pub fn stations(&self) -> impl Iterator<Item = (MacAddress, u64)> + '_ {
        self.peers
            .iter()
            .filter(|peer| peer.state != State::Empty)
            .map(|peer| (peer.mac, peer.session))
    }

    /// Sets the source address of our frames. Servers know a session by it: after a change they get
    /// a HELLO, and drop our frames until then.
    pub fn set_address(&mut self, now_ns: u64, address: MacAddress) {
        let old = self.address.replace(address);
        if old.is_none_or(|old| old == address) {
            return;
        }
        for peer in self.peers.iter_mut().filter(|peer| peer.is_served()) {
            // The cookie was for the old address.
            peer.say_hello_again(now_ns);
            // Requests sent from the old address say nothing about this one.
            peer.ping.restart(now_ns);
        }
    }

    /// Whether another stale copy can be noted for all of `slots`. Servers that are gone need no
    /// notification, and suspected ones are asked for their inventory when they return.
    pub fn has_room_to_free(&self, slots: SlotSet) -> bool {
        slots.iter().all(|slot| {
            let peer = &self.peers[slot];
            peer.state != State::Open || peer.suspected || peer.frees.has_room()
        })
    }

    /// Notes a stale copy for its servers to free. Returns false, and changes nothing, if there is
    /// no room now.
    pub fn free(&mut self, now_ns: u64, copy: &super::stale_copy::StaleCopy) -> bool {
        if !self.has_room_to_free(copy.slots) {
            return false;
        }
        for slot in copy.slots.iter() {
            let peer = &mut self.peers[slot];
            if peer.state == State::Open {
                // A suspected server may have no room; its inventory is requested later.
                peer.frees.put(now_ns, copy);
            }
        }
        true
    }
}

const _: () = assert!(SERVER_SLOTS < 1 << 8);

#[cfg(test)]
mod tests;
