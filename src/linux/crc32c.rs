// SPDX-License-Identifier: GPL-2.0

//! The kernel's CRC32C.
//!
//! C header: [`include/linux/crc32.h`](srctree/include/linux/crc32.h)

use super::helpers;

/// Extends the raw CRC register `state` (begun as all ones, inverted at the end, both by the
/// caller) over `bytes`.
#[inline]
pub(crate) fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    // SAFETY: `bytes` is valid for reads of its length.
    unsafe { helpers::crc32c(state, bytes.as_ptr().cast(), bytes.len()) }
}
