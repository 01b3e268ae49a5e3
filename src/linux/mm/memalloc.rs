// SPDX-License-Identifier: GPL-2.0

//! The memory that a task may allocate from.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use crate::linux::helpers;

/// Calls `f`, in which the task may allocate from the emergency reserve and does not wait for reclaim. For
/// work that frees memory, such as writing swapped pages. Process context.
///
/// Could be removed in a release after 7.3, once the kernel crate has a scope for
/// `memalloc_noreclaim_save`.
///
/// # Examples
///
/// ```ignore
/// fn write<T: EndIo>(prepared: PreparedBio<'_, T, 1>) {
///     noreclaim_scope(|| prepared.submit());
/// }
/// ```
pub(crate) fn noreclaim_scope<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: The function changes a flag of the task, which is put back below.
    let flags = unsafe { helpers::memalloc_noreclaim_save() };
    let result = f();
    // SAFETY: `flags` was returned above, in this task. Scopes nest, because calls do.
    unsafe { helpers::memalloc_noreclaim_restore(flags) };
    result
}
