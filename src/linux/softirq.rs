// SPDX-License-Identifier: GPL-2.0

//! Keeping softirqs off the calling CPU.
//!
//! C header: [`include/linux/bottom_half.h`](srctree/include/linux/bottom_half.h)

use kernel::types::NotThreadSafe;

use super::helpers;

/// While it lives, the calling CPU runs no softirq, but those that it is in; what is raised
/// meanwhile is run when the last one goes. The task stays on its CPU, and must not sleep.
pub(crate) struct NoSoftirqs(NotThreadSafe);

impl NoSoftirqs {
    /// From now on. With interrupts enabled, and not in a hard interrupt.
    #[inline]
    pub(crate) fn new() -> Self {
        // SAFETY: No requirements. It nests, and `drop` undoes it on the same CPU.
        unsafe { helpers::local_bh_disable() };
        Self(NotThreadSafe)
    }
}

impl Drop for NoSoftirqs {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `new` has disabled them, in this task.
        unsafe { helpers::local_bh_enable() };
    }
}
