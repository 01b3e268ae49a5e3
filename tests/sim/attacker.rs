// SPDX-License-Identifier: GPL-2.0

//! An attacker that sees all frames, and sends any: where frames are signed, none of them may change
//! anything.

use anemone::crc::crc32c;
use anemone::wire::{Flags, Frame, Header, MacAddress, Opcode, Status, HEADER_LEN, SIGNATURE_LEN};
use rand::Rng;

use crate::context::Context;
use crate::event::Wire;

impl Context {
    /// A frame made of real ones, with all checksums right. It may say anything, but the attacker knows no
    /// key.
    pub fn attack(&mut self, wire: Wire, other: &Wire) -> Option<Wire> {
        let mut wire = wire;
        match self.rng.random_range(0..8) {
            // Anything in the header.
            0 => {
                let byte = self.rng.random_range(0..HEADER_LEN.min(wire.bytes.len()));
                wire.bytes_mut()[byte] = self.rng.random();
            }
            // Anything in the signature or in the payload.
            1 if wire.bytes.len() > HEADER_LEN => {
                let byte = self.rng.random_range(HEADER_LEN..wire.bytes.len());
                wire.bytes_mut()[byte] ^= 1 << self.rng.random_range(0..8);
            }
            // The signature, or what it covers, of another frame.
            2 => {
                let from = HEADER_LEN.min(wire.bytes.len()).min(other.bytes.len());
                let to = (HEADER_LEN + SIGNATURE_LEN)
                    .min(wire.bytes.len())
                    .min(other.bytes.len());
                let part = other.bytes[from..to].to_vec();
                wire.bytes_mut()[from..to].copy_from_slice(&part);
            }
            3 => {
                let from = (HEADER_LEN + SIGNATURE_LEN).min(wire.bytes.len());
                let tail = other.bytes.get(from..).unwrap_or_default().to_vec();
                let len = tail.len().min(wire.bytes.len() - from);
                wire.bytes_mut()[from..from + len].copy_from_slice(&tail[..len]);
            }
            // No signature at all.
            4 => {
                let frame = Frame::parse(&wire.bytes).ok()?;
                let header = Header {
                    flags: frame
                        .header
                        .flags
                        .without(Flags::SIGNED)
                        .without(Flags::HEADER_ONLY),
                    ..frame.header
                };
                let mut bytes = header.emit(frame.payload.len() as u16).to_vec();
                bytes.extend_from_slice(frame.payload);
                wire.bytes = bytes.into();
            }
            // A request in the name of the other, or to the other.
            5 => wire.source = other.source,
            6 => wire.destination = other.destination,
            // What a server would say that has forgotten all.
            _ => {
                let frame = Frame::parse(&wire.bytes).ok()?;
                let (opcode, status) = match self.rng.random_range(0..3) {
                    0 => (Opcode::Reject, Status::NoSession),
                    1 => (Opcode::Reject, Status::KeyWanted),
                    _ => (Opcode::Announce, Status::Ok),
                };
                let mut header = frame.header.answer(opcode, status);
                header.incarnation = self.rng.random();
                let to_client = frame.header.opcode.is_from_server();
                if !to_client {
                    std::mem::swap(&mut wire.source, &mut wire.destination);
                }
                wire.bytes = header.emit(0).to_vec().into();
            }
        }
        mend(&mut wire);
        (wire.source != MacAddress::BROADCAST).then_some(wire)
    }
}

/// Makes the checksums right.
fn mend(wire: &mut Wire) {
    let bytes = wire.bytes_mut();
    let Some(flags) = bytes.get(2).copied() else {
        return;
    };
    let start = if flags & 2 != 0 {
        HEADER_LEN + SIGNATURE_LEN
    } else {
        HEADER_LEN
    };
    let carries_page = matches!(bytes.get(1), Some(6 | 9));
    if bytes.len() < HEADER_LEN {
        return;
    }
    if !carries_page {
        let len = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let payload = bytes.get(start..start + len).unwrap_or_default();
        let crc = crc32c(payload).to_be_bytes();
        bytes[20..24].copy_from_slice(&crc);
    }
    let crc = crc32c(&bytes[..HEADER_LEN - 4]).to_be_bytes();
    bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
}
