// SPDX-License-Identifier: GPL-2.0

//! Giving the CPU to others, and keeping it.
//!
//! C header: [`include/linux/preempt.h`](srctree/include/linux/preempt.h)

use kernel::types::NotThreadSafe;

use super::helpers;

/// Lets others run who want to. Process context, no lock held, to be called in long loops.
pub(crate) fn cond_resched() {
    // SAFETY: Process context, as the caller sees to.
    unsafe { helpers::cond_resched() };
}

/// While it lives, the calling task is not preempted, whatever the kernel's kind of preemption: what
/// others wait for without a lock is over soon. It must not sleep, nor, for PREEMPT_RT, take a lock.
pub struct NoPreemption(NotThreadSafe);

impl NoPreemption {
    /// From now on. Any context.
    #[allow(clippy::new_without_default, reason = "a guard is not made by default")]
    #[inline]
    pub fn new() -> Self {
        // SAFETY: No requirements. It nests, and `drop` undoes it in the same task.
        unsafe { helpers::preempt_disable() };
        Self(NotThreadSafe)
    }
}

impl Drop for NoPreemption {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `new` has disabled it, in this task.
        unsafe { helpers::preempt_enable() };
    }
}
