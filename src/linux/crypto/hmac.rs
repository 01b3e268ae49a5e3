// SPDX-License-Identifier: GPL-2.0

//! HMAC-SHA256 (RFC 2104, FIPS 198-1).
//!
//! Could be removed in a release after 7.3, once the kernel crate has `hmac_sha256_usingrawkey`.
//!
//! C header: [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h)

use crate::linux::helpers;

/// Returns the HMAC-SHA256 of `data` under `key`. A shorter key, filled up with zeros, has the same.
///
/// It may be called in any context but NMIs: where the vector registers are not to be had, it does without
/// them. Elsewhere on x86 it takes them as [`aead`](super::aead) does, so softirqs, or with PREEMPT_RT
/// preemption, are disabled for as long as `data` takes. It neither allocates nor sleeps, and leaves nothing
/// of the key behind.
///
/// # Examples
///
/// ```ignore
/// fn key_of(secret: &[u8; 32], name: &CStr) -> [u8; 32] {
///     hmac_sha256(secret, name.to_bytes())
/// }
/// ```
pub(crate) fn hmac_sha256(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    let mut mac = [0; 32];
    // SAFETY: `key` and `data` are valid for reads of their lengths, and `mac` for writes of the 32 bytes of
    // a SHA-256. The function needs no alignment.
    unsafe {
        helpers::hmac_sha256_usingrawkey(
            key.as_ptr(),
            key.len(),
            data.as_ptr(),
            data.len(),
            mac.as_mut_ptr(),
        )
    };
    mac
}

#[cfg(test)]
mod tests;
