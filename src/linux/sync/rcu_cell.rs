// SPDX-License-Identifier: GPL-2.0

//! A box that is replaced while others read it.
//!
//! `kernel::revocable` can be taken away but not replaced, and costs the reader a flag besides.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::marker::PhantomData;

use kernel::{
    alloc::KBox,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        rcu, //
    },
};

/// At most one `T`, read under RCU.
///
/// # Invariants
///
/// `pointer` is null or was made by `KBox::into_raw`; a box that it no longer points to is freed
/// only after an RCU grace period.
pub(crate) struct RcuCell<T: Send + Sync> {
    pointer: Atomic<*mut T>,
    _p: PhantomData<KBox<T>>,
}

impl<T: Send + Sync> RcuCell<T> {
    /// A cell that holds `value`.
    pub(crate) fn new(value: Option<KBox<T>>) -> Self {
        // INVARIANT: By `into_raw`.
        Self {
            pointer: Atomic::new(into_raw(value)),
            _p: PhantomData,
        }
    }

    /// What it holds, for as long as the RCU read lock is held.
    #[inline]
    pub(crate) fn read<'a>(&'a self, _guard: &'a rcu::Guard) -> Option<&'a T> {
        // SAFETY: By the type invariant the pointer is null or to a box that, replaced or not, is
        // not freed before the read lock, whose guard lives for `'a`, is released. Acquire orders
        // the reads of the box after that of the pointer.
        unsafe { self.pointer.load(Acquire).as_ref() }
    }

    /// Puts `value` in, and returns what was there once nobody reads it any more. Sleeps.
    pub(crate) fn replace(&self, value: Option<KBox<T>>) -> Option<KBox<T>> {
        // INVARIANT: By `into_raw`; the old box goes only after the grace period below.
        let old = self.pointer.xchg(into_raw(value), Full);
        if old.is_null() {
            return None;
        }
        rcu::synchronize_rcu();
        // SAFETY: By the type invariant it was made by `into_raw`; nobody can find it any more,
        // and whoever had found it has released the read lock.
        Some(unsafe { KBox::from_raw(old) })
    }
}

fn into_raw<T>(value: Option<KBox<T>>) -> *mut T {
    value.map_or(core::ptr::null_mut(), KBox::into_raw)
}

impl<T: Send + Sync> Drop for RcuCell<T> {
    fn drop(&mut self) {
        let pointer = *self.pointer.get_mut();
        if !pointer.is_null() {
            // SAFETY: By the type invariant it was made by `into_raw`. A reader borrows the cell,
            // so there is none.
            drop(unsafe { KBox::from_raw(pointer) });
        }
    }
}
