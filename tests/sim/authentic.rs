// SPDX-License-Identifier: GPL-2.0

//! What signatures are for, checked by somebody who sees everything: a station accepts a signed frame only if
//! the other one has sent it, as it is and from that address, and only once. And no nonce is used twice.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use anemone::wire::{
    Flags, Frame, Header, KeyReply, MacAddress, Opcode, Status, HEADER_LEN, SIGNATURE_LEN,
};
use zerocopy::FromBytes;

use crate::event::Wire;

/// A nonce and the key that it was used with: the sender, the session, the cookie of the exchange that made
/// the session's key of that number, and the nonce.
type Used = (MacAddress, u64, [u8; 16], [u8; 12]);

/// All that was sent and accepted in a run.
#[derive(Default)]
pub struct Authentic {
    sent: HashSet<u64>,
    nonces: HashMap<Used, u64>,
    /// The last exchange for each session and number of a key. Numbers are used again after a while.
    cookies: HashMap<(u64, u8), [u8; 16]>,
    /// By the station's address and its life.
    accepted: HashSet<(MacAddress, u64, u64)>,
}

/// Of a frame to the station at this address. A frame that was sent to a station may reach it as a broadcast.
fn hash(wire: &Wire, destination: MacAddress) -> u64 {
    let mut hasher = DefaultHasher::new();
    (wire.source, destination).hash(&mut hasher);
    match Frame::parse(&wire.bytes) {
        // Its proof is enough, with and without a signature.
        Ok(frame) if matches!(frame.header.opcode, Opcode::KeyRequest | Opcode::KeyReply) => {
            let flags = frame.header.flags.without(Flags::SIGNED);
            let header = Header {
                flags,
                ..frame.header
            };
            (header.emit(0), frame.payload).hash(&mut hasher);
        }
        // A page that is sealed proves itself.
        Ok(frame) if frame.header.flags.contains(Flags::HEADER_ONLY) => {
            wire.bytes
                .get(..HEADER_LEN + SIGNATURE_LEN)
                .hash(&mut hasher);
        }
        _ => wire.bytes.hash(&mut hasher),
    }
    hasher.finish()
}

impl Authentic {
    /// A station sends a frame.
    pub fn note_sent(&mut self, wire: &Wire) -> Result<(), String> {
        let hash = hash(wire, wire.destination);
        self.sent.insert(hash);
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return Ok(());
        };
        let reply = KeyReply::read_from_bytes(frame.payload).ok();
        let is_ok = (frame.header.opcode, frame.header.status) == (Opcode::KeyReply, Status::Ok);
        if let Some(reply) = reply.filter(|_| is_ok) {
            let of = (frame.header.session, reply.key);
            self.cookies.insert(of, reply.cookie);
        }
        let Some(signature) = frame.signature(&wire.bytes) else {
            return Ok(());
        };
        let session = frame.header.session;
        let cookie = self.cookies.get(&(session, signature.key));
        let cookie = cookie.copied().unwrap_or_default();
        let used = (wire.source, session, cookie, signature.nonce());
        match self.nonces.insert(used, hash) {
            Some(before) if before != hash => Err(format!("two frames with one nonce: {used:?}")),
            _ => Ok(()),
        }
    }

    /// Whether a station has sent this frame to the one at this address.
    pub fn was_sent(&self, mac: MacAddress, wire: &Wire) -> bool {
        self.sent.contains(&hash(wire, mac))
    }

    /// The station at this address, in this life, accepts a signed frame.
    pub fn accept(&mut self, mac: MacAddress, life: u64, wire: &Wire) -> Result<(), &'static str> {
        let hash = hash(wire, mac);
        let may_repeat = Frame::parse(&wire.bytes).is_ok_and(|frame| {
            matches!(frame.header.opcode, Opcode::KeyRequest | Opcode::KeyReply)
        });
        match self.sent.contains(&hash) {
            false => Err("accepts what nobody has sent"),
            true if may_repeat => Ok(()),
            true if !self.accepted.insert((mac, life, hash)) => Err("accepts a frame again"),
            true => Ok(()),
        }
    }
}
