// SPDX-License-Identifier: GPL-2.0

//! This module's own use count.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use kernel::bindings;

/// A reference to this module: it cannot be unloaded while this lives.
///
/// # Invariants
///
/// A reference was taken, which is this value's to put.
pub(crate) struct ModuleRef(());

impl ModuleRef {
    /// Takes one, unless the module is being unloaded already. Any context.
    pub(crate) fn try_get() -> Option<Self> {
        // SAFETY: The module is live: this is its code.
        let taken = unsafe { bindings::try_module_get(Self::module()) };
        // INVARIANT: Taken just now. (Not `then_some`: what that drops would put what was not taken.)
        taken.then(|| Self(()))
    }

    fn module() -> *mut bindings::module {
        (&raw const bindings::__this_module).cast_mut()
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Whoever runs this is waited for when the module is
        // unloaded, as for all that it does.
        unsafe { bindings::module_put(Self::module()) };
    }
}
