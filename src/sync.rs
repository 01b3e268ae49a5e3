// SPDX-License-Identifier: GPL-2.0

//! Atomics, a place that is filled once, and a guard against preemption, under the kernel's names, for
//! code that runs in both worlds.
//!
//! In the module these are `kernel::sync`'s (the Linux memory model); on the host, the same
//! interface over `core`'s and `std`'s. Only what the engine uses is there.

#[cfg(MODULE)]
pub use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};

#[cfg(MODULE)]
pub use kernel::sync::SetOnce;

#[cfg(MODULE)]
pub(crate) use crate::linux::sched::NoPreemption;

#[cfg(not(MODULE))]
pub use host::{Acquire, Atomic, Full, NoPreemption, Relaxed, Release, SetOnce};

/// Replaces a word by the result of `change`, unless that is `None`. Returns what the word was. A full
/// barrier if it is replaced.
#[inline]
pub fn update(word: &Atomic<u32>, mut change: impl FnMut(u32) -> Option<u32>) -> Option<u32> {
    let mut old = word.load(Acquire);
    loop {
        match word.cmpxchg(old, change(old)?, Full) {
            Ok(_) => return Some(old),
            Err(seen) => old = seen,
        }
    }
}

#[cfg(not(MODULE))]
mod host {
    extern crate std;

    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use std::sync::OnceLock;

    /// In the kernel each of these is a type, and an ordering that an access cannot have does not compile.
    pub use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst as Full};

    /// A place that is filled at most once; see `kernel::sync::SetOnce`.
    #[derive(Debug)]
    pub struct SetOnce<T>(OnceLock<T>);

    impl<T> SetOnce<T> {
        /// One that is empty.
        #[allow(clippy::new_without_default, reason = "the kernel's is made so")]
        pub const fn new() -> Self {
            Self(OnceLock::new())
        }
        /// What is in it.
        pub fn as_ref(&self) -> Option<&T> {
            self.0.get()
        }
        /// Fills it. Returns whether it was empty.
        pub fn populate(&self, value: T) -> bool {
            self.0.set(value).is_ok()
        }
    }

    /// While it lives, the calling task is not preempted. A host's threads cannot ask for that.
    pub struct NoPreemption(());

    impl NoPreemption {
        /// From now on.
        #[allow(clippy::new_without_default, reason = "a guard is not made by default")]
        pub fn new() -> Self {
            Self(())
        }
    }

    /// The ordering of a compare-and-exchange that fails: that of its load.
    const fn of_load(order: Ordering) -> Ordering {
        match order {
            Release => Relaxed,
            order => order,
        }
    }

    /// The `core` atomic that holds a `Self`.
    pub trait Word: Copy {
        /// Its type.
        type Cell;
    }
    impl Word for u32 {
        type Cell = AtomicU32;
    }
    impl Word for u64 {
        type Cell = AtomicU64;
    }

    /// A word that several threads may access at once; see `kernel::sync::atomic::Atomic`.
    #[derive(Debug)]
    pub struct Atomic<T: Word>(T::Cell);

    macro_rules! atomic {
        ($word:ty, $cell:ty) => {
            impl Atomic<$word> {
                /// A cell that holds `value`.
                pub const fn new(value: $word) -> Self {
                    Self(<$cell>::new(value))
                }
                /// Reads the word.
                pub fn load(&self, order: Ordering) -> $word {
                    self.0.load(order)
                }
                /// Writes the word.
                pub fn store(&self, value: $word, order: Ordering) {
                    self.0.store(value, order)
                }
                /// Writes the word, returns what it was.
                pub fn xchg(&self, value: $word, order: Ordering) -> $word {
                    self.0.swap(value, order)
                }
                /// Writes `new` if the word is `old`; `Ok` and `Err` hold what it was.
                pub fn cmpxchg(
                    &self,
                    old: $word,
                    new: $word,
                    order: Ordering,
                ) -> Result<$word, $word> {
                    self.0.compare_exchange(old, new, order, of_load(order))
                }
                /// Adds, wrapping.
                pub fn add(&self, value: $word, order: Ordering) {
                    self.0.fetch_add(value, order);
                }
                /// Adds, wrapping; returns what it was.
                pub fn fetch_add(&self, value: $word, order: Ordering) -> $word {
                    self.0.fetch_add(value, order)
                }
                /// Subtracts, wrapping; returns what it was.
                pub fn fetch_sub(&self, value: $word, order: Ordering) -> $word {
                    self.0.fetch_sub(value, order)
                }
            }
        };
    }
    atomic!(u32, AtomicU32);
    atomic!(u64, AtomicU64);
}
