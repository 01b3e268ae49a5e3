// SPDX-License-Identifier: GPL-2.0

//! Frames that arrive at a client.

use anemone::engine::client::frame_filter::Destination;
use anemone::engine::client::ids::shard_of_tag;
use anemone::engine::client::shard::Received;

use super::*;
use crate::content::zeros;

impl Client {
    /// Whether its network card keeps another frame while it is stopped.
    pub fn takes_backlog(&mut self, now_ns: u64) -> bool {
        self.backlog += 1;
        self.backlog <= BACKLOG && now_ns >= self.asleep_until_ns
    }

    /// A frame is received.
    pub fn deliver(&mut self, ctx: &mut Context, wire: &Wire) {
        let ours = wire.destination == self.mac || wire.destination == MacAddress::BROADCAST;
        if !ours || wire.bytes.len() > self.mtu || self.is_unloaded {
            return;
        }
        if !self.is_up {
            ctx.counts.fault(Fault::FrameInterfaceDown);
            return;
        }
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return;
        };
        ctx.note(|| format!("client {} gets {}", self.number, show(wire)));
        if !self.verify_frame(ctx, wire, &frame) {
            return;
        }
        if wire.destination == self.mac {
            self.heard_ns.insert(wire.source, ctx.now_ns);
        }
        let header = frame.header;
        match Destination::of(&header) {
            Destination::Shard => self.deliver_to_shard(ctx, wire.source, &frame),
            Destination::Shards => {
                let acks = <[Ack]>::ref_from_bytes(frame.payload).unwrap_or_default();
                for header in acks.iter().filter_map(|ack| ack.header(&header)) {
                    let payload = &[];
                    self.deliver_to_shard(ctx, wire.source, &Frame { header, payload });
                }
            }
            Destination::Cluster | Destination::Everyone
                if self.device.frame_filter.concerns_us(wire.source, &header) =>
            {
                self.working.inbox.put(wire.clone());
                self.run_cluster(ctx);
            }
            Destination::Cluster | Destination::Everyone => {}
        }
    }

    fn deliver_to_shard(&mut self, ctx: &mut Context, source: MacAddress, frame: &Frame<'_>) {
        let header = &frame.header;
        let shard = shard_of_tag(header.tag);
        if shard >= self.shards.len() {
            return;
        }
        self.note_answer(shard, header.tag);
        if !self.device.frame_filter.concerns_us(source, header) {
            self.pump(ctx, shard);
            return;
        }
        let clock_ns = self.clock_ns(ctx);
        let receive = self.shards[shard].handle_frame(clock_ns, source, header, &self.device);
        if let Some(receive) = receive {
            let request = self.requests[shard][receive.id.op.index()]
                .as_ref()
                .map(|r| r.id);
            let Some(id) = request else {
                ctx.oracle.fail(|| {
                    format!(
                        "a claim on op {}, which has no request",
                        receive.id.op.index()
                    )
                });
                return;
            };
            // Usually the copy is made before the next frame is handled.
            if !ctx.scenario.enabled.slow_copy || ctx.rng.random_bool(0.8) {
                self.copy(ctx, shard, &receive, id, frame.payload, clock_ns);
                return;
            }
            let delay_ns = ctx.host_delay();
            let bytes = frame.payload.to_vec();
            let event = ClientEvent::Copy(shard, receive, id, bytes, clock_ns);
            self.after(ctx, delay_ns, event);
        }
        self.pump(ctx, shard);
    }

    /// Copies a fragment into its request's page. The clock was read when the fragment was received.
    pub(super) fn copy(
        &mut self,
        ctx: &mut Context,
        shard: usize,
        receive: &Receive,
        id: RequestId,
        bytes: &[u8],
        then_ns: u64,
    ) {
        let request = self.requests[shard][receive.id.op.index()].as_mut();
        let Some(request) = request.filter(|request| request.id == id) else {
            ctx.oracle
                .fail(|| format!("request {id} ended while its page was copied to"));
            return;
        };
        let from = usize::from(receive.offset);
        let to = from + usize::from(receive.len);
        let is_copied = !(ctx.scenario.enabled.send_failure && ctx.rng.random_bool(0.02));
        let received = if !is_copied {
            ctx.counts.fault(Fault::CopyFailed);
            Received::Lost
        } else if bytes.len() != usize::from(receive.len) {
            ctx.oracle.fail(|| format!("{receive:?} does not fit"));
            Received::Lost
        } else if receive.filled {
            self.verify(receive, &mut bytes.to_vec())
        } else if let Some(place) = request.bytes.get_mut(from..to) {
            place.copy_from_slice(bytes);
            let mut page = std::mem::replace(&mut request.bytes, zeros());
            let received = self.verify(receive, &mut page[..]);
            if let Some(request) = &mut self.requests[shard][receive.id.op.index()] {
                request.bytes = page;
            }
            received
        } else {
            ctx.oracle.fail(|| format!("{receive:?} does not fit"));
            Received::Lost
        };
        self.shards[shard].received(then_ns, receive, received, &self.device);
        self.pump_at(ctx, shard, then_ns);
    }
}
