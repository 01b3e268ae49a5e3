// SPDX-License-Identifier: GPL-2.0

//! A client's part of the channel: it requests the keys of each session, changes them from time to time, and
//! holds the first frame of a session back until there are keys.
//!
//! Whoever drives it signs and verifies: by [`NewKeys`] it learns the keys.
//!
//! The rules: `docs/protocol.md`, "KEY_REQUEST".

use core::ops::DerefMut;

use zerocopy::{FromBytes, IntoBytes};

use super::pair_key::{Direction, FrameKeySeed, PairKey};
use crate::aead::Cipher;
use crate::engine::client::cluster::{Outbox, Random};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::SERVER_SLOTS;
use crate::secret::{are_equal, Secret};
use crate::wire::{Frame, Header, Hello, KeyReply, KeyRequest, MacAddress, Opcode, Status};

/// Time between the first two attempts, and the longest between two.
const RETRY_NS: (u64, u64) = (20_000_000, NS_PER_S);
/// After so long keys should be changed.
pub const LIFETIME_NS: u64 = 15 * 60 * NS_PER_S;
/// A server is asked no sooner after another hint.
const HINT_NS: u64 = 100_000_000;
/// What a HELLO has behind its header.
const HELLO_LEN: usize = size_of::<Hello>();

/// The keys of a session, to be used from now on. Frames under the key before these are accepted for another
/// while.
#[derive(Debug)]
pub struct NewKeys {
    /// The channel.
    pub channel: usize,
    /// The server.
    pub server: MacAddress,
    /// The session.
    pub session: u64,
    /// The number of the keys.
    pub number: u8,
    /// For frames to the server.
    pub transmit: Secret,
    /// For frames from the server.
    pub receive: Secret,
}

/// What becomes of a frame that the cluster wants sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// It is signed with the keys of this channel.
    Signed(usize),
    /// It is sent as it is: a KEY_REQUEST without keys.
    Plain,
    /// It is not sent: there are no keys yet.
    Held,
}

/// What a channel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing.
    #[default]
    Idle,
    /// It asks whether the server knows its keys.
    Probing,
    /// It asks for keys.
    Asking,
}

/// A session's channel, and beside it the key of a server.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    /// A server's key. It need not be the server of the session.
    pair: Option<(MacAddress, PairKey)>,
    mac: MacAddress,
    /// 0: none.
    session: u64,
    stage: Stage,
    nonce: [u8; 16],
    /// Zeros: none.
    cookie: [u8; 16],
    /// The incarnation that gave the cookie.
    asked: u64,
    tries: u32,
    /// The first attempt with this cookie: answers to earlier ones are of no use any more.
    first_attempt: u32,
    due_ns: u64,
    /// When the keys should be changed.
    change_ns: u64,
    hinted_ns: u64,
    /// The incarnation with which there are keys.
    keyed: Option<u64>,
    /// The number of the last keys.
    number: u8,
    /// Why there are none.
    refusal: Option<Status>,
    /// A HELLO that waits for keys.
    held: Option<(Header, [u8; HELLO_LEN])>,
}

impl Channel {
    fn is_open(&self) -> bool {
        self.session != 0
    }

    fn close(&mut self) {
        *self = Self {
            pair: self.pair.take(),
            ..Self::default()
        };
    }

    /// Begins to ask.
    fn begin(&mut self, now_ns: u64, stage: Stage, random: &mut impl Random) {
        self.stage = stage;
        let [a, b] = [random.number(), random.number()].map(u64::to_ne_bytes);
        let bytes = self.nonce.iter_mut().zip(a.into_iter().chain(b));
        bytes.for_each(|(to, from)| *to = from);
        self.cookie = [0; 16];
        self.asked = 0;
        self.tries = 0;
        self.first_attempt = 1;
        self.due_ns = now_ns;
    }
}

/// The channels of a client.
pub struct ClientChannels<C> {
    channels: C,
    cipher: Cipher,
    lifetime_ns: u64,
    own: MacAddress,
}

impl<C: DerefMut<Target = [Channel]>> ClientChannels<C> {
    /// No channels. `channels` has [`SERVER_SLOTS`] elements, all default. Keys are changed after
    /// `lifetime_ns`.
    pub fn new(channels: C, cipher: Cipher, lifetime_ns: u64) -> Option<Self> {
        (channels.len() == SERVER_SLOTS).then_some(Self {
            channels,
            cipher,
            lifetime_ns,
            own: MacAddress::default(),
        })
    }

