// SPDX-License-Identifier: GPL-2.0

//! How a page is cut to fit a path's MTU.
//!
//! The number of fragments alone determines the cut: all fragments have the same length, a multiple
//! of 8 bytes, except the last one, which has the rest. So both sides know each fragment's place from
//! its index and count.
//!
//! The rules: `docs/protocol.md`, "Fragments".

use super::{signature_len, HEADER_LEN, PAGE_SIZE};

/// The most fragments of a page: a mask has eight bits.
const MAX_FRAGMENTS: usize = 8;

/// Bytes of each fragment but the last, by the number of fragments. Element 0 is unused.
const STRIDES: [u16; MAX_FRAGMENTS + 1] = {
    let mut strides = [0; MAX_FRAGMENTS + 1];
    let mut count = 1;
    while count <= MAX_FRAGMENTS {
        // CAST: a page's bytes fit 16 bits.
        strides[count] = PAGE_SIZE.div_ceil(count).next_multiple_of(8) as u16;
        count += 1;
    }
    strides
};

/// A way to cut a page into fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragmentation {
    count: u8,
}

impl Default for Fragmentation {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Fragmentation {
    /// The page as one fragment.
    pub const WHOLE: Self = Self { count: 1 };

    /// The page in as many fragments as possible.
    pub const NARROWEST: Self = Self {
        count: MAX_FRAGMENTS as u8,
    };

    /// The smallest MTU, in bytes, that a page can cross, if frames are not signed.
    pub const MIN_MTU: usize = HEADER_LEN + PAGE_SIZE / MAX_FRAGMENTS;

    /// The smallest MTU, in bytes, that a page can cross.
    pub const fn min_mtu(is_signed: bool) -> usize {
        Self::MIN_MTU + signature_len(is_signed)
    }

    /// The fewest fragments that cross a path of `mtu` bytes; `None` below [`Self::MIN_MTU`].
    pub fn for_mtu(mtu: usize) -> Option<Self> {
        let room = mtu.checked_sub(HEADER_LEN)?;
        (1..=MAX_FRAGMENTS as u8)
            .map(|count| Self { count })
            .find(|cut| usize::from(cut.stride()) <= room)
    }

    /// The cut into `count` fragments; `None` for a count that no MTU gives.
    pub fn from_count(count: u8) -> Option<Self> {
        (1..=MAX_FRAGMENTS as u8)
            .contains(&count)
            .then_some(Self { count })
    }

    /// Number of fragments, 1 to 8.
    pub fn count(self) -> u8 {
        self.count
    }

    /// Bytes of the longest fragment.
    pub fn payload_len(self) -> usize {
        usize::from(self.stride())
    }

    /// The smallest MTU, in bytes, that the longest fragment crosses.
    pub fn needed_mtu(self) -> usize {
        HEADER_LEN.saturating_add(self.payload_len())
    }

    /// Bytes of every fragment but the last.
    #[inline]
    fn stride(self) -> u16 {
        STRIDES.get(usize::from(self.count)).copied().unwrap_or(0)
    }

    /// Where fragment `index` lies in the page: offset and length in bytes. `None` past the last.
    #[inline]
    pub fn span(self, index: u8) -> Option<(u16, u16)> {
        if index >= self.count {
            return None;
        }
        let stride = self.stride();
        let offset = stride.checked_mul(u16::from(index))?;
        let left = (PAGE_SIZE as u16).checked_sub(offset)?;
        Some((offset, left.min(stride)))
    }

    /// All fragments.
    pub fn all(self) -> FragmentMask {
        FragmentMask(0xff_u8.wrapping_shr(MAX_FRAGMENTS as u32 - u32::from(self.count)))
    }
}

/// A set of fragments of one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentMask(u8);

bit_set!(FragmentMask(u8));

impl FragmentMask {
    /// The set with these bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether fragment `index` is in it.
    pub fn contains(self, index: u8) -> bool {
        index < 8 && self.0 >> index & 1 == 1
    }

    /// Adds fragment `index`, if it is below 8.
    pub fn insert(&mut self, index: u8) {
        if index < 8 {
            self.0 |= 1 << index;
        }
    }

    /// The indices in it, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |&index| self.contains(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_mtus() {
        let count = |mtu| Fragmentation::for_mtu(mtu).map(Fragmentation::count);
        assert_eq!(count(1500), Some(3));
        assert_eq!(count(9000), Some(1));
        assert_eq!(count(HEADER_LEN + PAGE_SIZE), Some(1));
        assert_eq!(count(HEADER_LEN + PAGE_SIZE - 1), Some(2));
        assert_eq!(count(Fragmentation::MIN_MTU), Some(8));
        assert_eq!(count(Fragmentation::MIN_MTU - 1), None);
        assert_eq!(count(0), None);
    }

    #[test]
    fn every_cut_covers_the_page_once_and_fits() {
        for mtu in Fragmentation::MIN_MTU..5000 {
            let cut = Fragmentation::for_mtu(mtu).unwrap();
            let mut next = 0;
            for index in cut.all().iter() {
                let (offset, len) = cut.span(index).unwrap();
                assert_eq!(offset, next);
                assert!(len > 0 && usize::from(len) + HEADER_LEN <= cut.needed_mtu());
                assert!(cut.needed_mtu() <= mtu);
                next = offset + len;
            }
            assert_eq!(usize::from(next), PAGE_SIZE);
            assert_eq!(cut.span(cut.count()), None);
            assert_eq!(Fragmentation::from_count(cut.count()), Some(cut));
        }
    }

    #[test]
    fn counts_out_of_range() {
        assert_eq!(Fragmentation::from_count(0), None);
        assert_eq!(Fragmentation::from_count(9), None);
    }
}
