// SPDX-License-Identifier: GPL-2.0

//! SipHash-2-4.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h)

use super::helpers;

/// The hash of `bytes` under `key`.
pub(crate) fn siphash(bytes: &[u8], key: [u64; 2]) -> u64 {
    let [key0, key1] = key;
    // SAFETY: `bytes` is valid for reads of its length.
    unsafe { helpers::siphash(bytes.as_ptr().cast(), bytes.len(), key0, key1) }
}
