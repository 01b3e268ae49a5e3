// SPDX-License-Identifier: GPL-2.0

//! Who the servers are, and whether they live: the client's slow path.
//!
//! One state machine for all servers of a device, under one lock. It opens sessions, looks
//! after those that are silent, notices that a server has begun anew, tells servers what to
//! free, and publishes what the data path needs in the [`ServerTable`].
//!
//! A slot belongs to one incarnation of one server. A server found to have begun anew takes
//! another slot; the old one is closed, swept from the page map, and only then used again.
//! Nothing that merely arrives is believed about that: an unexpected incarnation, or the word
//! that our session is unknown, makes us ask with a fresh nonce, and the answer to that counts.

mod frames;
mod frees;
mod hope;
mod inventory;
mod path_mtu;
mod peer;
mod removal;
mod timers;

use core::ops::DerefMut;

use super::config::{DEFAULT_IO_TIMEOUT_S, DEFAULT_LOSS_TIMEOUT_S, NS_PER_S};
use super::ids::{ServerSlot, SlotSet, Version, SERVER_SLOTS};
use super::server_table::ServerTable;
use super::versions::Witness;
use crate::wire::{ClientId, ClusterName, Fragmentation, Header, MacAddress, Status};
use hope::Hope;
pub use inventory::LISTED_PAGES;
use path_mtu::Cuts;
pub use peer::Peer;
use peer::State;
pub use removal::{Close, NotThere, Removal, Why};

/// Where numbers come from that nobody can guess: sessions' and nonces.
pub trait Random {
    /// The next one.
    fn number(&mut self) -> u64;
}

/// Where frames to servers go.
pub trait Outbox {
    /// Sends a control frame. It may be lost: all are sent again until answered.
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]);
}

/// An outbox each of whose frames says below which version all is settled.
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
    /// Servers have become usable or unusable, or the way to one narrower: tell every shard.
    pub servers_changed: bool,
    /// Slots that now belong to another server: reset their paths in every shard.
    pub opened: SlotSet,
    /// Slots to be swept from the page map, then [`Cluster::swept`] told.
    pub to_sweep: SlotSet,
    /// Those of them whose pages are gone because the server has begun anew.
    pub lost: SlotSet,
    /// Slots whose servers refuse us, for a reason that they have not said before.
    pub refused: SlotSet,
    /// Servers have heard that all versions below this one were used by us: tell
    /// [`super::device::Device::hear_of`]. The highest, and whose word that is.
    pub high_water: Option<(Version, Witness)>,
}

/// Why a server cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// It is there already.
    Exists,
    /// Not a station's address.
    NotUnicast,
    /// Every slot is in use, or not swept yet.
    NoSlot,
}

/// How a server is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No session yet.
    Connecting,
    /// Answers.
    Up,
    /// Silent; nothing new is sent to it.
    Suspected,
    /// To be removed, as soon as no page needs it.
    Draining,
    /// Silent for so long that others are to have its pages; it may still come back with them.
    Lost,
    /// It is gone, and its slot is being swept.
    Sweeping,
}

/// A server, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its hardware address.
    pub mac: MacAddress,
    /// How it is.
    pub health: Health,
    /// Its incarnation; 0 before the first session.
    pub incarnation: u64,
    /// Pages that it has.
    pub capacity_pages: u64,
    /// Pages of them that are free.
    pub free_pages: u64,
    /// Why it refused the last session, if it did.
    pub refusal: Option<Status>,
    /// Whether it answers.
    pub answers: bool,
}

/// High half of the tags of control frames: no shard has this number.
const CONTROL: u32 = 0xffff_0000;

/// Whether a tag is of a control frame.
pub fn is_control_tag(tag: u32) -> bool {
    tag & CONTROL == CONTROL
}

/// The servers of a device.
pub struct Cluster<P, R> {
    client: ClientId,
    name: ClusterName,
    peers: P,
    random: R,
    mtu: usize,
    /// The hardware address that our frames come from; `None` before the interface is known.
    address: Option<MacAddress>,
    loss_timeout_ns: u64,
    io_timeout_ns: u64,
    hope: Hope,
    /// When [`Self::handle_timeout`] was to be called next, after it was called last.
    look_at_ns: u64,
    low_water: Version,
    changes: Changes,
}

