// SPDX-License-Identifier: GPL-2.0

//! Ops that have ended, but whose frames are still queued in this host and keep their pages. Until
//! the frames are gone, the memory that was paged out cannot be reused.
//!
//! A network card reports a sent frame late, possibly after its answer. Nothing notifies the driver
//! of that, so the driver checks: soon, and then after twice as long each time.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};

use super::Queue;
use crate::{
    driver::{
        storage::make_vec,
        tx_frames::OpFrames, //
    },
    engine::client::shard::OpId,
    linux::time::hrtimer::now_ns,
    sync::update, //
};

/// The time until the first check: about as long as a card coalesces interrupts.
const FIRST_LOOK_NS: u64 = 100_000;

/// The longest time between two checks, for a frame that something like a sniffer keeps.
const LAST_LOOK_NS: u64 = 10_000_000;

/// The lingering ops of a queue.
pub(crate) struct Lingering {
    /// A bit for each op.
    words: KVec<Atomic<u32>>,
    /// When each op ended.
    since_ns: KVec<Atomic<u64>>,
    /// The wait before the next check.
    wait_ns: Atomic<u64>,
    /// Ops that have lingered.
    count: Atomic<u64>,
    /// How long they lingered, as a sum and at most, as far as checks showed.
    sum_ns: Atomic<u64>,
    longest_ns: Atomic<u64>,
}

/// Statistics of lingering ops.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lingered {
    pub(crate) count: u64,
    pub(crate) sum_ns: u64,
    pub(crate) longest_ns: u64,
    /// Ops that linger now.
    pub(crate) now: u64,
}

impl Lingering {
    /// No lingering ops, of `op_count`.
    pub(super) fn new(op_count: usize) -> Result<Self> {
        Ok(Self {
            words: make_vec(op_count.div_ceil(32), || Ok(Atomic::new(0)))?,
            since_ns: make_vec(op_count, || Ok(Atomic::new(0)))?,
            wait_ns: Atomic::new(FIRST_LOOK_NS),
            count: Atomic::new(0),
            sum_ns: Atomic::new(0),
            longest_ns: Atomic::new(0),
        })
    }

    /// An op has ended and keeps its page. Returns when to check.
    #[cold]
    fn put(&self, op: usize, now_ns: u64) -> u64 {
        self.count.fetch_add(1, Relaxed);
        if let Some(since_ns) = self.since_ns.get(op) {
            since_ns.store(now_ns, Relaxed);
        }
        self.wait_ns.store(FIRST_LOOK_NS, Relaxed);
        self.keep(op);
        now_ns.saturating_add(FIRST_LOOK_NS)
    }

    fn keep(&self, op: usize) {
        if let Some(word) = self.words.get(op / 32) {
            let bit = 1_u32.wrapping_shl((op % 32) as u32);
            update(word, |bits| Some(bits | bit));
        }
    }

    /// Releases the pages of ops where `release` succeeds. Returns when to check again, if some are
    /// left.
    fn look(&self, now_ns: u64, release: impl Fn(usize) -> bool) -> Option<u64> {
        let mut left = false;
        for (index, word) in self.words.iter().enumerate() {
            if word.load(Relaxed) == 0 {
                continue;
            }
            let mut bits = word.xchg(0, Full);
            while bits != 0 {
                let op = index
                    .wrapping_mul(32)
                    .wrapping_add(bits.trailing_zeros() as usize);
                bits &= bits.wrapping_sub(1);
                if release(op) {
                    self.note(op, now_ns);
                } else {
                    self.keep(op);
                    left = true;
                }
            }
        }
        left.then(|| {
            let wait_ns = self.wait_ns.load(Relaxed);
            let longer_ns = wait_ns.saturating_mul(2).min(LAST_LOOK_NS);
            self.wait_ns.store(longer_ns, Relaxed);
            now_ns.saturating_add(wait_ns)
        })
    }

    fn note(&self, op: usize, now_ns: u64) {
        let since_ns = self.since_ns.get(op).map_or(now_ns, |ns| ns.load(Relaxed));
        let lingered_ns = now_ns.saturating_sub(since_ns);
        self.sum_ns.fetch_add(lingered_ns, Relaxed);
        let mut longest_ns = self.longest_ns.load(Relaxed);
        while lingered_ns > longest_ns {
            match self.longest_ns.cmpxchg(longest_ns, lingered_ns, Relaxed) {
                Ok(_) => break,
                Err(seen) => longest_ns = seen,
            }
        }
    }

    /// Adds the statistics of this queue.
    fn add_to(&self, sum: &mut Lingered) {
        sum.count = sum.count.saturating_add(self.count.load(Relaxed));
        sum.sum_ns = sum.sum_ns.saturating_add(self.sum_ns.load(Relaxed));
        sum.longest_ns = sum.longest_ns.max(self.longest_ns.load(Relaxed));
        for word in &self.words {
            let now = u64::from(word.load(Relaxed).count_ones());
            sum.now = sum.now.saturating_add(now);
        }
    }
}

impl Queue {
    /// A frame of the op is still queued in this host and keeps its page: check again later.
    #[cold]
    pub(super) fn linger(&self, op: OpId) {
        let look_ns = self.lingering.put(op.index(), now_ns());
        self.timer.arm(look_ns);
    }

    /// Releases the pages of lingering ops, where possible now.
    pub(super) fn release_lingering(&self) {
        let release = |op: usize| {
            // An op that is in use again may be sent at this moment, and a send does not wait for its frames.
            // Under the lock no op begins.
            let state = self.state.lock();
            let is_free = state.parts.get(op).is_some_and(Option::is_none);
            is_free && self.frames.get(op).is_some_and(OpFrames::release)
        };
        if let Some(look_ns) = self.lingering.look(now_ns(), release) {
            self.timer.arm(look_ns);
        }
    }

    /// Adds how long frames have kept pages after their op had ended.
    pub(crate) fn add_lingered(&self, sum: &mut Lingered) {
        self.lingering.add_to(sum);
    }
}
