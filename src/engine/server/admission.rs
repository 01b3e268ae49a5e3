// SPDX-License-Identifier: GPL-2.0

//! What a server asks its host when a client says hello.

use crate::wire::{ClientId, MacAddress};
use zerocopy::byteorder::big_endian::U64;
use zerocopy_derive::{Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a cookie is good for. Its bytes are what a keyed hash is to be computed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CookieClaim {
    /// Who wants a session.
    pub client: ClientId,
    /// Which session.
    pub session: U64,
    /// This server.
    pub incarnation: U64,
    /// Changes when a session of this client begins, moves or ends: an older cookie is worthless.
    pub epoch: U64,
    /// From where.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

/// A host's answers.
pub trait Admission {
    /// A hash of the claim under a key that only this server knows.
    fn cookie(&self, claim: &CookieClaim) -> u64;

    /// A number that nobody could have known before.
    fn nonce(&mut self) -> u64;

    /// Whether this client may have a session.
    fn admits(&self, client: ClientId, mac: MacAddress) -> bool;
}
