// SPDX-License-Identifier: GPL-2.0

//! Time.

pub(crate) mod hrtimer;

use core::ptr::addr_of;

use kernel::bindings;

/// Returns the number of timer ticks since the machine was started, from an offset on. May be called in any
/// context.
///
/// Could be removed in a release after 7.3, once the kernel crate has `jiffies`.
///
/// # Examples
///
/// ```ignore
/// let is_same_tick = jiffies() == jiffies();
/// ```
#[inline]
pub(crate) fn jiffies() -> u64 {
    // SAFETY: The counter is always there. It is read once, as `READ_ONCE` does.
    unsafe { addr_of!(bindings::jiffies).read_volatile() as u64 }
}
