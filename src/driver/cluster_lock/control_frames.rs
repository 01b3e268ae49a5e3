// SPDX-License-Identifier: GPL-2.0

//! The control frames that the cluster sends: collected under its lock, and sent without it.
//!
//! Context: process.

use kernel::prelude::*;

use crate::{
    driver::{
        shared::Shared,
        storage::make_vec,
        tx_frames::TxFrame, //
    },
    engine::{
        channel::client::Outgoing,
        client::cluster::Outbox, //
    },
    wire::{
        Header,
        MacAddress,
        PADDING,
        PAGE_SIZE,
        SIGNATURE_LEN, //
    },
};

/// The most payload of a control frame, except for probes above the usual MTU of 1500 bytes: a
/// fragment that fits it, or a full FREE.
const PAYLOAD: usize = 1368;

/// Control frames that may be sent at a time. Others are lost, and sent again later.
const STAGED_FRAMES: usize = 48;

/// The same for probes of jumbo frames.
const LONG_FRAMES: usize = 4;

/// A frame to be sent.
struct Staged {
    destination: MacAddress,
    header: Header,
    payload: [u8; PAYLOAD],
    /// A length above the room stands for zeros: a probe.
    len: usize,
    is_held: bool,
}

impl Staged {
    fn payload(&self) -> &[u8] {
        let payload = self.payload.get(..self.len);
        payload.unwrap_or_else(|| PADDING.get(..self.len).unwrap_or(&PADDING))
    }
}

/// Frames that the cluster wants sent.
pub(super) struct StagedFrames(KVVec<Staged>);

impl StagedFrames {
    /// None, with room for as many as are sent at a time.
    pub(super) fn new() -> Result<Self> {
        Ok(Self(KVVec::with_capacity(STAGED_FRAMES, GFP_KERNEL)?))
    }

    /// Takes the frames and their memory: until it is given back there is no room for others.
    pub(super) fn take(&mut self) -> Self {
        core::mem::replace(self, Self(KVVec::new()))
    }

    /// Decides of each frame whether it is sent.
    pub(super) fn sort(
        &mut self,
        mut outgoing: impl FnMut(MacAddress, &Header, &[u8]) -> Outgoing,
    ) {
        for staged in &mut self.0 {
            let decided = outgoing(staged.destination, &staged.header, staged.payload());
            staged.is_held = decided == Outgoing::Held;
        }
    }

    /// Gives the memory back that was taken.
    pub(super) fn give_back(&mut self, mut taken: Self) {
        if self.0.capacity() < taken.0.capacity() {
            for staged in self.0.drain_all() {
                let _ = taken.0.push_within_capacity(staged);
            }
            *self = taken;
        }
    }
}

impl Outbox for StagedFrames {
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]) {
        let mut staged = Staged {
            destination,
            header: *header,
            payload: [0; PAYLOAD],
            len: payload.len(),
            is_held: false,
        };
        if let Some(bytes) = staged.payload.get_mut(..payload.len()) {
            bytes.copy_from_slice(payload);
        }
        // A frame without room is lost.
        let _ = self.0.push_within_capacity(staged);
    }
}

/// Frames that are allocated for sending.
pub(super) struct Sender {
    short: KVec<TxFrame>,
    long: KVec<TxFrame>,
}

impl Sender {
    /// Allocates the frames.
    pub(super) fn new() -> Result<Self> {
        // CAST: both fit 16 bits.
        Ok(Self {
            short: make_vec(STAGED_FRAMES, || {
                TxFrame::new((PAYLOAD + SIGNATURE_LEN) as u16)
            })?,
            long: make_vec(LONG_FRAMES, || {
                TxFrame::new((PAGE_SIZE + SIGNATURE_LEN) as u16)
            })?,
        })
    }

    /// Sends the frames. None are left.
    pub(super) fn send(&mut self, shared: &Shared, frames: &mut StagedFrames) {
        for staged in frames.0.iter().filter(|staged| !staged.is_held) {
            let pool = match staged.len <= PAYLOAD {
                true => &mut self.short,
                false => &mut self.long,
            };
            // None is free only if the interface holds very many back: the frame is lost, as on the
            // wire.
            if let Some(frame) = pool.iter_mut().find(|frame| !frame.is_busy()) {
                let (to, header) = (staged.destination, &staged.header);
                let keys = shared.keys.as_deref();
                shared
                    .link
                    .send_control(frame, to, header, staged.payload(), keys);
            }
        }
        frames.0.clear();
    }
}
