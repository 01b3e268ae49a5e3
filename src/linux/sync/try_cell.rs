// SPDX-License-Identifier: GPL-2.0

//! A value that one context at a time may use; whoever comes second is told so, and never waits.

use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
};

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};

/// A value that can be taken if nobody else has it. Any context.
pub(crate) struct TryCell<T> {
    taken: Atomic<u32>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes from one context to the other, as through a lock.
unsafe impl<T: Send> Send for TryCell<T> {}
// SAFETY: `try_lock` gives access to one at a time, by `taken`.
unsafe impl<T: Send> Sync for TryCell<T> {}

impl<T> TryCell<T> {
    /// A cell with `value`, which nobody has.
    pub(crate) fn new(value: T) -> Self {
        Self {
            taken: Atomic::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the value, unless somebody else has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<TryGuard<'_, T>> {
        (self.taken.xchg(1, Acquire) == 0).then_some(TryGuard(self))
    }
}

/// The value, for as long as this lives.
///
/// # Invariants
///
/// The cell is taken, by this guard only.
pub(crate) struct TryGuard<'a, T>(&'a TryCell<T>);

impl<T> Deref for TryGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariant nobody else has the value.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for TryGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant nobody else has the value.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for TryGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.taken.store(0, Release);
    }
}
