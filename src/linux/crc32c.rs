// SPDX-License-Identifier: GPL-2.0

//! CRC32C.
//!
//! Could be removed in a release after 7.3, once the kernel crate has `crc32c`.
//!
//! C header: [`include/linux/crc32.h`](srctree/include/linux/crc32.h)

use super::helpers;

/// Updates the CRC `state` with `bytes`. The caller begins with all ones, and inverts the result.
///
/// # Examples
///
/// ```ignore
/// assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
/// ```
#[inline]
pub(crate) fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    // SAFETY: `bytes` is valid for reads of its length.
    unsafe { helpers::crc32c(state, bytes.as_ptr().cast(), bytes.len()) }
}
