// SPDX-License-Identifier: GPL-2.0

//! Rescheduling and preemption.
//!
//! C headers: [`include/linux/sched.h`](srctree/include/linux/sched.h),
//! [`include/linux/preempt.h`](srctree/include/linux/preempt.h)

use kernel::types::NotThreadSafe;

use super::helpers;

/// Lets other tasks run if any is waiting for the CPU. For long loops in process context.
///
/// As for any function that sleeps, the caller must hold no spinlock and not the RCU read lock.
///
/// Could be removed in a release after 7.3, once the kernel crate has `cond_resched`.
///
/// # Examples
///
/// ```ignore
/// fn sum(parts: &[KVec<u32>]) -> u32 {
///     let mut sum = 0_u32;
///     for part in parts {
///         sum = part.iter().fold(sum, |sum, value| sum.wrapping_add(*value));
///         cond_resched();
///     }
///     sum
/// }
/// ```
///
/// May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: The function may sleep, as this one may.
    unsafe { helpers::cond_resched() };
}

/// Disables preemption while it exists, whatever the kernel's preemption model is.
///
/// The task must not sleep meanwhile. On PREEMPT_RT it must not take a spinlock either.
///
/// Could be removed in a release after 7.3, once the kernel crate has a guard for `preempt_disable`; it has
/// one for interrupts (`kernel::interrupt::LocalInterruptDisabled`).
///
/// # Invariants
///
/// Preemption has been disabled once for this value, in the task that owns it.
///
/// # Examples
///
/// ```ignore
/// fn update(busy: &Atomic<u32>, entry: &Atomic<u64>, value: u64) {
///     let _guard = NoPreemption::new();
///     busy.store(1, Relaxed);
///     entry.store(value, Relaxed);
///     busy.store(0, Relaxed);
/// }
/// ```
pub(crate) struct NoPreemption(NotThreadSafe);

impl NoPreemption {
    /// Disables preemption. May be called in any context, and nests.
    #[allow(clippy::new_without_default, reason = "a guard is not made by default")]
    #[inline]
    pub(crate) fn new() -> Self {
        // SAFETY: The function has no requirements.
        unsafe { helpers::preempt_disable() };
        // INVARIANT: Disabled above; the type is not `Send`.
        Self(NotThreadSafe)
    }
}

impl Drop for NoPreemption {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant preemption has been disabled for this value, in this task.
        unsafe { helpers::preempt_enable() };
    }
}
