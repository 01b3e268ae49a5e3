// SPDX-License-Identifier: GPL-2.0

//! Random numbers.
//!
//! Could be removed in a release after 7.3, once the kernel crate has `get_random_bytes`.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

pub(crate) mod vmfork;

use kernel::bindings;

/// Returns `N` bytes that cannot be guessed. May be called in any context.
///
/// # Examples
///
/// ```ignore
/// let key: [u8; 16] = random_bytes();
/// ```
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: `bytes` is valid for writes of `N` bytes.
    unsafe { bindings::get_random_bytes(bytes.as_mut_ptr().cast(), N) };
    bytes
}

/// Returns a number that cannot be guessed. May be called in any context.
///
/// [`random_bytes`] has an example.
pub(crate) fn random_u64() -> u64 {
    u64::from_ne_bytes(random_bytes())
}
