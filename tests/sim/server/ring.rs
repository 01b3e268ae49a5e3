// SPDX-License-Identifier: GPL-2.0

//! The frames that a server sends, as slices of its arena until the flush.

use super::*;

/// A frame whose payload may still be in the arena.
pub(super) enum Kept {
    Bytes(Wire),
    Slice(Wire, PageSlice),
}

/// Keeps frames as slices of the arena until the flush, like a network card's ring.
pub(super) struct Ring<'a> {
    pub(super) mac: MacAddress,
    pub(super) kept: &'a mut Vec<Kept>,
    pub(super) ready: Vec<Wire>,
}

impl Outbox for Ring<'_> {
    fn send(&mut self, destination: MacAddress, header: &[u8], payload: Payload<'_>) {
        let payload_len = match &payload {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Page(..) => PAGE_SIZE,
        };
        let mut wire = Wire {
            source: self.mac,
            destination,
            bytes: emitted(header, payload_len).into(),
        };
        self.kept.push(match payload {
            Payload::Bytes(bytes) => {
                wire.bytes_mut().extend_from_slice(bytes);
                Kept::Bytes(wire)
            }
            Payload::Page(slice, _) => Kept::Slice(wire, slice),
        });
    }

    fn flush(&mut self, arena: &[Page]) {
        for kept in self.kept.drain(..) {
            self.ready.push(match kept {
                Kept::Bytes(wire) => wire,
                Kept::Slice(mut wire, slice) => {
                    wire.bytes_mut().extend_from_slice(slice.bytes(arena));
                    wire
                }
            });
        }
    }
}

/// A header's bytes, with room for a payload.
fn emitted(header: &[u8], payload_len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(header.len() + payload_len);
    bytes.extend_from_slice(header);
    bytes
}
