// SPDX-License-Identifier: GPL-2.0

//! Where a server's answers go.

use crate::engine::server::store::{Page, PageSlice};
use crate::wire::{MacAddress, HEADER_LEN};

/// What follows an answer's header.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Bytes that are only there during the call.
    Bytes(&'a [u8]),
    /// Bytes of the arena. An outbox may keep the slice instead of the bytes until it is flushed.
    Page(PageSlice, &'a [u8]),
}

impl<'a> Payload<'a> {
    /// Nothing.
    pub const EMPTY: Self = Self::Bytes(&[]);

    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) | Self::Page(_, bytes) => bytes,
        }
    }
}

/// Takes frames to be sent.
pub trait Outbox {
    /// Frames that the handling of one frame, or of a timer, adds at the most: a page's fragments,
    /// and acknowledgements kept from before.
    const MOST: usize = 9;

    /// Sends a frame, or keeps it until [`Outbox::flush`]: to `destination`, with this header.
    fn send(&mut self, destination: MacAddress, header: &[u8; HEADER_LEN], payload: Payload<'_>);

    /// Sends what was kept. `arena` is what the [`Payload::Page`]s of before are slices of; after
    /// this call, their bytes may change.
    fn flush(&mut self, arena: &[Page]) {
        let _ = arena;
    }
}
