// SPDX-License-Identifier: GPL-2.0

//! Random numbers.
//!
//! Could be removed in a release after 7.3, once the kernel crate has `get_random_bytes`.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

pub(crate) mod vmfork;

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

use super::helpers;

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

/// Waits until the kernel's random generator has been seeded: what [`random_bytes`] returns before that may
/// be guessed. Sleeps. A signal ends the wait (`ERESTARTSYS`).
///
/// # Examples
///
/// ```ignore
/// wait_for_random_bytes()?;
/// let key: [u8; 32] = random_bytes();
/// ```
pub(crate) fn wait_for_random_bytes() -> Result {
    // SAFETY: The function has no requirements. It sleeps, as this one says.
    to_result(unsafe { bindings::wait_for_random_bytes() })
}

/// Bytes of [`fresh_bytes`].
pub(crate) const FRESH_LEN: usize = 32;

/// Fills `bytes` with what cannot be guessed, and what no other instance of this machine gets: one that was
/// made from the same snapshot or hibernation image has the random generator in the same state. May be called
/// in any context but hard interrupt.
///
/// # Examples
///
/// ```ignore
/// let mut key = [0; FRESH_LEN];
/// fresh_bytes(&mut key);
/// ```
pub(crate) fn fresh_bytes(bytes: &mut [u8; FRESH_LEN]) {
    // SAFETY: `bytes` is valid for writes of as many bytes as the helper writes.
    unsafe { helpers::fresh_bytes(bytes.as_mut_ptr()) };
}

/// Returns a number of [`fresh_bytes`].
pub(crate) fn fresh_u64() -> u64 {
    let mut bytes = [0; FRESH_LEN];
    fresh_bytes(&mut bytes);
    let [a, b, c, d, e, f, g, h, ..] = bytes;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Returns a number that another instance of this machine, made from the same snapshot or hibernation image,
/// hardly gets as well. It may be guessed. May be called in any context.
///
/// # Examples
///
/// ```ignore
/// let nonce = (1_u64, burst_noise() ^ cycles());
/// ```
pub(crate) fn burst_noise() -> u32 {
    // SAFETY: The helper has no requirements.
    unsafe { helpers::burst_noise() }
}

/// Returns the low bits of the processor's cycle counter, or of another one if it has none. May be called in
/// any context.
///
/// [`burst_noise`] has an example.
#[inline]
pub(crate) fn cycles() -> u32 {
    // SAFETY: The helper has no requirements.
    unsafe { helpers::cycles() }
}

/// Returns a number that cannot be guessed. May be called in any context.
///
/// [`random_bytes`] has an example.
pub(crate) fn random_u64() -> u64 {
    u64::from_ne_bytes(random_bytes())
}
