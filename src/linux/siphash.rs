// SPDX-License-Identifier: GPL-2.0

//! SipHash-2-4.
//!
//! Could be removed in a release after 7.3, once the kernel crate has `siphash`.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h)

use super::helpers;

/// Returns the hash of `bytes` under `key`.
///
/// # Examples
///
/// ```ignore
/// fn bucket(name: &CStr, key: [u64; 2]) -> u64 {
///     siphash(name.to_bytes(), key) % 64
/// }
/// ```
pub(crate) fn siphash(bytes: &[u8], key: [u64; 2]) -> u64 {
    // SAFETY: `bytes` is valid for reads of its length, and `siphash` needs no alignment. `siphash_key_t` is
    // an array of two words.
    unsafe { helpers::siphash(bytes.as_ptr().cast(), bytes.len(), &raw const key) }
}
