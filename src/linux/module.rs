// SPDX-License-Identifier: GPL-2.0

//! A module's state and its reference count.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use kernel::{
    bindings,
    prelude::*, //
};

/// A reference to a module: the module is not unloaded while it exists.
///
/// It does not delay that a module which fails to load is freed: nothing in C waits for references
/// then. So an `init` that fails must end by itself what holds a reference.
///
/// Could be removed in a release after 7.3, once `kernel::module::ThisModule` has `try_get`.
///
/// # Invariants
///
/// One reference to the module belongs to the value.
///
/// # Examples
///
/// ```ignore
/// struct Command {
///     // The module stays until the command is finished.
///     _module: ModuleRef,
/// }
///
/// fn begin(module: &'static ThisModule) -> Result<Command> {
///     Ok(Command {
///         _module: ModuleRef::try_get(module).ok_or(ENODEV)?,
///     })
/// }
/// ```
pub(crate) struct ModuleRef(&'static ThisModule);

impl ModuleRef {
    /// Takes a reference. Returns `None` if the module is being unloaded. May be called in any context.
    pub(crate) fn try_get(module: &'static ThisModule) -> Option<Self> {
        // SAFETY: A `ThisModule` is null, which the function allows, or refers to a module whose code runs.
        let taken = unsafe { bindings::try_module_get(module.as_ptr()) };
        // INVARIANT: Taken above. Not `then_some`: a value that is dropped puts a reference, also one
        // that was not taken.
        taken.then(|| Self(module))
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference belongs to this value. Code of the module still returns
        // from here. That is no matter of the reference, which only delays `exit`: whatever calls the module
        // (a work queue, a timer, an open file) is ended or waited for by the drop of its own wrapper.
        unsafe { bindings::module_put(self.0.as_ptr()) };
    }
}

/// Returns whether the module's `init` has succeeded and unloading has not begun.
#[inline]
pub(in crate::linux) fn is_live(module: &ThisModule) -> bool {
    state(module) == bindings::module_state_MODULE_STATE_LIVE
}

/// Returns whether the module's `init` is under way. References do not keep the module if that fails.
#[inline]
pub(in crate::linux) fn is_coming(module: &ThisModule) -> bool {
    state(module) == bindings::module_state_MODULE_STATE_COMING
}

fn state(module: &ThisModule) -> bindings::module_state {
    if module.as_ptr().is_null() {
        // It is built in.
        return bindings::module_state_MODULE_STATE_LIVE;
    }
    // SAFETY: A `ThisModule` refers to a module whose code runs. The state changes meanwhile, so it is read
    // once.
    unsafe { (&raw const (*module.as_ptr()).state).read_volatile() }
}
