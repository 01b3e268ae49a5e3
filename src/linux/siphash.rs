// SPDX-License-Identifier: GPL-2.0

//! SipHash-2-4.
//!
//! Could be removed once the kernel crate has `siphash`.
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
    let [key0, key1] = key;
    // SAFETY: `bytes` is valid for reads of its length, and `siphash` needs no alignment.
    unsafe { helpers::siphash(bytes.as_ptr().cast(), bytes.len(), key0, key1) }
}
