// SPDX-License-Identifier: GPL-2.0

//! Round-trip time and retransmission timeout of one path, after RFC 6298.
//!
//! The RFC's constants, with bounds that fit a local segment instead of the Internet: no
//! timeout below [`MIN_RTO_NS`], none above [`MAX_RTO_NS`]. Samples come from frames that were
//! sent once only (Karn's rule); the caller sees to that.

/// The shortest retransmission timeout: above a scheduling hiccup of a busy server.
pub const MIN_RTO_NS: u64 = 4_000_000;
/// The longest, back-off included.
pub const MAX_RTO_NS: u64 = 1_000_000_000;
/// What it is before the first sample.
const INITIAL_RTO_NS: u64 = 20_000_000;

/// A path's estimate.
#[derive(Clone, Copy, Debug, Default)]
pub struct RttEstimator {
    /// Smoothed round-trip time; 0 before the first sample.
    smoothed_ns: u64,
    variation_ns: u64,
}

impl RttEstimator {
    /// Takes a measured round trip in.
    pub fn sample(&mut self, rtt_ns: u64) {
        let rtt_ns = rtt_ns.clamp(1, MAX_RTO_NS);
        if self.smoothed_ns == 0 {
            self.smoothed_ns = rtt_ns;
            self.variation_ns = rtt_ns / 2;
            return;
        }
        let error = self.smoothed_ns.abs_diff(rtt_ns);
        // No overflow: every term is at most MAX_RTO_NS.
        self.variation_ns = (self.variation_ns.wrapping_mul(3).wrapping_add(error)) / 4;
        self.smoothed_ns = (self.smoothed_ns.wrapping_mul(7).wrapping_add(rtt_ns)) / 8;
    }

    /// The smoothed round-trip time; 0 before the first sample.
    pub fn smoothed_ns(&self) -> u64 {
        self.smoothed_ns
    }

    /// How long to wait for an answer that has been asked for `tries` times before: doubled
    /// each time.
    pub fn timeout_ns(&self, tries: u32) -> u64 {
        let once = if self.smoothed_ns == 0 {
            INITIAL_RTO_NS
        } else {
            self.smoothed_ns
                .wrapping_add(self.variation_ns.wrapping_mul(4))
        };
        once.max(MIN_RTO_NS)
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