impl<P: DerefMut<Target = [Peer]>, R: Random> Cluster<P, R> {
    /// A cluster without servers. `peers` has [`SERVER_SLOTS`] elements, all default.
    pub fn new(client: ClientId, name: ClusterName, random: R, mtu: usize, peers: P) -> Self {
        Self {
            client,
            name,
            peers,
            random,
            mtu,
            address: None,
            loss_timeout_ns: NS_PER_S.saturating_mul(u64::from(DEFAULT_LOSS_TIMEOUT_S)),
            io_timeout_ns: NS_PER_S.saturating_mul(u64::from(DEFAULT_IO_TIMEOUT_S)),
            hope: Hope::default(),
            look_at_ns: u64::MAX,
            low_water: Version(0),
            changes: Changes::default(),
        }
    }

    /// A number that nobody can guess, not 0: that is no session's.
    fn random(&mut self) -> u64 {
        self.random.number().max(1)
    }

    /// After how long a silence a server's copies no longer count.
    pub fn set_loss_timeout_ns(&mut self, loss_timeout_ns: u64) {
        self.loss_timeout_ns = loss_timeout_ns;
    }

    /// For how long requests wait for servers, from when these have fallen silent.
    pub fn set_io_timeout_ns(&mut self, io_timeout_ns: u64) {
        self.io_timeout_ns = io_timeout_ns;
    }

    /// Below which version all is settled: servers are told with every frame, so that nothing late
    /// brings back what they are told to free.
    pub fn set_low_water(&mut self, low_water: Version) {
        self.low_water = low_water;
    }

