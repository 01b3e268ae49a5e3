// SPDX-License-Identifier: GPL-2.0

//! This module's reference count.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use kernel::bindings;

/// A reference to this module: the module is not unloaded while it exists.
///
/// It does not delay that a module which fails to load is freed: nothing in C waits for references
/// then. So an `init` that fails must end by itself what holds a reference.
///
/// Could be removed once `kernel::module::ThisModule` has `try_get`.
///
/// # Invariants
///
/// One reference to the module belongs to this value.
///
/// # Examples
///
/// ```ignore
/// struct Command {
///     // The module stays until the command is finished.
///     _module: ModuleRef,
/// }
///
/// let command = Command {
///     _module: ModuleRef::try_get().ok_or(ENODEV)?,
/// };
/// ```
pub(crate) struct ModuleRef(());

impl ModuleRef {
    /// Takes a reference. Returns `None` if the module is being unloaded. May be called in any context.
    pub(crate) fn try_get() -> Option<Self> {
        // SAFETY: The module exists: this is its code.
        let taken = unsafe { bindings::try_module_get(Self::module()) };
        // INVARIANT: Taken above. Not `then_some`: a value that is dropped puts a reference, also one
        // that was not taken.
        taken.then(|| Self(()))
    }

    fn module() -> *mut bindings::module {
        (&raw const bindings::__this_module).cast_mut()
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The code that returns from here is not freed yet: unloading
        // waits for all contexts in which the module runs (`exit` ends them).
        unsafe { bindings::module_put(Self::module()) };
    }
}

/// Returns whether the module's `init` has succeeded and unloading has not begun.
#[inline]
pub(in crate::linux) fn is_live() -> bool {
    state() == bindings::module_state_MODULE_STATE_LIVE
}

/// Returns whether the module's `init` is under way. References do not keep the module if that fails.
#[inline]
pub(in crate::linux) fn is_coming() -> bool {
    state() == bindings::module_state_MODULE_STATE_COMING
}

fn state() -> bindings::module_state {
    // SAFETY: The module exists: this is its code. The state changes meanwhile, so it is read once.
    unsafe { (&raw const bindings::__this_module.state).read_volatile() }
}
