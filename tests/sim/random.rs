// SPDX-License-Identifier: GPL-2.0

//! The random numbers of a client, which follow from the seed.

use anemone::engine::client::cluster::Random;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct SplitMix(pub u64);

impl Random for SplitMix {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