    /// What frames go through.
    fn settled<'a, O: Outbox>(&self, outbox: &'a mut O) -> Settled<'a, O> {
        Settled {
            outbox,
            low_water: self.low_water,
        }
    }

    /// What is to be done, since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        core::mem::take(&mut self.changes)
    }

    /// Adds a server: a session is opened as soon as it answers. One that is to be removed stays.
    pub fn add(
        &mut self,
        now_ns: u64,
        mac: MacAddress,
        table: &ServerTable,
    ) -> Result<ServerSlot, AddError> {
        if !mac.is_unicast() {
            return Err(AddError::NotUnicast);
        }
        if let Some(slot) = self.slot_of(mac) {
            return match self.keep(slot, table) {
                true => Ok(slot),
                false => Err(AddError::Exists),
            };
        }
        self.greet(now_ns, mac)
            .or_else(|| self.succeed(mac))
            .ok_or(AddError::NoSlot)
    }

    /// Begins to open a session with `mac` in a slot that is empty.
    fn greet(&mut self, now_ns: u64, mac: MacAddress) -> Option<ServerSlot> {
        let session = self.random();
        let has = |wanted: State| {
            SlotSet::ALL
                .iter()
                .find(|slot| self.peer(*slot).is_some_and(|peer| peer.state == wanted))
        };
        // Who has not heard our goodbye, drops the pages when the lease ends.
        let slot = has(State::Empty).or_else(|| has(State::Parting))?;
        let peer = self.peers.get_mut(slot.index())?;
        *peer = Peer::greeting(now_ns, mac, session);
        Some(slot)
    }

    /// The same with one that there was a session with.
    fn greet_again(&mut self, now_ns: u64, mac: MacAddress) -> Option<ServerSlot> {
        let slot = self.greet(now_ns, mac)?;
        self.peer_mut(slot)?.note_answering(now_ns);
        Some(slot)
    }

    fn peer(&self, slot: ServerSlot) -> Option<&Peer> {
        self.peers.get(slot.index())
    }

    fn peer_mut(&mut self, slot: ServerSlot) -> Option<&mut Peer> {
        self.peers.get_mut(slot.index())
    }

    /// The slot of the server with this address, those aside that are gone.
    pub fn slot_of(&self, mac: MacAddress) -> Option<ServerSlot> {
        SlotSet::ALL.iter().find(|slot| {
            self.peer(*slot).is_some_and(|peer| {
                peer.mac == mac && matches!(peer.state, State::Greeting | State::Open)
            })
        })
    }

    /// The servers that we speak to, also those that are being told that they are gone, and our
    /// session with each: to be published ([`super::stations`]) before what they are told is sent.
    pub fn stations(&self) -> impl Iterator<Item = (MacAddress, u64)> + '_ {
        self.peers
            .iter()
            .filter(|peer| peer.state != State::Empty)
            .map(|peer| (peer.mac, peer.session))
    }

    /// How the server in `slot` is; `None` if there is none.
    pub fn report(&self, slot: ServerSlot) -> Option<Report> {
        let peer = self.peer(slot)?;
        let health = match peer.state {
            State::Empty | State::Parting => return None,
            State::Greeting => Health::Connecting,
            State::Open if peer.draining => Health::Draining,
            State::Open if peer.silent && peer.silent_ns >= self.loss_timeout_ns => Health::Lost,
            State::Open if peer.silent => Health::Suspected,
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
            answers: peer.state == State::Open && !peer.silent,
        })
    }

    /// The interface's MTU is another. Until longer frames are known to cross, or these not to, pages are cut
    /// to cross 1500 bytes, or less where the interface carries less. Where it carries so little that no
    /// page crosses, no server can be used; they are asked whether they live all the same.
    pub fn set_mtu(&mut self, now_ns: u64, mtu: usize, table: &ServerTable) {
        let was_narrow = self.is_narrow();
        self.mtu = mtu;
        let (cut, is_narrow) = (Cuts::of_mtu(mtu).usual, self.is_narrow());
        for slot in SlotSet::ALL.iter() {
            let Some(peer) = self.peer_mut(slot) else {
                continue;
            };
            peer.path_mtu.begin(now_ns, cut);
            if peer.state == State::Open {
                table.set_fragmentation(slot, cut);
                if is_narrow {
                    table.set_usable(slot, false);
                } else if was_narrow && !peer.silent {
                    table.set_usable(slot, true);
                }
                self.changes.servers_changed = true;
            }
        }
    }

    /// Whether no page can cross the interface: its MTU is below [`Fragmentation::MIN_MTU`].
    pub fn is_narrow(&self) -> bool {
        Fragmentation::for_mtu(self.mtu).is_none()
    }

    /// Our frames come from this hardware address from now on. Servers know a session by it: if it
    /// is another than before, they are told, and until then drop what we send.
    pub fn set_address(&mut self, now_ns: u64, address: MacAddress) {
        if self
            .address
            .replace(address)
            .is_none_or(|old| old == address)
        {
            return;
        }
        for peer in self.peers.iter_mut() {
            match peer.state {
                // The cookie was for the old address.
                State::Greeting | State::Open => {
                    peer.say_hello_again(now_ns);
                    // What was asked from the old one says nothing of this.
                    peer.ping.restart(now_ns);
                }
                State::Empty | State::Sweeping { .. } | State::Parting => {}
            }
        }
    }

    /// Long frames seem not to cross the path to this server: pages are cut as small as can be, until longer
    /// ones are known to.
    fn narrow(&mut self, now_ns: u64, slot: ServerSlot, table: &ServerTable) {
        if mutated!(PathMtuNeverLowered) {
            return;
        }
        if let Some(peer) = self.peer_mut(slot) {
            peer.path_mtu.begin(now_ns, Fragmentation::NARROWEST);
            table.set_fragmentation(slot, peer.path_mtu.cut());
            self.changes.servers_changed = true;
        }
    }

    /// `slot` has been swept: no page of the map names it.
    pub fn swept(&mut self, now_ns: u64, slot: ServerSlot) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        let State::Sweeping { successor } = peer.state else {
            return;
        };
        if successor {
            // There was no other slot when the server began anew, or was added again.
            let mac = peer.mac;
            peer.clear();
            self.greet_again(now_ns, mac);
        } else if peer.has_parted() {
            peer.clear();
        } else {
            peer.state = State::Parting;
        }
    }

    /// Whether another stale copy can be taken for all of `slots`; servers that are not there
    /// need not be told, and those that are silent are asked what they have when they are back.
    pub fn has_room_to_free(&self, slots: SlotSet) -> bool {
        slots.iter().all(|slot| {
            self.peer(slot).is_none_or(|peer| {
                peer.state != State::Open || peer.silent || peer.frees.has_room()
            })
        })
    }

    /// Has the servers told to free a copy. Returns false, and changes nothing, if there is no
    /// room for it now.
    pub fn free(&mut self, now_ns: u64, copy: &super::free::StaleCopy) -> bool {
        if !self.has_room_to_free(copy.slots) {
            return false;
        }
        for slot in copy.slots.iter() {
            if let Some(peer) = self.peer_mut(slot) {
                if peer.state == State::Open {
                    // Where there is no room, nothing happens.
                    peer.frees.put(now_ns, copy);
                }
            }
        }
        true
    }

    /// Says goodbye to every server: the session's pages may be dropped. Sent once; who does
    /// not hear it, drops them when the lease ends and the room is needed.
    pub fn say_bye(&mut self, outbox: &mut impl Outbox) {
        let outbox = &mut self.settled(outbox);
        for slot in SlotSet::ALL.iter() {
            if let Some(peer) = self.peer_mut(slot) {
                if peer.state == State::Open {
                    peer.send_bye(slot, outbox);
                }
            }
        }
    }
}

const _: () = assert!(SERVER_SLOTS < 1 << 8);

#[cfg(test)]
mod tests;