    /// Sets the key that is shared with a server. Returns false if there is no place for it.
    pub fn set_pair(&mut self, server: MacAddress, key: PairKey) -> bool {
        let of =
            |channel: &&mut Channel| channel.pair.as_ref().is_some_and(|(mac, _)| *mac == server);
        let free = |channel: &&mut Channel| channel.pair.is_none();
        let known = self.channels.iter_mut().find(of).is_some();
        let place = match known {
            true => self.channels.iter_mut().find(of),
            false => self.channels.iter_mut().find(free),
        };
        let Some(place) = place else {
            return false;
        };
        place.pair = Some((server, key));
        // Keys may have been wanted without it.
        for channel in self.channels.iter_mut() {
            if channel.mac == server && channel.due_ns == u64::MAX {
                channel.due_ns = 0;
            }
        }
        true
    }

    fn pair(&self, server: MacAddress) -> Option<&PairKey> {
        let mut pairs = self
            .channels
            .iter()
            .filter_map(|channel| channel.pair.as_ref());
        let (_, pair) = pairs.find(|(mac, _)| *mac == server)?;
        Some(pair)
    }

    fn find(&self, server: MacAddress, session: u64) -> Option<usize> {
        let is_it = |channel: &Channel| channel.mac == server && channel.session == session;
        self.channels
            .iter()
            .position(is_it)
            .filter(|_| session != 0)
    }

