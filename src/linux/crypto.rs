// SPDX-License-Identifier: GPL-2.0

//! Cryptography.

pub(crate) mod aead;
pub(crate) mod hmac;
pub(crate) mod mac;

use super::helpers;

/// Overwrites what must not stay in memory, such as a key that is no longer needed.
///
/// Could be removed in a release after 7.3, once the kernel crate has `memzero_explicit`.
///
/// # Examples
///
/// ```ignore
/// let mut secret: [u8; 32] = crate::linux::random::random_bytes();
/// let key = aead::Aead::new(&secret);
/// wipe(&mut secret);
/// ```
pub(crate) fn wipe(bytes: &mut [u8]) {
    // SAFETY: `bytes` is valid for writes of its length, and zeros are valid bytes.
    unsafe { helpers::memzero_explicit(bytes.as_mut_ptr().cast(), bytes.len()) };
}
