// SPDX-License-Identifier: GPL-2.0

//! Which transfer a frame answers.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Stage};
use super::ops::TransferId;
use super::transfer::Transfer;
use super::Shard;
use crate::wire::{Header, MacAddress, Opcode};

impl<S: Storage> Shard<S> {
    /// The transfer that a frame answers. `None` if it answers none: it is late, repeated,
    /// foreign or forged.
    pub(super) fn find_transfer(
        &self,
        source: MacAddress,
        header: &Header,
        device: &SwapDevice<S>,
    ) -> Option<TransferId> {
        let index = self.op_of_tag(header.tag)?;
        let op = &self.ops[index];
        let expected = match op.kind {
            Kind::PageIn => Opcode::ReadReply,
            _ => Opcode::WriteAck,
        };
        if mutated!(StaleReplyAccepted) && op.stage == Stage::Active && header.opcode == expected {
            let asked = |transfer: &Transfer| transfer.incarnation == header.incarnation;
            return index.transfers().find(|&id| asked(&op.transfers[id]));
        }
        if op.stage != Stage::Active
            || header.opcode != expected
            || header.page != u64::from(op.page.0)
            || (op.kind != Kind::PageIn && header.version != op.version.0)
        {
            return None;
        }
        let found = index.transfers().find(|&id| {
            let transfer = &op.transfers[id];
            // One that is queued to be sent again may still be answered.
            transfer.is_asked()
                && transfer.has_sent(header.attempt)
                && transfer.session == header.session
                && transfer.incarnation == header.incarnation
        })?;
        let slot = op.transfers[found].slot;
        (device.servers.is_current(slot, header.session) && device.servers.is_at(slot, source))
            .then_some(found)
    }
}