    /// These are the cluster's servers, and the sessions with them: channels of others are closed, and
    /// `closed` is called with each. Keys of new ones are requested.
    pub fn follow<I: Iterator<Item = (MacAddress, u64)>>(
        &mut self,
        now_ns: u64,
        stations: impl Fn() -> I,
        random: &mut impl Random,
        mut closed: impl FnMut(usize),
    ) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            let is_it = |(mac, session)| channel.mac == mac && channel.session == session;
            if channel.is_open() && !stations().any(is_it) {
                channel.close();
                closed(index);
            }
        }
        for channel in self.channels.iter_mut() {
            // A server that is not one any more.
            let is_gone = |(server, _): &mut (MacAddress, PairKey)| {
                !stations().any(|(mac, _)| mac == *server)
            };
            channel.pair.take_if(is_gone);
        }
        for (mac, session) in stations() {
            if self.find(mac, session).is_some() || session == 0 {
                continue;
            }
            if let Some(channel) = self.channels.iter_mut().find(|channel| !channel.is_open()) {
                channel.mac = mac;
                channel.session = session;
                channel.begin(now_ns, Stage::Asking, random);
            }
        }
    }

    /// Sets the source address of our frames, which proofs cover. After a change a server takes frames only
    /// when it has given keys to the new one.
    pub fn set_address(&mut self, now_ns: u64, own: MacAddress, random: &mut impl Random) {
        if core::mem::replace(&mut self.own, own) != own {
            self.change_all(now_ns, random);
        }
    }

    /// Requests other keys for all sessions: the shared keys have changed.
    pub fn change_all(&mut self, now_ns: u64, random: &mut impl Random) {
        for channel in self.channels.iter_mut().filter(|channel| channel.is_open()) {
            channel.begin(now_ns, Stage::Asking, random);
        }
    }

    /// This machine was rolled back: its keys must not be used any more. The caller has discarded them.
    pub fn discard_all(&mut self, now_ns: u64, random: &mut impl Random) {
        for channel in self.channels.iter_mut() {
            channel.keyed = None;
        }
        self.change_all(now_ns, random);
    }

    /// A frame of this server could not be verified, or says without a proof that the server does not know
    /// our keys: asks, but not too often.
    pub fn hint(&mut self, now_ns: u64, server: MacAddress, random: &mut impl Random) {
        for channel in self.channels.iter_mut() {
            let is_due =
                now_ns.saturating_sub(channel.hinted_ns) >= HINT_NS || channel.hinted_ns == 0;
            let is_it = channel.is_open() && channel.mac == server;
            if is_it && is_due && channel.stage == Stage::Idle {
                channel.hinted_ns = now_ns;
                channel.begin(now_ns, Stage::Probing, random);
            }
        }
    }

    /// Whether a server that says, without a proof, that it has this incarnation may have restarted.
    pub fn is_news(&self, server: MacAddress, incarnation: u64) -> bool {
        let mut of = self
            .channels
            .iter()
            .filter(|channel| channel.is_open() && channel.mac == server);
        of.any(|channel| channel.keyed.is_some_and(|keyed| keyed != incarnation))
    }

    /// A server says without a proof why it takes no frames of us. That only explains why there are no keys.
    pub fn note_refusal(&mut self, server: MacAddress, why: Status) {
        for channel in self.channels.iter_mut() {
            if channel.is_open() && channel.mac == server && channel.keyed.is_none() {
                channel.refusal = Some(why);
            }
        }
    }

    /// Why there are no keys of a session with this server, if there are none.
    pub fn refusal(&self, server: MacAddress) -> Option<Status> {
        let mut of = self
            .channels
            .iter()
            .filter(|channel| channel.is_open() && channel.mac == server);
        of.find_map(|channel| channel.refusal)
    }

    /// What becomes of a frame of the cluster, or of [`Self::handle_timeout`].
    pub fn outgoing(&mut self, server: MacAddress, header: &Header, payload: &[u8]) -> Outgoing {
        let Some(index) = self.find(server, header.session) else {
            return Outgoing::Held;
        };
        let Some(channel) = self.channels.get_mut(index) else {
            return Outgoing::Held;
        };
        if channel.keyed.is_some() {
            return Outgoing::Signed(index);
        }
        match header.opcode {
            Opcode::KeyRequest => Outgoing::Plain,
            Opcode::Hello => {
                let hello = payload.try_into().ok();
                channel.held = hello.map(|hello: &[u8; HELLO_LEN]| (*header, *hello));
                Outgoing::Held
            }
            _ => Outgoing::Held,
        }
    }

    /// Sends the HELLO that has waited for the keys of a channel.
    pub fn release(&mut self, channel: usize, outbox: &mut impl Outbox) {
        let Some(channel) = self.channels.get_mut(channel) else {
            return;
        };
        if let Some((header, payload)) = channel.held.take() {
            outbox.send(channel.mac, &header, &payload);
        }
    }

    /// Sends the requests that are due.
    pub fn handle_timeout(
        &mut self,
        now_ns: u64,
        random: &mut impl Random,
        outbox: &mut impl Outbox,
    ) {
        let (cipher, own) = (self.cipher, self.own);
        for index in 0..self.channels.len() {
            let Some(channel) = self.channels.get_mut(index) else {
                continue;
            };
            if !channel.is_open() || channel.due_ns > now_ns {
                continue;
            }
            if channel.stage == Stage::Idle {
                channel.begin(now_ns, Stage::Asking, random);
            }
            let mac = channel.mac;
            let Some(pair) = self.pair(mac).cloned() else {
                // It is looked for again when it has been set.
                if let Some(channel) = self.channels.get_mut(index) {
                    channel.due_ns = u64::MAX;
                }
                continue;
            };
            let Some(channel) = self.channels.get_mut(index) else {
                continue;
            };
            let wait_ns = RETRY_NS.0.saturating_mul(1 << channel.tries.min(10));
            channel.due_ns = now_ns.saturating_add(wait_ns.min(RETRY_NS.1));
            channel.tries = channel.tries.saturating_add(1);
            let header = Header {
                session: channel.session,
                incarnation: channel.asked,
                attempt: channel.tries,
                ..Header::new(Opcode::KeyRequest)
            };
            let mut request = KeyRequest {
                pair: pair.id(),
                nonce: channel.nonce,
                cookie: channel.cookie,
                cipher: cipher as u8,
                key: channel.number.wrapping_add(1),
                reserved: [0; 14],
                proof: [0; 16],
            };
            let Some(proof) = pair.prove_request(&header, &request, own, mac) else {
                continue;
            };
            request.proof = proof;
            let header = Header {
                payload_crc: crate::crc::crc32c(request.as_bytes()),
                ..header
            };
            outbox.send(mac, &header, request.as_bytes());
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    pub fn next_timeout_ns(&self) -> u64 {
        let open = self.channels.iter().filter(|channel| channel.is_open());
        open.map(|channel| channel.due_ns).min().unwrap_or(u64::MAX)
    }

    /// The nonce of the KEY_REPLY that is awaited in this session. Another one need not be kept.
    pub fn awaits(&self, server: MacAddress, session: u64) -> Option<[u8; 16]> {
        self.awaited(self.find(server, session)?)
    }

    /// The same, for a channel.
    pub fn awaited(&self, channel: usize) -> Option<[u8; 16]> {
        let channel = self.channels.get(channel)?;
        let is_asking = channel.is_open() && channel.stage != Stage::Idle;
        is_asking.then_some(channel.nonce)
    }

    /// Whether a channel has a request to send.
    pub fn is_due(&self, now_ns: u64, channel: usize) -> bool {
        let channel = self.channels.get(channel);
        channel.is_some_and(|channel| channel.is_open() && channel.due_ns <= now_ns)
    }

    /// The server of a channel.
    pub fn server(&self, channel: usize) -> Option<MacAddress> {
        let channel = self.channels.get(channel)?;
        channel.is_open().then_some(channel.mac)
    }

    /// The caller could not keep the new keys of a channel: others are requested. Those that it has, if any,
    /// are used meanwhile.
    pub fn lose(&mut self, now_ns: u64, channel: usize, has_keys: bool) {
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.keyed = channel.keyed.filter(|_| has_keys);
            channel.due_ns = now_ns.saturating_add(HINT_NS);
        }
    }

    /// Handles a KEY_REPLY. Returns the session's new keys, if it completes the exchange.
    pub fn handle_reply(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        frame: &Frame<'_>,
    ) -> Option<NewKeys> {
        let header = &frame.header;
        let index = self.find(source, header.session)?;
        let reply = KeyReply::read_from_bytes(frame.payload).ok()?;
        let channel = self.channels.get(index)?;
        // An older answer, which somebody has kept back, must not bring an older cookie back.
        let is_old = header.attempt < channel.first_attempt;
        if channel.stage == Stage::Idle || is_old || !are_equal(&reply.nonce, &channel.nonce) {
            return None;
        }
        let pair = self.pair(source)?;
        let proof = pair.prove_reply(header, &reply, source, self.own)?;
        if !are_equal(&proof, &reply.proof) && !mutated!(KeyReplyUnproved) {
            return None;
        }
        let seed = FrameKeySeed {
            cipher: self.cipher,
            session: header.session,
            incarnation: header.incarnation,
            key: reply.key,
            nonce: reply.nonce,
            cookie: reply.cookie,
        };
        let lifetime_ns = self.lifetime_ns;
        let keys = [Direction::ToServer, Direction::ToClient].map(|way| pair.frame_key(&seed, way));
        let channel = self.channels.get_mut(index)?;
        match header.status {
            Status::Cookie => {
                channel.refusal = None;
                let is_known = reply.is_known == 1 && channel.keyed == Some(header.incarnation);
                if channel.stage == Stage::Probing && is_known {
                    channel.stage = Stage::Idle;
                    channel.due_ns = channel.change_ns;
                    return None;
                }
                channel.stage = Stage::Asking;
                if reply.cookie != channel.cookie {
                    channel.cookie = reply.cookie;
                    channel.asked = header.incarnation;
                    channel.first_attempt = channel.tries.saturating_add(1);
                    channel.due_ns = now_ns;
                }
                None
            }
            Status::Ok
                if reply.cookie == channel.cookie
                    && header.incarnation == channel.asked
                    && reply.key == channel.number.wrapping_add(1) =>
            {
                let [Some(transmit), Some(receive)] = keys else {
                    return None;
                };
                channel.stage = Stage::Idle;
                channel.refusal = None;
                channel.keyed = Some(header.incarnation);
                channel.number = reply.key;
                channel.change_ns = now_ns.saturating_add(lifetime_ns);
                channel.due_ns = channel.change_ns;
                Some(NewKeys {
                    channel: index,
                    server: source,
                    session: header.session,
                    number: reply.key,
                    transmit,
                    receive,
                })
            }
            Status::Ok => None,
            why => {
                channel.refusal = Some(why);
                None
            }
        }
    }
}
