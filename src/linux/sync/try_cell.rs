// SPDX-License-Identifier: GPL-2.0

//! A value that one context at a time may use, without waiting for it.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
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

/// A value that can be locked only if it is not locked already. Any context may try.
///
/// A [`SpinLock`] differs in that it waits, and that it must be held for a short time and without
/// sleeping. While a [`TryGuard`] exists, the task may sleep.
///
/// Could be removed in a release after 7.3, once the kernel crate has a lock with `trylock` for all
/// contexts; its `Lock::try_lock` disables preemption or sleeps, as the lock's backend does.
///
/// # Invariants
///
/// `value` is accessed only through the [`TryGuard`] of the `xchg` that changed `taken` from 0 to 1.
///
/// # Examples
///
/// ```ignore
/// let scratch = TryCell::new([0_u8; 64]);
///
/// match scratch.try_lock() {
///     Some(mut bytes) => bytes[0] = 1,
///     None => pr_debug!("in use\n"),
/// }
/// ```
///
/// [`SpinLock`]: kernel::sync::SpinLock
pub(crate) struct TryCell<T> {
    taken: Atomic<u32>,
    value: UnsafeCell<T>,
}

// SAFETY: The value belongs to no thread if `T` is `Send`.
unsafe impl<T: Send> Send for TryCell<T> {}
// SAFETY: By the type invariant one guard at a time gives access to the value, so sharing the cell
// passes the value from thread to thread, for which `T` is `Send`.
unsafe impl<T: Send> Sync for TryCell<T> {}

impl<T> TryCell<T> {
    /// Returns an unlocked cell that holds `value`.
    pub(crate) const fn new(value: T) -> Self {
        // INVARIANT: There is no guard yet.
        Self {
            taken: Atomic::<u32>::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Locks the value, unless it is locked already.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<TryGuard<'_, T>> {
        // Not `then_some`: a guard that is dropped unlocks the cell, also one that was never returned.
        // INVARIANT: `taken` was 0 and is 1 now. `Acquire` pairs with `Release` in `drop`.
        (self.taken.xchg(1, Acquire) == 0).then(|| TryGuard {
            cell: self,
            _p: PhantomData,
        })
    }
}

/// Access to the value of a [`TryCell`]. Dropping the guard unlocks the cell. Could be removed with the cell.
///
/// [`TryCell`] has an example.
///
/// # Invariants
///
/// The cell is locked, by this guard.
#[must_use = "the cell is unlocked when the guard is dropped"]
pub(crate) struct TryGuard<'a, T> {
    cell: &'a TryCell<T>,
    /// `&TryGuard` gives `&T`, so the guard is `Sync` only if `T` is.
    _p: PhantomData<&'a mut T>,
}

impl<T> Deref for TryGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants only this guard gives access to the value.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> DerefMut for TryGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`; the guard is borrowed mutably.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for TryGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.cell.taken.store(0, Release);
    }
}
