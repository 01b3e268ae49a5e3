// SPDX-License-Identifier: GPL-2.0

//! A server's part of the channel: it answers requests for keys, verifies frames before the server sees them,
//! and signs what the server sends.
//!
//! Nothing here is done for a station that has no key, but for hints, which are few. What a flood of frames
//! costs is bounded ([`budget`](super::budget)).
//!
//! The rules: `docs/protocol.md`, "KEY_REQUEST" and "Signatures".

extern crate alloc;

mod association;
mod key_exchange;
mod signing;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use association::Association;
pub use signing::Signing;

use super::budget::Tokens;
use super::pair_key::PairKey;
use crate::engine::server::store::Memory;
use crate::engine::server::{Admission, Outbox, Payload, Server};
use crate::secret::Secret;
use crate::wire::{
    ClientId, Flags, Frame, FrameError, Header, MacAddress, Opcode, Signature, Status, HEADER_LEN,
    PAGE_SIZE, SIGNED_HEAD_LEN,
};

/// A client that has keys.
#[derive(Clone, Debug)]
pub struct KeyedClient {
    /// By which the server knows it.
    pub identity: ClientId,
    /// Its current key, and the one before that, which is valid until the client uses the current one.
    pub keys: [Option<PairKey>; 2],
}

/// A client, with its sessions.
struct Client {
    keyed: KeyedClient,
    /// It has used its current key: the one before does not come back.
    has_used_current: bool,
    /// The server's epoch when a cookie of this client was last accepted, so that each is accepted once.
    epoch: u64,
    /// The open session, and the one that replaces it.
    associations: [Association; 2],
    /// For its requests for keys when others have used up what there is for all.
    requests: Tokens,
}

impl Client {
    /// The client uses new keys of this session: if they follow from its current key, the key before that
    /// ends, with all that follows from it.
    fn use_newest_key(&mut self, index: usize) {
        let used = self.associations.get(index).and_then(Association::pair);
        let [current, before] = &mut self.keyed.keys;
        let is_current = current.as_ref().map(PairKey::id) == used;
        self.has_used_current |= is_current;
        if is_current && before.take().is_some() {
            for association in &mut self.associations {
                association.keep_keys_of(&self.keyed.keys);
            }
        }
    }
}

/// Why a frame is not taken for a client's.
enum Unproved {
    Unsigned,
    Unknown,
    Replayed,
    Forged,
    Flooded,
}

/// What a hint takes of its tokens.
const HINT: u64 = 10;

fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames of clients that have signed them.
    pub verified: u64,
    /// Frames without a signature.
    pub unsigned: u64,
    /// Frames of a session without keys, or under another key than the session's.
    pub unknown: u64,
    /// Frames that were received before.
    pub replayed: u64,
    /// Frames with a wrong tag, and key requests with a wrong proof.
    pub forged: u64,
    /// Frames that were dropped unverified because there were too many.
    pub flooded: u64,
    /// Keys given out.
    pub keys: u64,
}

/// The channels of a server.
pub struct ServerChannels {
    clients: Vec<Client>,
    /// The association of each session and client: two may choose one number.
    sessions: BTreeMap<(u64, usize), usize>,
    /// The client of each shared key, by the key's identity.
    pairs: BTreeMap<[u8; 16], usize>,
    /// The key of cookies.
    secret: Secret,
    incarnation: u64,
    own: MacAddress,
    /// For frames that are verified in vain, for requests for keys, and for hints.
    frames: Tokens,
    requests: Tokens,
    hints: Tokens,
    /// Rises whenever a cookie is accepted.
    epoch: u64,
    counters: Counters,
    /// What a tag covers.
    text: Box<[u8; SIGNED_HEAD_LEN + PAGE_SIZE]>,
    /// The random part of nonces.
    random: [u8; 4],
    /// At whose turn announcements begin.
    turn: usize,
}

impl ServerChannels {
    /// Channels of a server in this incarnation. The secret is random.
    pub fn new(clients: Vec<KeyedClient>, secret: Secret, incarnation: u64) -> Self {
        let mut channels = Self {
            clients: Vec::new(),
            sessions: BTreeMap::new(),
            pairs: BTreeMap::new(),
            secret,
            incarnation,
            own: MacAddress::default(),
            frames: Tokens::for_all_frames(),
            requests: Tokens::for_requests(),
            hints: Tokens::for_hints(),
            epoch: 0,
            counters: Counters::default(),
            text: Box::new([0; SIGNED_HEAD_LEN + PAGE_SIZE]),
            random: [0; 4],
            turn: 0,
        };
        channels.set_clients(clients);
        channels
    }

