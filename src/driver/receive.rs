// SPDX-License-Identifier: GPL-2.0

//! Checks the bytes of received frames that are ours, and passes them to the queue or to the cluster.
//!
//! Context: softirq, on any CPU, on several at the same time.

use kernel::prelude::*;

use super::{
    client::Client,
    queue::Content, //
};
use crate::{
    engine::client::{
        cluster::LISTED_PAGES,
        ids::shard_of_tag,
        inbox::{
            self,
            Waiting,
            INBOX_FRAMES, //
        }, //
    },
    linux::net::skb::RxFrame,
    wire::{
        self,
        Ack,
        Frame,
        Header,
        MacAddress,
        Opcode,
        HEADER_LEN,
        MAX_ACKS,
        PADDING,
        PAGE_SIZE, //
    },
};

use kernel::sync::atomic::Relaxed;
use zerocopy::FromBytes;

/// Bytes kept of a control frame's payload: the longest that a server sends, an inventory reply.
const CONTROL_PAYLOAD: usize =
    size_of::<wire::InventoryReply>() + LISTED_PAGES * size_of::<wire::PageVersion>();

/// A control frame, kept for the worker.
#[derive(Clone)]
pub(crate) struct ControlFrame {
    pub(crate) source: MacAddress,
    header: Header,
    payload: [u8; CONTROL_PAYLOAD],
    payload_len: usize,
}

impl ControlFrame {
    /// The frame, in the engine's form. A payload that was not kept is that of a PONG to a probe.
    pub(crate) fn frame(&self) -> Frame<'_> {
        let len = self.payload_len;
        let payload = self.payload.get(..len).or_else(|| PADDING.get(..len));
        Frame {
            header: self.header,
            payload: payload.unwrap_or(&PADDING),
        }
    }
}

impl Waiting for ControlFrame {
    fn announces(&self) -> Option<MacAddress> {
        (self.header.opcode == Opcode::Announce).then_some(self.source)
    }
}

/// Received control frames.
pub(crate) type Inbox = inbox::Inbox<KVVec<Option<ControlFrame>>>;

/// An empty inbox.
pub(super) fn empty_inbox() -> Result<Inbox> {
    let frames = KVVec::from_elem(None, INBOX_FRAMES, GFP_KERNEL)?;
    Ok(Inbox::new(frames))
}

impl Client {
    /// `payload` is what follows the frame's header.
    #[inline]
    pub(super) fn handle_data(&self, source: MacAddress, header: &Header, payload: Content<'_>) {
        match self.queues.get(shard_of_tag(header.tag)) {
            Some(queue) => queue.receive(&self.shared, source, header, payload),
            None => self.count_bad_frame(),
        }
    }

    pub(super) fn handle_acks(&self, frame: &RxFrame<'_>, header: &Header, payload_len: usize) {
        let mut buffer = [0; size_of::<Ack>() * MAX_ACKS];
        let payload = buffer.get_mut(..payload_len).and_then(|payload| {
            frame.copy_bytes(HEADER_LEN, payload)?;
            Some(payload)
        });
        match payload {
            Some(payload) => self.take_acks(MacAddress(frame.source()), header, payload),
            None => self.count_bad_frame(),
        }
    }

    /// Passes acknowledgements to their queues.
    pub(super) fn take_acks(&self, source: MacAddress, header: &Header, payload: &[u8]) {
        let acks = (crate::crc::crc32c(payload) == header.payload_crc)
            .then(|| <[Ack]>::ref_from_bytes(payload).ok())
            .flatten();
        let Some(mut acks) = acks else {
            self.count_bad_frame();
            return;
        };
        // Acknowledgements for one queue usually follow one another; its lock is taken once for them.
        while let Some(first) = acks.first() {
            let number = shard_of_tag(first.tag.get());
            let count = acks
                .iter()
                .take_while(|ack| shard_of_tag(ack.tag.get()) == number)
                .count();
            let Some((these, others)) = acks.split_at_checked(count) else {
                return;
            };
            match self.queues.get(number) {
                Some(queue) => queue.acknowledged(&self.shared, source, header, these),
                None => self.count_bad_frame(),
            }
            acks = others;
        }
    }

    pub(super) fn handle_control(&self, frame: &RxFrame<'_>, header: Header, payload_len: usize) {
        let copy = |payload: &mut [u8]| frame.copy_bytes(HEADER_LEN, payload);
        self.keep_control(MacAddress(frame.source()), header, payload_len, copy);
    }

    /// Keeps a control frame for the worker. `copy` fills a buffer with its payload.
    pub(super) fn keep_control(
        &self,
        source: MacAddress,
        header: Header,
        payload_len: usize,
        copy: impl FnOnce(&mut [u8]) -> Option<()>,
    ) {
        let mut control = ControlFrame {
            source,
            header,
            payload: [0; CONTROL_PAYLOAD],
            payload_len,
        };
        if let Some(payload) = control.payload.get_mut(..payload_len) {
            let intact =
                copy(payload).is_some() && crate::crc::crc32c(payload) == header.payload_crc;
            if !intact {
                self.count_bad_frame();
                return;
            }
        } else if header.opcode != Opcode::Pong || payload_len > PAGE_SIZE {
            // Only a reply to a probe is longer, and only its length matters.
            self.count_bad_frame();
            return;
        }
        if !self.inbox.lock().put(control) {
            self.frames_dropped.fetch_add(1, Relaxed);
        }
        self.shared.kick();
    }
}
