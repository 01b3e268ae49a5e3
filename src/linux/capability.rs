// SPDX-License-Identifier: GPL-2.0

//! Capabilities of the calling task.
//!
//! Could be removed in a release after 7.3, once the kernel crate has `capable`.
//!
//! C header: [`include/linux/capability.h`](srctree/include/linux/capability.h)

use kernel::{
    bindings,
    prelude::*, //
};

/// A capability.
///
/// [`capable`] has an example.
///
/// # Invariants
///
/// The value is one of the kernel's `CAP_` constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capability(u32);

impl Capability {
    /// The right to administer the system (`CAP_SYS_ADMIN`).
    // INVARIANT: One of the constants.
    pub(crate) const SYS_ADMIN: Self = Self(bindings::CAP_SYS_ADMIN);
}

/// Returns whether the calling task has the capability in the initial user namespace, and notes that the
/// task has used it. For process context.
///
/// # Examples
///
/// ```ignore
/// if !capable(Capability::SYS_ADMIN) {
///     return Err(EPERM);
/// }
/// ```
pub(crate) fn capable(capability: Capability) -> bool {
    // SAFETY: The function only reads the credentials of the current task. By the type invariant the
    // capability is valid.
    unsafe { bindings::capable(capability.0 as c_int) }
}
