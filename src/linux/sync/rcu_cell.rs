// SPDX-License-Identifier: GPL-2.0

//! A box that is replaced while others read it.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::{
    marker::PhantomData,
    mem::replace,
    ptr::null_mut, //
};

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
/// Any context may read, and any number of contexts may replace at a time, each of which gets another box
/// back. A reader sees all that was written to the box before it was stored: `Full` in `swap`, as
/// `rcu_assign_pointer`, pairs with `Acquire` in `read`, where C has an address dependency.
///
/// `kernel::revocable::Revocable` can be revoked but not replaced, and costs the reader a flag besides.
/// Could be removed in a release after 7.3, once the kernel crate has a pointer for RCU
/// (`rcu_assign_pointer`); it has only guards and grace periods, which this type uses.
///
/// # Invariants
///
/// - `pointer` is null or comes from `KBox::into_raw`, and is then owned by the cell.
/// - A box that `pointer` does not refer to any more is owned by a [`Retired`], and freed only after an RCU
///   grace period.
///
/// # Examples
///
/// ```ignore
/// let limit = RcuCell::new(Some(KBox::new(7_u32, GFP_KERNEL)?));
///
/// let guard = rcu::read_lock();
/// if let Some(limit) = limit.read(&guard) {
///     pr_info!("the limit is {limit}\n");
/// }
/// drop(guard);
///
/// let old = limit.replace(Some(KBox::new(8, GFP_KERNEL)?));
/// Retired::reclaim([[limit.swap(None)]], |old| pr_info!("it was {old}\n"));
/// ```
pub(crate) struct RcuCell<T: Send + Sync> {
    pointer: Atomic<*mut T>,
    _p: PhantomData<KBox<T>>,
}

impl<T: Send + Sync> RcuCell<T> {
    /// Returns a cell that holds `value`.
    pub(crate) fn new(value: Option<KBox<T>>) -> Self {
        // INVARIANT: By `into_raw`.
        Self {
            pointer: Atomic::new(into_raw(value)),
            _p: PhantomData,
        }
    }

    /// Returns a reference to the value, for as long as the RCU read lock is held.
    #[inline]
    pub(crate) fn read<'a>(&'a self, _guard: &'a rcu::Guard) -> Option<&'a T> {
        // SAFETY: By the type invariants the pointer is null or refers to a box that is not freed
        // before the read lock, whose guard lives for `'a`, is released. `Acquire` orders reads of the
        // box after that of the pointer.
        unsafe { self.pointer.load(Acquire).as_ref() }
    }

    /// Stores `value` in the cell. Returns the previous value when no reader has it any more.
    ///
    /// Sleeps, as [`Retired::reclaim`] does.
    pub(crate) fn replace(&self, value: Option<KBox<T>>) -> Option<KBox<T>> {
        let mut old = None;
        Retired::reclaim([[self.swap(value)]], |value| old = Some(value));
        old
    }

    /// Stores `value` in the cell. Returns the previous value, which readers may still have. Any context; the
    /// result must be reclaimed or dropped where sleeping is allowed.
    ///
    /// For those who replace several values and wait once.
    pub(crate) fn swap(&self, value: Option<KBox<T>>) -> Retired<T> {
        // INVARIANT: By `into_raw`, for the cell. What the cell owned is owned by the result.
        Retired(self.pointer.xchg(into_raw(value), Full), PhantomData)
    }
}

/// What was taken out of an [`RcuCell`], or nothing. Dropping it waits until no reader has it any more.
///
/// Could be removed with [`RcuCell`], which has an example.
///
/// # Invariants
///
/// The pointer is null or comes from `KBox::into_raw`, and is then owned by this value. No later reader finds
/// it.
pub(crate) struct Retired<T: Send + Sync>(*mut T, PhantomData<KBox<T>>);

impl<T: Send + Sync> Retired<T> {
    /// Nothing.
    pub(crate) fn nothing() -> Self {
        // INVARIANT: It is null.
        Self(null_mut(), PhantomData)
    }

    /// Waits until no reader has any of these values, and passes each to `each`.
    ///
    /// Sleeps. So the caller must not hold the RCU read lock: it would wait for itself, or, where RCU is not
    /// preemptible, end its own read section by sleeping. As for all functions that sleep, the kernel's
    /// checks find a caller that does ([`crate::linux`]).
    pub(crate) fn reclaim<const N: usize, const M: usize>(
        all: [[Self; N]; M],
        mut each: impl FnMut(KBox<T>),
    ) {
        if all.as_flattened().iter().all(|one| one.0.is_null()) {
            return;
        }
        rcu::synchronize_rcu();
        for mut one in all.into_iter().flatten() {
            let pointer = replace(&mut one.0, null_mut());
            if !pointer.is_null() {
                // SAFETY: By the type invariants the pointer comes from `into_raw`, was owned by `one`, and
                // is not found by later readers. Earlier ones have released the read lock: `all` existed
                // before the grace period.
                each(unsafe { KBox::from_raw(pointer) });
            }
        }
    }
}

impl<T: Send + Sync> Drop for Retired<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            rcu::synchronize_rcu();
            // SAFETY: By the type invariants the pointer comes from `into_raw`, is owned by this value, and
            // is not found by later readers. Earlier ones have released the read lock.
            drop(unsafe { KBox::from_raw(self.0) });
        }
    }
}

fn into_raw<T>(value: Option<KBox<T>>) -> *mut T {
    value.map_or(null_mut(), KBox::into_raw)
}

impl<T: Send + Sync> Drop for RcuCell<T> {
    fn drop(&mut self) {
        let pointer = *self.pointer.get_mut();
        if !pointer.is_null() {
            // SAFETY: By the type invariants the box is owned by the cell. A reader borrows the cell,
            // so there is none.
            drop(unsafe { KBox::from_raw(pointer) });
        }
    }
}
