// SPDX-License-Identifier: GPL-2.0

//! What follows the header of a frame between stations that have keys: it proves who sent the frame, and that
//! nothing in it was changed.
//!
//! The fields: `docs/protocol.md`, "Signatures".

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::HEADER_LEN;
use crate::aead::{NONCE_LEN, TAG_LEN};

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = core::mem::size_of::<Signature>();

/// Bytes that a frame has for a signature.
pub const fn signature_len(is_signed: bool) -> usize {
    match is_signed {
        true => SIGNATURE_LEN,
        false => 0,
    }
}

const _: () = assert!(SIGNATURE_LEN == NONCE_LEN + TAG_LEN);

/// Bytes that a tag covers before the payload: the header, and zeros up to whole blocks of the cipher.
pub const SIGNED_HEAD_LEN: usize = HEADER_LEN.next_multiple_of(16);

/// A signature. Its first fields are the nonce of its tag: a sender uses no two of one lane, counter and key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Signature {
    /// Which of the session's keys.
    pub key: u8,
    /// Which of the sender's counters.
    pub lane: u8,
    /// The counter, big-endian.
    counter: [u8; 6],
    /// Random: a sender that was rolled back repeats its counters.
    pub random: [u8; 4],
    /// The tag of the header and, unless [`super::Flags::HEADER_ONLY`] says otherwise, of the payload.
    pub tag: [u8; TAG_LEN],
}

impl Signature {
    /// The number of counters of a lane.
    pub const COUNTERS: u64 = 1 << 48;

    /// One without a tag. Of `counter` the low 48 bits count.
    #[inline]
    pub fn new(key: u8, lane: u8, counter: u64, random: [u8; 4]) -> Self {
        let [_, _, counter @ ..] = counter.to_be_bytes();
        Self {
            key,
            lane,
            counter,
            random,
            tag: [0; TAG_LEN],
        }
    }

    /// The counter.
    #[inline]
    pub fn counter(&self) -> u64 {
        let [a, b, c, d, e, f] = self.counter;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// What a tag covers before the payload.
    #[inline]
    pub fn head(header: &[u8; HEADER_LEN]) -> [u8; SIGNED_HEAD_LEN] {
        let mut head = [0; SIGNED_HEAD_LEN];
        let (place, _) = head.split_at_mut(HEADER_LEN);
        place.copy_from_slice(header);
        head
    }

    /// The nonce of the tag.
    #[inline]
    pub fn nonce(&self) -> [u8; NONCE_LEN] {
        let [a, b, c, d, e, f] = self.counter;
        let [r, s, t, u] = self.random;
        [self.key, self.lane, a, b, c, d, e, f, r, s, t, u]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_is_all_but_the_tag() {
        use zerocopy::IntoBytes;
        let signature = Signature::new(1, 2, 0x0304_0506_0708, [9, 10, 11, 12]);
        assert_eq!(signature.counter(), 0x0304_0506_0708);
        assert_eq!(signature.nonce(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(signature.nonce(), signature.as_bytes()[..NONCE_LEN]);
        let beyond = Signature::new(0, 0, Signature::COUNTERS + 5, [0; 4]);
        assert_eq!(beyond.counter(), 5);
    }
}
