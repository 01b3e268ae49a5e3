// SPDX-License-Identifier: GPL-2.0

//! Which received frames the module takes, and which it leaves to the stack.
//!
//! Context: softirq, on any CPU, on several at the same time.

use kernel::sync::{
    aref::ARef,
    atomic::Relaxed,
    Arc, //
};

use super::{
    client::Client,
    frame_keys::{
        FrameKeys,
        Unverified, //
    },
    queue::Content,
    tx_frames::RECEIVING_CPU, //
};
use crate::{
    engine::client::frame_filter::Destination,
    linux::net::{
        device::{
            NetDevice,
            VlanTag, //
        },
        hook::{
            Receiver,
            Verdict,
            HAS_INGRESS, //
        },
        skb::RxFrame, //
    },
    wire::{
        self,
        Flags,
        Header,
        KeyReply,
        MacAddress,
        Opcode,
        HEADER_LEN, //
    },
};

/// How a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceivePath {
    /// By the interface's hook.
    Hook,
    /// By the hook of a device under it, from the emergency reserve.
    Lower,
    /// From the stack: it bypassed the hook, or was left to others there; or there is no hook.
    Stack,
}

impl ReceivePath {
    /// Returns whether the frame may have been seen before.
    pub(crate) fn may_be_second(self) -> bool {
        HAS_INGRESS && self == Self::Stack
    }
}

/// Recognises the interface's frames on a device under it. Other frames go up by the rules of the devices
/// between.
pub(super) struct Under {
    pub(super) interface: ARef<NetDevice>,
    pub(super) tag: Option<VlanTag>,
}

/// Receives the interface's frames by one of the ways.
pub(super) struct Entry {
    pub(super) client: Arc<Client>,
    pub(super) ethertype: u16,
    pub(super) path: ReceivePath,
    /// On a device under the interface.
    pub(super) under: Option<Under>,
}

impl Entry {
    #[inline]
    fn is_for_us(&self, frame: &RxFrame<'_>) -> bool {
        if frame.ethertype() != self.ethertype {
            return false;
        }
        match &self.under {
            None => frame.is_for_us() && frame.tag().is_none(),
            Some(under) => {
                frame.is_in_reserve()
                    && frame.tag() == under.tag
                    && frame.destination() == under.interface.address()
            }
        }
    }

    pub(super) fn tag(&self) -> Option<VlanTag> {
        self.under.as_ref().and_then(|under| under.tag)
    }
}

impl Receiver for Entry {
    #[inline]
    fn receive(&self, frame: RxFrame<'_>) -> Verdict {
        if !self.is_for_us(&frame) {
            return Verdict::Accept;
        }
        RECEIVING_CPU.set_current();
        self.client.receive(&frame, self.path)
    }
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
        let payload_at = wire::payload_offset(&header);
        if frame.len() < payload_at.wrapping_add(payload_len) {
            self.count_bad_frame();
            return Verdict::Stolen;
        }
        if self.shared.keys.is_some() || payload_at != HEADER_LEN {
            return self.receive_signed(frame, &buffer, &header, payload_len);
        }
        match Destination::of(&header) {
            Destination::Shard => {
                let content = Content::In(frame, HEADER_LEN);
                self.handle_data(MacAddress(frame.source()), &header, content);
            }
            Destination::Shards => self.handle_acks(frame, &header, payload_len),
            Destination::Cluster => self.handle_control(frame, header, payload_len),
            Destination::Everyone => {
                self.handle_control(frame, header, payload_len);
                return Verdict::Accept;
            }
        }
        Verdict::Stolen
    }

    /// The same, if frames are signed: takes what one of our servers has sent just now. A frame without a
    /// signature is at most a hint.
    #[inline(never)]
    fn receive_signed(
        &self,
        frame: &RxFrame<'_>,
        head: &[u8; HEADER_LEN],
        header: &Header,
        payload_len: usize,
    ) -> Verdict {
        let Some(keys) = &self.shared.keys else {
            // It cannot be verified.
            self.frames_unverified.fetch_add(1, Relaxed);
            return Verdict::Stolen;
        };
        let source = MacAddress(frame.source());
        if !header.flags.contains(Flags::SIGNED) {
            return self.take_hint(keys, frame, header, payload_len);
        }
        let taken = keys.verify(frame, head, header, payload_len, |payload| {
            if header.opcode == Opcode::KeyReply {
                return keys.keep_reply(source, header, payload, true);
            }
            match Destination::of(header) {
                // It is not in `payload`, and proves itself. It is taken below.
                Destination::Shard if header.flags.contains(Flags::HEADER_ONLY) => return true,
                Destination::Shard => self.handle_data(source, header, Content::Bytes(payload)),
                Destination::Shards => self.take_acks(source, header, payload),
                Destination::Cluster | Destination::Everyone => {
                    self.keep_control(source, *header, payload_len, |place| {
                        place.copy_from_slice(payload.get(..place.len())?);
                        Some(())
                    });
                }
            }
            false
        });
        match taken {
            Ok(true) if header.opcode == Opcode::KeyReply => self.shared.kick(),
            Ok(true) => {
                let content = Content::In(frame, wire::payload_offset(header));
                self.handle_data(source, header, content);
            }
            Ok(false) => {}
            Err(why) => {
                self.frames_unverified.fetch_add(1, Relaxed);
                if why == Unverified::Unknown && keys.note_hint(source, header.session) {
                    self.shared.kick();
                }
            }
        }
        Verdict::Stolen
    }

    /// A frame without a signature comes from the address of one of our servers.
    #[cold]
    fn take_hint(
        &self,
        keys: &FrameKeys,
        frame: &RxFrame<'_>,
        header: &Header,
        payload_len: usize,
    ) -> Verdict {
        let source = MacAddress(frame.source());
        let (is_news, verdict) = match header.opcode {
            Opcode::Announce => {
                let is_news = keys.note_announcement(source, header.incarnation);
                (is_news, Verdict::Accept)
            }
            Opcode::Reject => {
                let is_refusal = keys.note_refusal(source, header.status);
                let is_hint = keys.note_hint(source, header.session);
                (is_refusal || is_hint, Verdict::Stolen)
            }
            Opcode::KeyReply => {
                let mut bytes = [0; size_of::<KeyReply>()];
                let payload = bytes.get_mut(..payload_len).and_then(|payload| {
                    frame.copy_bytes(HEADER_LEN, payload)?;
                    Some(payload)
                });
                let is_news =
                    payload.is_some_and(|payload| keys.keep_reply(source, header, payload, false));
                (is_news, Verdict::Stolen)
            }
            _ => {
                self.frames_unverified.fetch_add(1, Relaxed);
                (false, Verdict::Stolen)
            }
        };
        if is_news {
            self.shared.kick();
        }
        verdict
    }

    /// Counts a frame with an invalid header. It is left to the stack, and may arrive a second time.
    #[cold]
    fn count_bad_header(&self, path: ReceivePath) {
        if !path.may_be_second() {
            self.count_bad_frame();
        }
    }
}
