// SPDX-License-Identifier: GPL-2.0

//! The memory that a task may allocate from.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

use crate::linux::helpers;

/// While this exists, the task that made it may allocate from the emergency reserve and does not wait for
/// reclaim. For work that frees memory, such as writing swapped pages.
///
/// Could be removed once the kernel crate has a guard for `memalloc_noreclaim_save`.
///
/// # Invariants
///
/// `flags` is what `memalloc_noreclaim_save` returned in this task.
///
/// # Examples
///
/// ```ignore
/// fn write<T: EndIo>(prepared: PreparedBio<'_, T, 1>) {
///     let _reserve = NoReclaim::new();
///     prepared.submit();
/// }
/// ```
pub(crate) struct NoReclaim {
    flags: c_uint,
    _p: NotThreadSafe,
}

impl NoReclaim {
    /// Begins the scope. Process context.
    pub(crate) fn new() -> Self {
        // SAFETY: The function has no requirements for memory safety.
        let flags = unsafe { helpers::memalloc_noreclaim_save() };
        // INVARIANT: Returned above; the type is not `Send`.
        Self {
            flags,
            _p: NotThreadSafe,
        }
    }
}

impl Drop for NoReclaim {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, in the same task.
        unsafe { helpers::memalloc_noreclaim_restore(self.flags) };
    }
}