    /// Sets the address that clients send to.
    pub fn set_address(&mut self, own: MacAddress) {
        self.own = own;
    }

    /// Sets the random part of nonces, which should be new for each round of frames.
    pub fn set_random(&mut self, random: [u8; 4]) {
        self.random = random;
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Replaces the clients and their keys. Sessions of a client that keeps the key of its session go on. A
    /// client that has used its current key, and keeps that one, does not get back the one before.
    pub fn set_clients(&mut self, clients: Vec<KeyedClient>) {
        self.pairs.clear();
        self.sessions.clear();
        let old = core::mem::take(&mut self.clients).into_iter();
        let mut old: BTreeMap<_, _> = old.map(|one| (one.keyed.identity.0, one)).collect();
        for keyed in clients {
            let before = old.remove(&keyed.identity.0);
            let mut client = Client {
                keyed,
                has_used_current: false,
                // A client that comes back to the list must not find a cookie valid that was accepted before.
                epoch: self.next_epoch(),
                associations: Default::default(),
                requests: Tokens::for_requests_of_client(),
            };
            if let Some(before) = before {
                client.epoch = before.epoch;
                client.requests = before.requests;
                let ([current, old], [same, _]) = (&mut client.keyed.keys, &before.keyed.keys);
                if before.has_used_current && same == current {
                    client.has_used_current = true;
                    *old = None;
                }
                client.associations = before.associations;
                for association in &mut client.associations {
                    association.keep_keys_of(&client.keyed.keys);
                }
            }
            let place = self.clients.len();
            let pairs = client.keyed.keys.iter().flatten();
            self.pairs.extend(pairs.map(|pair| (pair.id(), place)));
            for (index, association) in client.associations.iter().enumerate() {
                if association.session() != 0 {
                    self.sessions.insert((association.session(), place), index);
                }
            }
            self.clients.push(client);
        }
    }

    fn next_epoch(&mut self) -> u64 {
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch
    }

    /// The clients and associations of this session at this address. Clients choose both, so one may use
    /// those of another.
    fn find_all(
        &self,
        session: u64,
        mac: MacAddress,
    ) -> impl Iterator<Item = (usize, usize, &Association)> {
        let all = self.sessions.range((session, 0)..=(session, usize::MAX));
        let all = all.filter_map(|(&(_, client), &index)| {
            let association = self.clients.get(client)?.associations.get(index)?;
            Some((client, index, association))
        });
        all.filter(move |(_, _, association)| association.is_at(mac) || mutated!(SourceUnchecked))
    }

    /// Handles one frame, without its Ethernet header, that came from `source`: if it is signed by a client,
    /// the server handles it.
    pub fn handle_frame<M: Memory, A: Admission>(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        bytes: &[u8],
        server: &mut Server<M, A>,
        out: &mut impl Outbox,
    ) {
        let frame = match Frame::parse_with(bytes, M::crc32c) {
            Ok(frame) if source.is_unicast() => frame,
            Err(FrameError::Version(_)) if !self.hints.take(now_ns, HINT) => {
                count(&mut self.counters.flooded);
                return;
            }
            _ => {
                // It is counted there, and another version of the protocol is refused.
                server.handle_frame(now_ns, source, bytes, out);
                return;
            }
        };
        if frame.header.opcode.is_from_server() {
            return;
        }
        let verified = match frame.signature(bytes) {
            Some(signature) => self.verify(now_ns, source, bytes, &frame, signature),
            None => Err(Unproved::Unsigned),
        };
        match verified {
            Ok(_) if frame.header.opcode == Opcode::KeyRequest => {
                self.handle_request(now_ns, source, &frame, true, server, out);
            }
            Ok(client) => {
                let Some(one) = self.clients.get(client) else {
                    return;
                };
                let identity = one.keyed.identity;
                let mut signing = Signing::for_client(self, client, out);
                server.handle_verified(now_ns, source, identity, &frame, &mut signing);
                if matches!(frame.header.opcode, Opcode::Hello | Opcode::Bye) {
                    self.note_open(client, server);
                }
            }
            // Its proof is enough. Its signature may be of an earlier start of this server, or of keys that
            // are not the same on both sides.
            Err(_) if frame.header.opcode == Opcode::KeyRequest => {
                self.handle_request(now_ns, source, &frame, false, server, out);
            }
            Err(Unproved::Unsigned) => {
                count(&mut self.counters.unsigned);
                self.send_hint::<M>(now_ns, source, &frame.header, Status::KeyWanted, out);
            }
            Err(Unproved::Unknown) => {
                count(&mut self.counters.unknown);
                self.send_hint::<M>(now_ns, source, &frame.header, Status::NoSession, out);
            }
            Err(Unproved::Replayed) => {
                // Or the client was rolled back, and uses its counters again.
                count(&mut self.counters.replayed);
                self.send_hint::<M>(now_ns, source, &frame.header, Status::NoSession, out);
            }
            Err(Unproved::Forged) => count(&mut self.counters.forged),
            Err(Unproved::Flooded) => count(&mut self.counters.flooded),
        }
    }

    /// Returns the client that has signed the frame.
    fn verify(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        bytes: &[u8],
        frame: &Frame<'_>,
        signature: &Signature,
    ) -> Result<usize, Unproved> {
        let mut why = Unproved::Unknown;
        let mut from = 0;
        loop {
            // Usually there is one.
            let mut all = self.find_all(frame.header.session, source);
            let found =
                all.find_map(|(client, index, _)| (client >= from).then_some((client, index)));
            drop(all);
            let Some((client, index)) = found else {
                return Err(why);
            };
            match self.verify_for(now_ns, (client, index), bytes, frame, signature) {
                Ok(()) => return Ok(client),
                Err(Unproved::Unknown) => {}
                Err(other) => why = other,
            }
            from = client.saturating_add(1);
        }
    }

    /// Whether the frame is signed under a key of this association of a client.
    fn verify_for(
        &mut self,
        now_ns: u64,
        (client, index): (usize, usize),
        bytes: &[u8],
        frame: &Frame<'_>,
        signature: &Signature,
    ) -> Result<(), Unproved> {
        let client = self.clients.get_mut(client).ok_or(Unproved::Unknown)?;
        let association = client.associations.get_mut(index);
        let association = association.ok_or(Unproved::Unknown)?;
        let has_reserve = association.reserve.has_any(now_ns);
        let key = association.key_mut(now_ns, signature.key);
        let key = key.ok_or(Unproved::Unknown)?;
        if !key.may_accept(signature) && !mutated!(WindowUnchecked) {
            return Err(Unproved::Replayed);
        }
        let len = HEADER_LEN.saturating_add(frame.payload.len());
        let is_ample = self.frames.has_any(now_ns);
        if !is_ample && !has_reserve {
            return Err(Unproved::Flooded);
        }
        let head = bytes.first_chunk::<HEADER_LEN>();
        let text = head.and_then(|head| covered(&mut self.text, head, frame.payload));
        let is_right = text.is_some_and(|text| key.verify(signature, text));
        if !is_right && !mutated!(TagUnchecked) {
            match is_ample {
                true => self.frames.take_frame(len),
                false => association.reserve.take_frame(len),
            }
            return Err(Unproved::Forged);
        }
        if !key.accept(signature) {
            return Err(Unproved::Replayed);
        }
        if association.confirm(now_ns, signature.key) {
            client.use_newest_key(index);
        }
        count(&mut self.counters.verified);
        Ok(())
    }

    /// The sessions of a client may have begun or ended.
    fn note_open<M: Memory, A: Admission>(&mut self, client: usize, server: &Server<M, A>) {
        if let Some(client) = self.clients.get_mut(client) {
            for association in &mut client.associations {
                association.is_open =
                    server.has_session_of(client.keyed.identity, association.session());
            }
        }
    }

    /// Tells a station, without a proof, why its frame is not taken.
    fn send_hint<M: Memory>(
        &mut self,
        now_ns: u64,
        to: MacAddress,
        request: &Header,
        why: Status,
        out: &mut impl Outbox,
    ) {
        if !self.hints.take(now_ns, HINT) {
            return;
        }
        let header = Header {
            incarnation: self.incarnation,
            ..request.answer(Opcode::Reject, why)
        };
        let mut bytes = [0; HEADER_LEN];
        header.emit_to(&mut bytes, 0, M::crc32c);
        out.send(to, &bytes, Payload::EMPTY);
    }
}

/// What the tag covers: the header, zeros, and the payload. `None` if it is longer than a page.
fn covered<'a>(
    text: &'a mut [u8; SIGNED_HEAD_LEN + PAGE_SIZE],
    head: &[u8; HEADER_LEN],
    payload: &[u8],
) -> Option<&'a [u8]> {
    // Behind the header there are always zeros.
    *text.first_chunk_mut::<HEADER_LEN>()? = *head;
    let end = SIGNED_HEAD_LEN.checked_add(payload.len())?;
    text.get_mut(SIGNED_HEAD_LEN..end)?.copy_from_slice(payload);
    text.get(..end)
}

/// Whether a frame's tag covers its payload.
fn covers_payload(flags: Flags) -> bool {
    !flags.contains(Flags::HEADER_ONLY)
}
