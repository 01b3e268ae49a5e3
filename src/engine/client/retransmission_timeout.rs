// SPDX-License-Identifier: GPL-2.0

//! The retransmission timeout of one path: its formula after RFC 6298, and how it doubles.
//! `shard/transfer_timeout.rs` limits it to a part of the I/O timeout.
//!
//! The RFC's constants, with bounds for a local segment instead of the Internet: no timeout below
//! [`MIN_RTO_NS`], none above [`MAX_RTO_NS`]. Every answer names the attempt that it answers, so
//! retransmissions can be measured as well. Otherwise a path that has become slow would be measured
//! by its quick answers only (Karn's rule and its gap).
//!
//! The RFC's mean deviation forgets within a few samples, here less than a millisecond. Stalls of a
//! busy host are rare and long, and would find it small each time. So the timeout is also never
//! below twice what all but one in 129 answers took.

use super::quantile::Quantile;

/// The shortest retransmission timeout: longer than a scheduling delay of a busy server.
pub const MIN_RTO_NS: u64 = 8_000_000;
/// The longest, including back-off.
pub const MAX_RTO_NS: u64 = 1_000_000_000;
/// The longest round trip that counts as a stall. A server that took longer was stopped, which says
/// nothing about later answers, but would be remembered for a thousand of them.
const HICCUP_NS: u64 = 40_000_000;
/// The timeout before the first sample.
const INITIAL_RTO_NS: u64 = 20_000_000;

/// The estimate of a path.
#[derive(Clone, Copy, Debug, Default)]
pub struct RttEstimator {
    /// Smoothed round-trip time; 0 before the first sample.
    smoothed_ns: u64,
    variation_ns: u64,
    /// The time that one in 129 answers exceeds.
    slow: Quantile<2, 9>,
}

impl RttEstimator {
    /// Adds a measured round trip.
    pub fn sample(&mut self, rtt_ns: u64) {
        let rtt_ns = rtt_ns.clamp(1, MAX_RTO_NS);
        self.slow.sample(rtt_ns.min(HICCUP_NS));
        if self.smoothed_ns == 0 {
            self.smoothed_ns = rtt_ns;
            self.variation_ns = rtt_ns / 2;
            return;
        }
        let error = self.smoothed_ns.abs_diff(rtt_ns);
        // Does not overflow, because every term is at most MAX_RTO_NS.
        self.variation_ns = (self.variation_ns.wrapping_mul(3).wrapping_add(error)) / 4;
        self.smoothed_ns = (self.smoothed_ns.wrapping_mul(7).wrapping_add(rtt_ns)) / 8;
    }

    /// The smoothed round-trip time; 0 before the first sample.
    pub fn smoothed_ns(&self) -> u64 {
        self.smoothed_ns
    }

    /// How long to wait for an answer after `tries` timeouts: doubled each time.
    pub fn timeout_ns(&self, tries: u32) -> u64 {
        if mutated!(NoBackOff) {
            return 100_000;
        }
        let once = if self.smoothed_ns == 0 {
            INITIAL_RTO_NS
        } else {
            self.smoothed_ns
                .wrapping_add(self.variation_ns.wrapping_mul(4))
        };
        once.max(self.slow.estimate_ns().saturating_mul(2))
            .max(MIN_RTO_NS)
            .wrapping_shl(tries.min(8))
            .min(MAX_RTO_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_rfc() {
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.timeout_ns(0), INITIAL_RTO_NS);
        rtt.sample(8_000_000);
        // SRTT + 4 * (R / 2)
        assert_eq!(rtt.timeout_ns(0), 24_000_000);
        rtt.sample(16_000_000);
        // RTTVAR = 3/4 * 4 + 1/4 * 8 = 5; SRTT = 7/8 * 8 + 1/8 * 16 = 9
        assert_eq!(rtt.timeout_ns(0), 29_000_000);
        assert_eq!(rtt.timeout_ns(1), 58_000_000);
    }

    #[test]
    fn rare_hiccups_are_not_forgotten() {
        let mut rtt = RttEstimator::default();
        for _ in 0..50 {
            for _ in 0..49 {
                rtt.sample(100_000);
            }
            rtt.sample(12_000_000);
        }
        for _ in 0..49 {
            rtt.sample(100_000);
        }
        assert!(rtt.timeout_ns(0) > 12_000_000);
        assert!(rtt.smoothed_ns() < 200_000);
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut rtt = RttEstimator::default();
        for _ in 0..100 {
            rtt.sample(0);
        }
        assert_eq!(rtt.timeout_ns(0), MIN_RTO_NS);
        assert_eq!(rtt.timeout_ns(u32::MAX), MAX_RTO_NS);
        for _ in 0..100 {
            rtt.sample(u64::MAX);
        }
        assert_eq!(rtt.timeout_ns(0), MAX_RTO_NS);
    }
}
