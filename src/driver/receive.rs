// SPDX-License-Identifier: GPL-2.0

//! Checks received frames, and passes them to the queue or to the cluster.
//!
//! Context: softirq, on any CPU, on several at the same time.

use kernel::prelude::*;

use super::{
    client::Client,
    ingress::ReceivePath, //
};
use crate::{
    engine::client::{
        cluster::LISTED_PAGES,
        frame_filter::Destination,
        ids::shard_of_tag,
        inbox::{
            self,
            Waiting,
            INBOX_FRAMES, //
        }, //
    },
    linux::net::{
        hook::Verdict,
        skb::RxFrame, //
    },
    wire::{
        self,
        Ack,
        Flags,
        Frame,
        Header,
        MacAddress,
        Opcode,
        HEADER_LEN,
        MAX_ACKS,
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

/// The payload of a PONG to a long PING, which is not kept.
static PADDING: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

impl ControlFrame {
    /// The frame, in the engine's form.
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
    /// Takes a frame of the EtherType if only this client can want it: if one of its servers sends it, in
    /// its session. Others see the rest, a server on this machine among them: requests, announcements, and
    /// frames that cannot be parsed.
    #[inline]
    pub(super) fn receive(&self, frame: &RxFrame<'_>, path: ReceivePath) -> Verdict {
        let mut buffer = [0; HEADER_LEN];
        let bytes = frame.header(&mut buffer);
        if bytes.is_some_and(wire::is_request) {
            return Verdict::Accept;
        }
        let Some((header, payload_len)) = bytes.and_then(|bytes| wire::parse_header(bytes).ok())
        else {
            self.count_bad_header(path);
            return Verdict::Accept;
        };
        let filter = &self.shared.device.frame_filter;
        // Checked before the frame takes time or room.
        if !filter.concerns_us(MacAddress(frame.source()), &header) {
            if !path.may_be_second() {
                self.frames_foreign.fetch_add(1, Relaxed);
            }
            return Verdict::Accept;
        }
        if frame.is_in_reserve() {
            self.frames_from_reserve.fetch_add(1, Relaxed);
            if path == ReceivePath::Lower {
                self.frames_from_below.fetch_add(1, Relaxed);
            }
        }
        let payload_len = usize::from(payload_len);
        if frame.len() < HEADER_LEN.wrapping_add(payload_len) {
            self.count_bad_frame();
            return Verdict::Stolen;
        }
        match Destination::of(&header) {
            Destination::Shard => self.handle_data(frame, &header),
            Destination::Shards => self.handle_acks(frame, &header, payload_len),
            Destination::Cluster => self.handle_control(frame, header, payload_len),
            Destination::Everyone => {
                self.handle_control(frame, header, payload_len);
                return Verdict::Accept;
            }
        }
        Verdict::Stolen
    }

    /// Counts a frame with an invalid header. It is left to the stack, and may arrive a second time.
    #[cold]
    fn count_bad_header(&self, path: ReceivePath) {
        if !path.may_be_second() {
            self.count_bad_frame();
        }
    }

    #[inline]
    fn handle_data(&self, frame: &RxFrame<'_>, header: &Header) {
        let mut fill = None;
        if header.flags.contains(Flags::SAME_FILLED) {
            let mut bytes = [0; 8];
            if frame.copy_bytes(HEADER_LEN, &mut bytes).is_none()
                || crate::crc::crc32c(&bytes) != header.payload_crc
            {
                self.count_bad_frame();
                return;
            }
            fill = Some(u64::from_ne_bytes(bytes));
        }
        match self.queues.get(shard_of_tag(header.tag)) {
            Some(queue) => queue.receive(&self.shared, frame, header, fill),
            None => self.count_bad_frame(),
        }
    }

    fn handle_acks(&self, frame: &RxFrame<'_>, header: &Header, payload_len: usize) {
        let mut buffer = [0; size_of::<Ack>() * MAX_ACKS];
        let acks = buffer
            .get_mut(..payload_len)
            .filter(|payload| payload.len() % size_of::<Ack>() == 0)
            .and_then(|payload| {
                frame.copy_bytes(HEADER_LEN, payload)?;
                (crate::crc::crc32c(payload) == header.payload_crc).then_some(payload)
            })
            .and_then(|payload| <[Ack]>::ref_from_bytes(payload).ok());
        let Some(mut acks) = acks else {
            self.count_bad_frame();
            return;
        };
        let source = MacAddress(frame.source());
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

    fn handle_control(&self, frame: &RxFrame<'_>, header: Header, payload_len: usize) {
        let mut control = ControlFrame {
            source: MacAddress(frame.source()),
            header,
            payload: [0; CONTROL_PAYLOAD],
            payload_len,
        };
        if let Some(payload) = control.payload.get_mut(..payload_len) {
            let intact = frame.copy_bytes(HEADER_LEN, payload).is_some()
                && crate::crc::crc32c(payload) == header.payload_crc;
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
