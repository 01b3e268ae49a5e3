// SPDX-License-Identifier: GPL-2.0

//! Forges frames from earlier ones, without knowledge of the numbers that a client chose at random. The
//! format has no authentication yet: an attacker that sees all frames can forge all.

use anemone::crc::crc32c;
use anemone::wire::{Frame, Header, MacAddress, Opcode, Status};
use rand::Rng;

use crate::context::Context;
use crate::event::Wire;

/// An address that no station has.
pub const STRANGER: MacAddress = MacAddress([2, 0, 0, 0, 9, 9]);

impl Context {
    /// A frame forged from a real one, with all checksums right.
    pub fn forge(&mut self, wire: Wire) -> Option<Wire> {
        let frame = Frame::parse(&wire.bytes).ok()?;
        let (mut header, mut payload) = (frame.header, frame.payload.to_vec());
        let mut source = wire.source;
        let mut destination = wire.destination;
        if self.rng.random_bool(0.5) {
            // Everything is right except the source address.
            source = STRANGER;
            if header.opcode == Opcode::Hello {
                header.session = self.rng.random();
            }
        } else {
            // The source address is right, but the session is not known.
            self.forge_header(&mut header);
        }
        if self.rng.random_bool(0.1) {
            std::mem::swap(&mut source, &mut destination);
        }
        if !payload.is_empty() && self.rng.random_bool(0.3) {
            let place = self.rng.random_range(0..payload.len());
            payload[place] = self.rng.random();
        }
        let carries_page = matches!(header.opcode, Opcode::Write | Opcode::ReadReply);
        if !carries_page || self.rng.random_bool(0.2) {
            header.payload_crc = crc32c(&payload);
        }
        let mut bytes = header.emit(u16::try_from(payload.len()).ok()?).to_vec();
        bytes.append(&mut payload);
        Some(Wire {
            source,
            destination,
            bytes: bytes.into(),
        })
    }

    fn forge_header(&mut self, header: &mut Header) {
        if header.session != 0 {
            header.session = self.rng.random();
        }
        if self.rng.random_bool(0.3) {
            header.incarnation = self.rng.random();
        }
        match self.rng.random_range(0..6) {
            0 => header.attempt = self.rng.random(),
            1 => header.version = header.version.wrapping_add(self.rng.random_range(0..3)),
            2 => header.page = self.rng.random_range(0..u64::from(self.scenario.pages)),
            3 => header.low_water = self.rng.random(),
            4 => {
                header.opcode = Opcode::Reject;
                header.status = Status::NoSession;
            }
            _ => header.tag ^= self.rng.random_range(0..8),
        }
    }
}
