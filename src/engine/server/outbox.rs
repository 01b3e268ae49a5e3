// SPDX-License-Identifier: GPL-2.0

//! Where a server sends its answers.

use crate::engine::server::store::{Page, PageSlice};
use crate::wire::MacAddress;

/// What follows an answer's header.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Bytes that are valid only during the call.
    Bytes(&'a [u8]),
    /// Bytes of the arena. An outbox may keep the slice instead of the bytes until it is flushed.
    Page(PageSlice, &'a [u8]),
}

impl<'a> Payload<'a> {
    /// No payload.
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
    /// The most frames sent while one frame or timer is handled: a page's fragments, and the
    /// acknowledgements kept before.
    const MOST: usize = 9;

    /// Sends a frame with this header, and its signature if it has one, to `destination`, or keeps it until
    /// [`Outbox::flush`].
    fn send(&mut self, destination: MacAddress, header: &[u8], payload: Payload<'_>);

    /// Sends the kept frames. `arena` holds the bytes of their [`Payload::Page`]s, which may change
    /// after this call.
    fn flush(&mut self, arena: &[Page]) {
        let _ = arena;
    }
}
