// SPDX-License-Identifier: GPL-2.0

//! A running quantile of a stream of times, in one number.
//!
//! The estimate rises by 2^-UP of itself for a value above it, and falls by 2^-DOWN for any other
//! (stochastic approximation: Robbins and Monro, 1951; the steps are relative, because times span
//! orders of magnitude). It settles where one value in 1 + 2^(DOWN - UP) is above it. It forgets by
//! number of values, and follows a path that slows down within a few of them.

/// The smallest estimate: below it steps would be lost to rounding.
const MIN_NS: u64 = 4096;
/// The largest estimate.
const MAX_NS: u64 = 10_000_000_000;

/// A running quantile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantile<const UP: u32, const DOWN: u32> {
    /// 0 before the first value.
    estimate_ns: u64,
}

impl<const UP: u32, const DOWN: u32> Quantile<UP, DOWN> {
    /// Adds a value.
    pub fn sample(&mut self, value_ns: u64) {
        let old_ns = self.estimate_ns;
        let new_ns = if old_ns == 0 {
            value_ns
        } else if value_ns > old_ns {
            // Does not overflow, because the estimate is bounded.
            old_ns.wrapping_add(old_ns >> UP)
        } else {
            old_ns.wrapping_sub(old_ns >> DOWN)
        };
        self.estimate_ns = new_ns.clamp(MIN_NS, MAX_NS);
    }

    /// The estimate; 0 before the first value.
    pub fn estimate_ns(&self) -> u64 {
        self.estimate_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand different values, in an order that jumps.
    fn values() -> impl Iterator<Item = u64> {
        (0..1000_u64).map(|index| (index * 617 % 1000 + 1) * 10_000)
    }

    #[test]
    fn rests_at_its_quantile() {
        let mut p97 = Quantile::<3, 8>::default();
        let mut p99 = Quantile::<2, 9>::default();
        assert_eq!(p97.estimate_ns(), 0);
        let (mut above, mut rounds) = ([0, 0], 0);
        for round in 0..20 {
            for value in values() {
                if round >= 5 {
                    rounds += 1;
                    above[0] += u32::from(value > p97.estimate_ns());
                    above[1] += u32::from(value > p99.estimate_ns());
                }
                p97.sample(value);
                p99.sample(value);
            }
        }
        // One of 33, one of 129.
        let expected = [rounds / 33, rounds / 129];
        for (above, expected) in above.iter().zip(expected) {
            assert!(
                above.abs_diff(expected) * 3 <= expected,
                "{above} of {rounds}, expected {expected}"
            );
        }
    }

    #[test]
    fn follows_a_path_that_slows_down_at_once() {
        let mut p97 = Quantile::<3, 8>::default();
        for _ in 0..10_000 {
            p97.sample(100_000);
        }
        for _ in 0..20 {
            p97.sample(800_000);
        }
        assert!(p97.estimate_ns() > 700_000);
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut quantile = Quantile::<2, 9>::default();
        for _ in 0..10_000 {
            quantile.sample(0);
        }
        assert_eq!(quantile.estimate_ns(), MIN_NS);
        for _ in 0..10_000 {
            quantile.sample(u64::MAX);
        }
        assert_eq!(quantile.estimate_ns(), MAX_NS);
    }
}
