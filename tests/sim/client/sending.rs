// SPDX-License-Identifier: GPL-2.0

//! Sends a client's frames: one after the other, with any events in between. The shard is notified last.

use anemone::crc::crc32c;
use anemone::engine::client::cluster::Outbox;
use anemone::engine::client::shard::{Send, SendPayload};
use anemone::wire::{FragmentMask, Header, MacAddress};
use rand::Rng;

use super::{Client, ClientEvent, Frames};
use crate::content::Bytes;
use crate::context::Context;
use crate::faults::Fault;
use crate::network::show;

/// Frames that a shard has asked for.
#[derive(Debug)]
pub struct Sending {
    shard: usize,
    send: Send,
    /// When the shard asked, and the clock was read.
    then_ns: u64,
    /// Fragments that have been sent.
    done: FragmentMask,
    /// The page's new checksum, if it has changed.
    changed: Option<u32>,
}

impl Sending {
    /// Frames that `shard` has asked for.
    pub(super) fn new(shard: usize, send: Send, then_ns: u64) -> Self {
        Self {
            shard,
            send,
            then_ns,
            done: FragmentMask::EMPTY,
            changed: None,
        }
    }
}

impl Client {
    /// Sends all or some of the frames.
    pub(super) fn send(&mut self, ctx: &mut Context, mut sending: Sending) {
        let (shard, op) = (sending.shard, sending.send.id.op.index());
        let Some(request) = self.requests[shard][op].take() else {
            let send = &sending.send;
            ctx.oracle
                .fail(|| format!("{send:?} of a request that has ended"));
            return;
        };
        let bytes = match self.device.seals() {
            true => &request.sealed,
            false => &request.bytes,
        };
        let is_sent = self.send_bytes(ctx, &mut sending, bytes, &request.bytes);
        self.requests[shard][op] = Some(request);
        if !is_sent {
            let delay_ns = ctx.host_delay();
            self.after(ctx, delay_ns, ClientEvent::Send(sending));
        } else if ctx.rng.random_bool(0.5) {
            self.end_send(ctx, &sending);
        } else {
            let delay_ns = ctx.host_delay();
            self.after(ctx, delay_ns, ClientEvent::Sent(sending));
        }
    }

    /// Sends the frames of a page with these bytes, which is `page` for programs. Returns whether all were
    /// sent.
    fn send_bytes(
        &mut self,
        ctx: &mut Context,
        sending: &mut Sending,
        bytes: &Bytes,
        page: &Bytes,
    ) -> bool {
        let (send, lane) = (&sending.send, sending.shard + 1);
        let (to, mut header) = (send.destination, send.header);
        match send.payload {
            SendPayload::Nothing => self.transmit(ctx, lane, to, &header, &[]),
            SendPayload::Fill(value) => self.transmit(ctx, lane, to, &header, &value.to_be_bytes()),
            SendPayload::Page {
                fragments,
                cut,
                verify,
            } => {
                let crc = crc32c(&bytes[..]);
                if verify && sending.done.is_empty() && crc != header.payload_crc {
                    ctx.note(|| format!("client {}: page {} changed", self.number, header.page));
                    sending.changed = Some(crc);
                } else {
                    for index in fragments.without(sending.done).iter() {
                        let Some((offset, len)) = cut.span(index) else {
                            ctx.oracle
                                .fail(|| format!("no fragment {index} in {cut:?}"));
                            return true;
                        };
                        let (from, end) = (usize::from(offset), usize::from(offset + len));
                        header.fragment_index = index;
                        self.check_secrecy(ctx, &header, &bytes[from..end], page);
                        self.transmit(ctx, lane, to, &header, &bytes[from..end]);
                        sending.done.insert(index);
                        if ctx.rng.random_bool(0.1) {
                            return false;
                        }
                    }
                }
            }
        }
        true
    }

    /// Notifies the shard.
    pub(super) fn end_send(&mut self, ctx: &mut Context, sending: &Sending) {
        let shard = &mut self.shards[sending.shard];
        if let Some(crc) = sending.changed {
            shard.page_changed(sending.then_ns, &sending.send, crc, &self.device);
        }
        shard.sent(sending.then_ns, sending.send.id, &self.device);
        self.pump_at(ctx, sending.shard, sending.then_ns);
    }

    fn transmit(
        &mut self,
        ctx: &mut Context,
        lane: usize,
        destination: MacAddress,
        header: &Header,
        payload: &[u8],
    ) {
        let mut frames = self.frames();
        frames.send(destination, header, payload);
        self.transmit_from(ctx, frames, lane);
    }

    pub(super) fn frames(&self) -> Frames {
        Frames {
            source: self.mac,
            wires: Vec::new(),
        }
    }

    /// Sends the cluster's frames.
    pub(super) fn transmit_all(&mut self, ctx: &mut Context, frames: Frames) {
        self.transmit_from(ctx, frames, 0);
    }

    /// Sends frames with the counters of a lane.
    fn transmit_from(&mut self, ctx: &mut Context, frames: Frames, lane: usize) {
        self.device.frame_filter.publish(self.cluster.stations());
        for wire in frames.wires {
            let Some(wire) = self.signed(ctx, lane, wire) else {
                continue;
            };
            if !self.is_up {
                ctx.counts.fault(Fault::FrameInterfaceDown);
                continue;
            }
            let too_long = wire.bytes.len() > self.mtu;
            if too_long && !ctx.scenario.enabled.mtu_change {
                ctx.oracle
                    .fail(|| format!("longer than the MTU: {}", show(&wire)));
            }
            if too_long || ctx.scenario.enabled.send_failure && ctx.rng.random_bool(0.01) {
                ctx.counts.fault(Fault::SendFailed);
            } else {
                ctx.transmit(wire);
            }
        }
    }
}
