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
        MacAddress,
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
}
