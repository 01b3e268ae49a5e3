// SPDX-License-Identifier: GPL-2.0

//! Hands a transfer's frames over for transmission.
//!
//! The rules: `docs/protocol.md`, "WRITE" and "READ".

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::hedge;
use super::op::{Kind, Stage};
use super::ops::TransferId;
use super::transfer::TransferStage;
use super::{Action, Shard};
use crate::wire::{
    Flags, FragmentMask, Fragmentation, Header, MacAddress, Opcode, PageSum, PageTag, Status,
};

/// Timeouts after which frames still queued in this host no longer hold back new ones.
const FORCE_TRIES: u32 = 3;

/// Frames of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// The transfer, by which its frames are kept.
    pub id: TransferId,
    /// The server's address.
    pub destination: MacAddress,
    /// The header of every frame, except for the fragment's index.
    pub header: Header,
    /// The frames' payload.
    pub payload: SendPayload,
    /// Whether to send even if an earlier attempt is still queued in this host: it is the first
    /// attempt, or so many timed out that something holds them back.
    pub force: bool,
}

/// The payload of a transfer's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendPayload {
    /// One frame without a payload: a READ.
    Nothing,
    /// One frame with the fill value of the page, or with the sealed value.
    Fill(u64),
    /// Fragments of the page, or of its sealed bytes.
    Page {
        /// Which fragments.
        fragments: FragmentMask,
        /// How the page is cut.
        cut: Fragmentation,
        /// Whether to compute the page's checksum again first. If it differs from the header's,
        /// nothing is sent and the caller calls [`Shard::page_changed`].
        verify: bool,
    },
}

impl<S: Storage> Shard<S> {
    /// Takes a transfer from the ready list and marks it as sent, if it is still wanted and the
    /// window has room. Returns its frames, or what is to be done before they can be sent.
    #[inline]
    pub(super) fn begin_send(
        &mut self,
        now_ns: u64,
        id: TransferId,
        device: &SwapDevice<S>,
    ) -> Option<Action> {
        let tag = self.tag(id.op);
        let op = &mut self.ops[id.op];
        if op.stage != Stage::Active {
            return None;
        }
        let transfer = &mut op.transfers[id];
        if transfer.stage != TransferStage::Queued || transfer.sending {
            // The CPU that sends it puts it back when it is done.
            return None;
        }
        let is_sealed = device.seals() && op.kind != Kind::PageIn && !mutated!(SentUnsealed);
        if is_sealed && !op.is_sealed() {
            return self.begin_seal(now_ns, id.op, device);
        }
        let transfer = &mut op.transfers[id];
        let (slot, cut) = (transfer.slot, transfer.cut);
        let path = &mut self.paths[slot];
        if !transfer.in_window {
            if !path.window.has_room() {
                // The server may die while the transfer waits here.
                let wait_ns = path.retry_after_ns(0, device.io_timeout_ns());
                transfer.due_ns = now_ns.saturating_add(wait_ns);
                self.push_waiting(slot, id);
                return None;
            }
            transfer.in_window = true;
            path.window.enter();
        }
        transfer.stage = TransferStage::Sent;
        transfer.sending = true;
        transfer.sent_ns = now_ns;
        let again = transfer.attempt != transfer.first_attempt;
        if !again {
            transfer.first_sent_ns = now_ns;
            hedge::start_timer(&mut op.hedge_ns, now_ns, path);
        }
        let wait_ns = path.retry_after_ns(transfer.tries, device.io_timeout_ns());
        transfer.due_ns = now_ns.saturating_add(wait_ns);
        let due_ns = transfer.due_ns.min(op.hedge_ns);
        if !mutated!(SendPinIgnored) {
            op.pins = op.pins.saturating_add(1);
        }
        let sum = match is_sealed {
            true => op.seal.sum,
            false => PageSum {
                crc: op.crc.unwrap_or(0),
                tag: PageTag::default(),
            },
        };
        let (opcode, fragment_mask, version, sum) = match op.kind {
            Kind::PageIn => {
                let generation = u64::from(op.generation.0);
                (
                    Opcode::Read,
                    transfer.pending,
                    generation,
                    PageSum::default(),
                )
            }
            _ => (Opcode::Write, FragmentMask::EMPTY, op.version.0, sum),
        };
        // A page-in has no fill value yet.
        let (flags, fragment_count) = match op.fill {
            Some(_) => (Flags::SAME_FILLED, 1),
            // After a page has arrived damaged, signatures show whether its server or the path is at fault.
            None if op.kind == Kind::PageIn && op.restarts == 0 && device.proves_pages() => {
                (Flags::HEADER_ONLY, cut.count())
            }
            None => (Flags::default(), cut.count()),
        };
        let send = Send {
            id,
            destination: device.servers.mac(slot),
            header: Header {
                opcode,
                flags,
                status: Status::Ok,
                tag,
                attempt: transfer.attempt,
                fragment_index: 0,
                fragment_count,
                fragment_mask,
                utilisation: 0,
                payload_crc: sum.crc,
                page_tag: sum.tag,
                session: transfer.session,
                incarnation: transfer.incarnation,
                page: u64::from(op.page.0),
                version,
                low_water: device.low_water().0,
            },
            payload: match (op.kind, op.fill) {
                (Kind::PageIn, _) => SendPayload::Nothing,
                (_, Some(_)) if is_sealed => SendPayload::Fill(op.seal.fill),
                (_, Some(value)) => SendPayload::Fill(value),
                (_, None) => SendPayload::Page {
                    fragments: transfer.pending,
                    cut,
                    // The page of a copy belongs to the module and does not change, nor do sealed bytes.
                    verify: again && op.kind == Kind::PageOut && !is_sealed,
                },
            },
            force: !again || transfer.tries >= FORCE_TRIES,
        };
        self.note_deadline(due_ns);
        self.counters.transfers_sent = self.counters.transfers_sent.wrapping_add(1);
        Some(Action::Send(send))
    }

    /// The frames of a transfer are free again. If it was queued meanwhile, it is ready now.
    pub(super) fn end_send(&mut self, id: TransferId) {
        let transfer = &mut self.ops[id];
        transfer.sending = false;
        if transfer.stage == TransferStage::Queued {
            self.push_ready(id);
        }
        self.unpin(id.op);
    }
}
