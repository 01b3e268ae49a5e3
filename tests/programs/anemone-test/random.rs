// SPDX-License-Identifier: GPL-2.0

//! Numbers that look random and follow from a seed: SplitMix64 (Steele, Lea, Flood, 2014).

/// The difference between two states. It also separates adjacent numbers.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number that follows from `value` and looks random.
pub fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(GOLDEN);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A sequence of such numbers.
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// The next number, below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // CAST: below `bound`.
        (self.next() % bound as u64) as usize
    }
}

/// Every number below `count` once, in an order that looks random.
pub fn shuffled(seed: u64, count: usize) -> impl Iterator<Item = usize> {
    let mut random = Random::new(seed);
    let start = random.below(count.max(1));
    let step = loop {
        let step = random.below(count.max(1)) | 1;
        if greatest_common_divisor(step, count) == 1 {
            break step;
        }
    };
    let mut place = start;
    (0..count).map(move |_| {
        place = (place + step) % count;
        place
    })
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}
