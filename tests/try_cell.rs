// SPDX-License-Identifier: GPL-2.0

//! The module's `TryCell`, over the host's atomics.

#![allow(dead_code, reason = "the module uses the rest")]

// The cell names the kernel's atomics; the host has the same interface under this name.
extern crate self as kernel;

mod sync {
    pub mod atomic {
        pub use anemone::sync::{Acquire, Atomic, Release};
    }
}

#[path = "../src/linux/sync/try_cell.rs"]
mod try_cell;

use try_cell::TryCell;

#[test]
fn a_locked_cell_stays_locked() {
    let cell = TryCell::new(0);
    let mut guard = cell.try_lock().expect("it is not locked");
    for _ in 0..3 {
        assert!(cell.try_lock().is_none());
    }
    *guard += 1;
    drop(guard);
    assert_eq!(cell.try_lock().as_deref(), Some(&1));
    assert!(cell.try_lock().is_some());
}

#[test]
fn one_thread_at_a_time_has_the_value() {
    const ROUNDS: u64 = 100_000;
    let cell = TryCell::new((0_u64, 0_u64));
    let locked: u64 = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| {
            scope.spawn(|| {
                let mut locked = 0;
                for _ in 0..ROUNDS {
                    if let Some(mut value) = cell.try_lock() {
                        assert_eq!(value.0, value.1);
                        value.0 += 1;
                        std::hint::spin_loop();
                        value.1 += 1;
                        locked += 1;
                    }
                }
                locked
            })
        });
        threads
            .map(|thread| thread.join().expect("it does not panic"))
            .iter()
            .sum()
    });
    assert!(locked > 0);
    assert_eq!(
        *cell.try_lock().expect("all threads are done"),
        (locked, locked)
    );
}
