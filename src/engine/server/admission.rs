// SPDX-License-Identifier: GPL-2.0

//! What a server asks its host when it receives a HELLO.

use crate::wire::{ClientId, MacAddress};
use zerocopy::byteorder::big_endian::U64;
use zerocopy_derive::{Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a cookie is valid for. The keyed hash is computed over its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CookieClaim {
    /// The client that requests a session.
    pub client: ClientId,
    /// The session's number.
    pub session: U64,
    /// The server's incarnation.
    pub incarnation: U64,
    /// Changes when a session of this client begins, moves or ends, which invalidates older cookies.
    pub epoch: U64,
    /// The client's address.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

/// A host's decisions and secrets.
pub trait Admission {
    /// A hash of the claim under a key that only this server knows.
    fn cookie(&self, claim: &CookieClaim) -> u64;

    /// An unpredictable number.
    fn nonce(&mut self) -> u64;

    /// Pages that this client may keep, if that is another number than for all.
    fn quota_pages(&self, client: ClientId) -> Option<u64> {
        let _ = client;
        None
    }

    /// Whether this client may have a session.
    fn admits(&self, client: ClientId, mac: MacAddress) -> bool;
}
