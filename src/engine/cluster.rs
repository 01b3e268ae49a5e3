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

mod frees;
mod inventory;
mod peer;
mod removal;

use core::ops::DerefMut;

use super::config::{DEFAULT_DEAD_S, NS_PER_S};
use super::ids::{ServerSlot, SlotSet, SERVER_SLOTS};
use super::server_table::{Address, ServerTable};
use crate::wire::{
    Announce, ClientId, ClusterName, Fragmentation, Frame, Header, Hello, HelloAck, MacAddress,
    Opcode, Status,
};
pub use inventory::LISTED_PAGES;
pub use peer::Peer;
use peer::State;
pub use removal::{NotThere, Removal};
use zerocopy::{FromBytes, IntoBytes};

/// Where frames to servers go.
pub trait Outbox {
    /// Sends a control frame. It may be lost: all are sent again until answered.
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]);
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
    Leaving,
    /// Silent for so long that others are to have its pages; it may still come back with them.
    Dead,
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
pub struct Cluster<P> {
    client: ClientId,
    name: ClusterName,
    peers: P,
    random: u64,
    mtu: usize,
    /// The hardware address that our frames come from; `None` before the interface is known.
    address: Option<MacAddress>,
    dead_ns: u64,
    changes: Changes,
}

impl<P: DerefMut<Target = [Peer]>> Cluster<P> {
    /// A cluster without servers. `peers` has [`SERVER_SLOTS`] elements, all default; `seed` is
    /// random.
    pub fn new(client: ClientId, name: ClusterName, seed: u64, mtu: usize, peers: P) -> Self {
        Self {
            client,
            name,
            peers,
            random: seed,
            mtu,
            address: None,
            dead_ns: NS_PER_S.saturating_mul(u64::from(DEFAULT_DEAD_S)),
            changes: Changes::default(),
        }
    }

