// SPDX-License-Identifier: GPL-2.0

//! Acknowledgements of page-outs, kept until the next flush: several for one client become one frame.
//!
//! The rules: `docs/protocol.md`, "WRITE_ACKS".

use super::{Admission, Outbox, Payload, Server};
use crate::engine::server::store::Memory;
use crate::wire::{Ack, Header, MacAddress, Opcode, Status, MAX_ACKS};
use zerocopy::{FromZeros, IntoBytes};

/// Acknowledgements for one session.
pub(super) struct Acks {
    to: MacAddress,
    /// The first one, as a WRITE_ACK. What it states of the session holds for all.
    first: Header,
    kept: [Ack; MAX_ACKS],
    count: usize,
}

impl Acks {
    /// No acknowledgements.
    pub(super) fn new() -> Self {
        Self {
            to: MacAddress::default(),
            first: Header::new(Opcode::WriteAck),
            kept: FromZeros::new_zeroed(),
            count: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keeps an acknowledgement, if there is room and it is for the same client and session as the
    /// others.
    fn put(&mut self, to: MacAddress, header: &Header) -> bool {
        if self.count == 0 {
            self.to = to;
            self.first = *header;
        } else if self.to != to || self.first.session != header.session {
            return false;
        }
        let Some(place) = self.kept.get_mut(self.count) else {
            return false;
        };
        *place = Ack::of(header);
        self.count = self.count.wrapping_add(1);
        true
    }
}

impl<M: Memory, A: Admission> Server<M, A> {
    /// Acknowledges a page-out, at the next flush at the latest.
    pub(super) fn acknowledge(&mut self, to: MacAddress, header: &Header, out: &mut impl Outbox) {
        if !self.acks.put(to, header) {
            self.send_acks(out);
            self.acks.put(to, header);
        }
    }

    /// Sends the kept acknowledgements as one frame, if there are any.
    pub(super) fn send_acks(&mut self, out: &mut impl Outbox) {
        let count = core::mem::take(&mut self.acks.count);
        if count == 0 {
            return;
        }
        let Acks {
            to, first, kept, ..
        } = &self.acks;
        let several = kept.get(..count).filter(|_| count > 1);
        let Some(several) = several else {
            self.send(*to, *first, Payload::EMPTY, out);
            return;
        };
        let header = Header {
            session: first.session,
            status: Status::Ok,
            ..Header::new(Opcode::WriteAcks)
        };
        self.send_message(*to, header, several.as_bytes(), out);
    }
}
