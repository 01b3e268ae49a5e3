// SPDX-License-Identifier: GPL-2.0

//! Latencies, in buckets an eighth of a power of two wide: quantiles are accurate to 12.5%.

use core::ops::DerefMut;

/// Buckets for each power of two.
const SUB_BITS: u32 = 3;
/// Powers of two: up to 2^40 ns, 18 minutes.
const POWERS: usize = 41;
/// Number of buckets.
pub const BUCKETS: usize = POWERS << SUB_BITS;

/// A histogram of nanoseconds, in storage of the caller: [`BUCKETS`] counts.
#[derive(Clone, Debug)]
pub struct Histogram<C> {
    counts: C,
    sum_ns: u64,
    max_ns: u64,
}

/// The bucket of a value.
fn bucket(value_ns: u64) -> usize {
    let value = value_ns.max(1 << SUB_BITS);
    let power = value.ilog2();
    let sub = (value >> (power.wrapping_sub(SUB_BITS))) & ((1 << SUB_BITS) - 1);
    // CAST: at most 64 << 3.
    let index = ((power as usize) << SUB_BITS) | sub as usize;
    index.min(BUCKETS - 1)
}

/// The smallest value of a bucket, for buckets that are used.
fn lowest_ns(bucket: usize) -> u64 {
    let power = (bucket >> SUB_BITS) as u32;
    let sub = (bucket & ((1 << SUB_BITS) - 1)) as u64;
    ((1 << SUB_BITS) | sub)
        .checked_shl(power.saturating_sub(SUB_BITS))
        .unwrap_or(u64::MAX)
}

impl<C: DerefMut<Target = [u32]>> Histogram<C> {
    /// An empty histogram over `counts`, which are all zero.
    pub fn new(counts: C) -> Self {
        Self {
            counts,
            sum_ns: 0,
            max_ns: 0,
        }
    }

    /// Adds a value.
    pub fn record(&mut self, value_ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value_ns)) {
            *count = count.saturating_add(1);
        }
        self.sum_ns = self.sum_ns.wrapping_add(value_ns);
        self.max_ns = self.max_ns.max(value_ns);
    }

    /// Adds another shard's values.
    pub fn merge<D: DerefMut<Target = [u32]>>(&mut self, other: &Histogram<D>) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.saturating_add(*more);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// The mean of the values; 0 without values.
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count()).unwrap_or(0)
    }

    /// The largest value.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The value below which `per_mille` of a thousand lie, as the middle of its bucket; 0 without
    /// values.
    pub fn quantile_ns(&self, per_mille: u32) -> u64 {
        let wanted = self
            .count()
            .saturating_mul(u64::from(per_mille))
            .div_ceil(1000)
            .max(1);
        let mut seen = 0_u64;
        for (index, &count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(u64::from(count));
            if seen >= wanted {
                let low = lowest_ns(index);
                return (low / 2)
                    .saturating_add(lowest_ns(index.wrapping_add(1)) / 2)
                    .min(self.max_ns);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec;

    #[test]
    fn buckets_follow_each_other() {
        let mut last = 0;
        for value in 8..100_000 {
            let index = bucket(value);
            assert!(index == last || index == last + 1 || last == 0);
            assert!(lowest_ns(index) <= value && value < lowest_ns(index + 1));
            last = index;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let mut histogram = Histogram::new(vec![0; BUCKETS]);
        assert_eq!(histogram.quantile_ns(500), 0);
        for value in 1..=10_000_u64 {
            histogram.record(value * 100);
        }
        assert_eq!(histogram.count(), 10_000);
        assert_eq!(histogram.mean_ns(), 500_050);
        for (per_mille, exact) in [(500, 500_000_u64), (990, 990_000), (10, 10_000)] {
            let estimate = histogram.quantile_ns(per_mille);
            assert!(
                estimate.abs_diff(exact) * 8 <= exact,
                "{per_mille}: {estimate}"
            );
        }
    }
}
