// SPDX-License-Identifier: GPL-2.0

//! A sender's counter.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};

use crate::{
    linux::{
        random::{
            burst_noise,
            cycles, //
        },
        time::jiffies, //
    },
    wire::Signature,
};

/// A sender's counter. Each has a cache line of its own.
#[repr(align(64))]
pub(super) struct Lane {
    counter: Atomic<u64>,
    /// When `noise` was drawn, in jiffies.
    drawn_at: Atomic<u64>,
    noise: Atomic<u32>,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            counter: Atomic::<u64>::new(0),
            drawn_at: Atomic::<u64>::new(0),
            noise: Atomic::<u32>::new(0),
        }
    }

    /// A signature without a tag. No other has the same nonce.
    #[inline]
    pub(super) fn next(&self, lane: u8, key: u8) -> Signature {
        let counter = self.counter.fetch_add(1, Relaxed);
        let now = jiffies();
        if self.drawn_at.load(Acquire) != now {
            self.noise.store(burst_noise(), Relaxed);
            self.drawn_at.store(now, Release);
        }
        // A machine that is put back repeats the rest, but hardly the cycle.
        let noise = self.noise.load(Relaxed) ^ cycles();
        Signature::new(key, lane, counter, noise.to_ne_bytes())
    }
}