    /// A number that nobody has seen yet: SplitMix64 (Steele, Lea, Flood 2014) from the seed.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).max(1)
    }

    /// After how long a silence a server's copies no longer count.
    pub fn set_dead_ns(&mut self, dead_ns: u64) {
        self.dead_ns = dead_ns;
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

    /// How the server in `slot` is; `None` if there is none.
    pub fn report(&self, slot: ServerSlot) -> Option<Report> {
        let peer = self.peer(slot)?;
        let health = match peer.state {
            State::Empty | State::Parting => return None,
            State::Greeting => Health::Connecting,
            State::Open if peer.leaving => Health::Leaving,
            State::Open if peer.silent && peer.silent_ns >= self.dead_ns => Health::Dead,
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

    /// The interface's MTU is another. Until larger frames are known to cross, pages are cut to
    /// cross 1500 bytes, or less where the interface carries less.
    pub fn set_mtu(&mut self, now_ns: u64, mtu: usize, table: &ServerTable) {
        self.mtu = mtu;
        let cut = self.cautious_cut();
        for slot in SlotSet::ALL.iter() {
            let Some(peer) = self.peer_mut(slot) else {
                continue;
            };
            peer.probe.restart(now_ns);
            peer.wide = false;
            if peer.state == State::Open {
                table.set_fragmentation(slot, cut);
                self.changes.servers_changed = true;
            }
        }
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

    fn cautious_cut(&self) -> Fragmentation {
        Fragmentation::for_mtu(self.mtu.min(1500)).unwrap_or(Fragmentation::WHOLE)
    }

    fn wide_cut(&self) -> Fragmentation {
        Fragmentation::for_mtu(self.mtu).unwrap_or(Fragmentation::WHOLE)
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
            self.greet(now_ns, mac);
        } else if peer.has_parted() {
            peer.clear();
        } else {
            peer.state = State::Parting;
        }
    }

    /// A frame has come that is not a shard's answer, or one that a shard's request was
    /// rejected with.
    pub fn handle_frame(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        frame: &Frame<'_>,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) {
        let header = &frame.header;
        if header.opcode == Opcode::ByeAck {
            self.handle_bye_ack(source, header);
            return;
        }
        let Some(slot) = self.slot_of(source) else {
            return;
        };
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        // Whatever a server answers, it repeats the session: so it cannot be made to reject ours by
        // somebody who asks in another's name.
        let is_ours = header.session == peer.session || mutated!(RejectBelieved);
        if header.opcode != Opcode::Announce && !is_ours {
            return;
        }
        match header.opcode {
            Opcode::HelloAck if peer.hello.answers(header) => {
                if let Ok((ack, _)) = HelloAck::read_from_prefix(frame.payload) {
                    self.handle_hello_ack(now_ns, slot, header, &ack, table, outbox);
                }
            }
            Opcode::Announce => {
                if let Ok((announce, _)) = Announce::read_from_prefix(frame.payload) {
                    self.handle_announce(now_ns, slot, header, &announce, table, outbox);
                }
            }
            Opcode::Reject if peer.hello.answers(header) && peer.state == State::Open => {
                self.begin_anew(now_ns, slot, table);
            }
            Opcode::Pong | Opcode::Reject if peer.ping.answers(header) => {
                peer.ping.answered();
                if peer.state != State::Open {
                    return;
                }
                if header.opcode == Opcode::Pong && header.incarnation == peer.incarnation {
                    self.note_alive(now_ns, slot, header, table);
                } else {
                    self.begin_anew(now_ns, slot, table);
                }
            }
            Opcode::Pong if peer.probe.answers(header) => {
                peer.probe.answered();
                if peer.state == State::Open && header.incarnation == peer.incarnation {
                    let arrived = frame.payload.len();
                    self.note_wide(slot, arrived, table);
                }
            }
            Opcode::FreeAck if header.incarnation == peer.incarnation => {
                peer.frees.acknowledged(now_ns, header);
            }
            Opcode::InventoryReply if header.incarnation == peer.incarnation => {
                peer.questions.answered(now_ns, frame);
            }
            Opcode::Reject if peer.state == State::Open => {
                if mutated!(RejectBelieved) {
                    return self.begin_anew(now_ns, slot, table);
                }
                // Not an answer to a nonce of ours: ask.
                self.ping_now(now_ns, slot, outbox);
            }
            _ => {}
        }
    }

    fn handle_hello_ack(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        header: &Header,
        ack: &HelloAck,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) {
        let cut = self.cautious_cut();
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        match header.status {
            Status::Cookie => {
                peer.cookie = ack.cookie.get();
                peer.hello.restart(now_ns);
                self.send_hello(now_ns, slot, outbox);
            }
            Status::Ok if peer.state == State::Open => {
                peer.refusal = None;
                if header.incarnation == peer.incarnation {
                    self.note_alive(now_ns, slot, header, table);
                } else {
                    // It should have rejected us.
                    self.begin_anew(now_ns, slot, table);
                }
            }
            Status::Ok => {
                peer.hello.answered();
                peer.state = State::Open;
                peer.silent = false;
                peer.refusal = None;
                peer.incarnation = header.incarnation;
                peer.heard_ns = now_ns;
                peer.quota_pages = ack.quota_pages.get();
                peer.capacity_pages = ack.quota_pages.get();
                peer.free_pages = ack.quota_pages.get();
                peer.probe.restart(now_ns);
                peer.ping.restart(now_ns.saturating_add(PING_EVERY_NS));
                peer.questions.begin_slowly(now_ns);
                let address = Address {
                    mac: peer.mac,
                    session: peer.session,
                    incarnation: peer.incarnation,
                };
                table.open(slot, address, cut);
                self.publish_load(slot, table);
                self.changes.servers_changed = true;
                self.changes.opened.insert(slot);
            }
            refusal => {
                // Asked again, more slowly: an administrator may change the server's mind.
                peer.refusal = Some(refusal);
                peer.cookie = 0;
                peer.hello.restart(now_ns.saturating_add(NS_PER_S));
            }
        }
    }

    fn handle_announce(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        header: &Header,
        announce: &Announce,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        match peer.state {
            State::Greeting if peer.hello.is_due_later_than(now_ns) && peer.refusal.is_none() => {
                // It is there: no need to wait for the next try.
                peer.hello.restart(now_ns);
                self.send_hello(now_ns, slot, outbox);
            }
            State::Open if header.incarnation != peer.incarnation => {
                self.ping_now(now_ns, slot, outbox);
            }
            State::Open => {
                peer.capacity_pages = announce.capacity_pages.get().min(peer.quota_pages);
                peer.free_pages = announce.free_pages.get().min(peer.capacity_pages);
                self.publish_load(slot, table);
                if self.peer(slot).is_some_and(|peer| peer.silent) {
                    // It may be an old one, delayed: the answer to a ping says that it lives.
                    self.ping_now(now_ns, slot, outbox);
                } else if let Some(peer) = self.peer_mut(slot) {
                    peer.heard_ns = now_ns;
                }
            }
            _ => {}
        }
    }

    fn publish_load(&self, slot: ServerSlot, table: &ServerTable) {
        if let Some(peer) = self.peer(slot) {
            let used = peer.capacity_pages.saturating_sub(peer.free_pages);
            table.announce(
                slot,
                u32::try_from(peer.capacity_pages).unwrap_or(u32::MAX),
                u32::try_from(used).unwrap_or(u32::MAX),
            );
        }
    }

    /// The server has answered a ping of ours, or a HELLO that goes on with the session.
    fn note_alive(&mut self, now_ns: u64, slot: ServerSlot, header: &Header, table: &ServerTable) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        peer.heard_ns = now_ns;
        peer.ping.restart(now_ns.saturating_add(PING_EVERY_NS));
        // It knows the session by the address that we send from.
        peer.hello.answered();
        if header.utilisation != u16::MAX && peer.free_pages == 0 {
            peer.free_pages = 1;
        }
        if mutated!(SuspicionKept) {
        } else if core::mem::take(&mut peer.silent) || !table.usable().contains(slot) {
            // What it could not be told meanwhile, is found out.
            peer.silent_ns = 0;
            peer.questions.begin(now_ns);
            table.set_dead(slot, false);
            table.set_usable(slot, true);
            self.changes.servers_changed = true;
        }
        self.publish_load(slot, table);
    }

    /// A probe of the path came back whole: frames of that size cross it both ways.
    fn note_wide(&mut self, slot: ServerSlot, payload_len: usize, table: &ServerTable) {
        let cut = self.wide_cut();
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if cut
            .span(0)
            .is_some_and(|(_, len)| payload_len >= usize::from(len))
        {
            peer.wide = true;
            table.set_fragmentation(slot, cut);
        }
    }

    /// The server's pages are gone: it has begun anew, or has ended our session.
    fn begin_anew(&mut self, now_ns: u64, slot: ServerSlot, table: &ServerTable) {
        table.close(slot);
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if mutated!(SlotReusedBeforeSweep) {
            let mac = peer.mac;
            let session = self.random();
            if let Some(peer) = self.peer_mut(slot) {
                *peer = Peer::greeting(now_ns, mac, session);
            }
            self.changes.servers_changed = true;
            return;
        }
        peer.state = State::Sweeping { successor: false };
        // One that was to be removed has gone by itself.
        let (mac, stays) = (peer.mac, !peer.leaving);
        let successor = stays && self.greet(now_ns, mac).is_none();
        if let Some(peer) = self.peer_mut(slot) {
            peer.state = State::Sweeping { successor };
        }
        self.changes.servers_changed = true;
        self.changes.to_sweep.insert(slot);
        self.changes.lost.insert(slot);
    }

    fn ping_now(&mut self, now_ns: u64, slot: ServerSlot, outbox: &mut impl Outbox) {
        let nonce = self.random();
        if let Some(peer) = self.peer_mut(slot) {
            if peer.ping.may_be_hurried(now_ns) {
                peer.send_ping(now_ns, slot, nonce, outbox);
            }
        }
    }

    fn send_hello(&mut self, now_ns: u64, slot: ServerSlot, outbox: &mut impl Outbox) {
        let nonce = self.random();
        let hello = Hello {
            client: self.client,
            cookie: self.peer(slot).map_or(0, |peer| peer.cookie).into(),
            cluster: self.name,
        };
        if let Some(peer) = self.peer_mut(slot) {
            peer.send_hello(now_ns, slot, nonce, hello.as_bytes(), outbox);
        }
    }

    fn repeat_hello(&mut self, now_ns: u64, slot: ServerSlot, outbox: &mut impl Outbox) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if peer.hello.is_due(now_ns) {
            if peer.hello.tries() >= COOKIE_TRIES {
                // The cookie may be an old incarnation's.
                peer.cookie = 0;
            }
            self.send_hello(now_ns, slot, outbox);
        }
    }

    /// Time has passed, or a shard has a suspicion. `heard_ns` says when the shards last had a
    /// frame of a server.
    pub fn handle_timeout(
        &mut self,
        now_ns: u64,
        table: &ServerTable,
        heard_ns: impl Fn(ServerSlot) -> u64,
        outbox: &mut impl Outbox,
    ) {
        let suspects = table.take_suspects();
        for slot in SlotSet::ALL.iter() {
            let Some(peer) = self.peer_mut(slot) else {
                continue;
            };
            match peer.state {
                State::Greeting => {
                    self.repeat_hello(now_ns, slot, outbox);
                }
                State::Open => {
                    peer.heard_ns = peer.heard_ns.max(heard_ns(slot));
                    if suspects.contains(slot) {
                        peer.silent = true;
                        peer.ping.restart(now_ns);
                        if core::mem::take(&mut peer.wide) {
                            // Perhaps only the large frames are lost.
                            peer.probe.restart(now_ns);
                            let cut = self.cautious_cut();
                            table.set_fragmentation(slot, cut);
                        }
                        self.changes.servers_changed = true;
                    }
                    self.look_after(now_ns, slot, table, outbox);
                    self.repeat_hello(now_ns, slot, outbox);
                }
                State::Sweeping { .. } | State::Parting => self.say_goodbye(now_ns, slot, outbox),
                State::Empty => {}
            }
        }
    }

    fn look_after(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        table: &ServerTable,
        outbox: &mut impl Outbox,
    ) {
        let [ping_nonce, probe_nonce, free_nonce, inventory_nonce] =
            core::array::from_fn(|_| self.random());
        let wide_len = self
            .wide_cut()
            .span(0)
            .map_or(0, |(_, len)| usize::from(len));
        let probing = self.wide_cut() != self.cautious_cut();
        let (mtu, dead_ns) = (self.mtu, self.dead_ns);
        let mut fell_silent = false;
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if !peer.silent && !peer.ping.is_asking() {
            // While it is heard on the data path it need not be asked.
            peer.ping
                .put_off(peer.heard_ns.saturating_add(PING_EVERY_NS));
        }
        if now_ns.saturating_sub(peer.ping.due_ns()) >= STOPPED_NS && peer.ping.tries() > 0 {
            // We were stopped: what was not answered meanwhile, says nothing.
            peer.ping.restart(now_ns);
        }
        if peer.ping.is_due(now_ns) {
            if peer.ping.tries() >= SILENT_TRIES && !peer.silent {
                peer.silent = true;
                fell_silent = true;
                // Perhaps it only does not know us by the address that we send from now.
                peer.say_hello_again(now_ns);
            }
            peer.send_ping(now_ns, slot, ping_nonce, outbox);
        }
        if probing && !peer.wide && !peer.silent && peer.probe.is_due(now_ns) {
            peer.send_probe(now_ns, slot, probe_nonce, wide_len, outbox);
        }
        let usable = table.usable().contains(slot);
        peer.send_frees(now_ns, slot, usable, mtu, free_nonce, outbox);
        peer.send_inventory(now_ns, slot, inventory_nonce, outbox);
        let is_dead = peer.note_silence(now_ns, dead_ns);
        if is_dead != table.dead().contains(slot) {
            table.set_dead(slot, is_dead);
            self.changes.servers_changed = true;
        }
        if fell_silent {
            table.set_usable(slot, false);
            self.changes.servers_changed = true;
        }
    }

    /// When [`Self::handle_timeout`] is to be called next.
    pub fn next_timeout_ns(&self) -> u64 {
        let probing = self.wide_cut() != self.cautious_cut();
        let due = |peer: &Peer| match peer.state {
            State::Greeting => peer.hello.due_ns(),
            State::Open => {
                let probe = match probing && !peer.wide && !peer.silent {
                    true => peer.probe.due_ns(),
                    false => u64::MAX,
                };
                let questions = peer.questions.due_ns();
                let asked = peer.ping.due_ns().min(peer.hello.due_ns());
                asked.min(probe).min(peer.frees.due_ns()).min(questions)
            }
            State::Sweeping { .. } | State::Parting => peer.bye.due_ns(),
            State::Empty => u64::MAX,
        };
        self.peers.iter().map(due).min().unwrap_or(u64::MAX)
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
        for slot in SlotSet::ALL.iter() {
            if let Some(peer) = self.peer_mut(slot) {
                if peer.state == State::Open {
                    peer.send_bye(slot, outbox);
                }
            }
        }
    }
}

/// How often a server that is otherwise silent is asked.
const PING_EVERY_NS: u64 = NS_PER_S;
/// A timer that fires this late says that we were stopped, not that a server was silent.
const STOPPED_NS: u64 = 500_000_000;
/// Pings without an answer after which a server is suspected.
const SILENT_TRIES: u32 = 3;
/// Answers that may fail to come before a cookie is thrown away.
const COOKIE_TRIES: u32 = 5;

const _: () = assert!(SERVER_SLOTS < 1 << 8);

#[cfg(test)]
mod tests;
