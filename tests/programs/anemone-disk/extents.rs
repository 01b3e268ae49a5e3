// SPDX-License-Identifier: GPL-2.0

//! A set of bytes of the disk, as ranges that do not touch.

use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Debug, Default)]
pub struct Extents {
    /// Ends by their starts.
    ranges: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Extents {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// Whether all of `range` is in it.
    pub fn contain(&self, range: &Range<u64>) -> bool {
        self.before(range.start)
            .is_some_and(|found| found.end >= range.end)
    }

    /// Adds all of `range`.
    pub fn insert(&mut self, mut range: Range<u64>) {
        // The range that begins before it, and the ranges that begin in it or at its end.
        if let Some(found) = self
            .before(range.start)
            .filter(|found| found.end >= range.start)
        {
            range = found.start..found.end.max(range.end);
        }
        while let Some((&start, &end)) = self.ranges.range(range.start..=range.end).next() {
            range.end = range.end.max(end);
            self.ranges.remove(&start);
            self.bytes -= end - start;
        }
        self.bytes += range.end - range.start;
        self.ranges.insert(range.start, range.end);
    }

    /// Removes the range that begins at `start`, or the first `most` bytes of it.
    pub fn take(&mut self, start: u64, most: u64) -> Range<u64> {
        let end = self.ranges.remove(&start).unwrap_or(start);
        let cut = end.min(start + most);
        if cut < end {
            self.ranges.insert(cut, end);
        }
        self.bytes -= cut - start;
        start..cut
    }

    /// The range that begins at `at` or before.
    fn before(&self, at: u64) -> Option<Range<u64>> {
        let (&start, &end) = self.ranges.range(..=at).next_back()?;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(ranges: &[Range<u64>]) -> Extents {
        let mut extents = Extents::default();
        for range in ranges {
            extents.insert(range.clone());
        }
        extents
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let extents = extents(&[4..8, 12..16, 0..2, 8..12, 1..3]);
        assert_eq!(extents.iter().collect::<Vec<_>>(), [0..3, 4..16]);
        assert_eq!(extents.bytes(), 15);
        assert!(extents.contain(&(4..16)) && extents.contain(&(0..3)));
        assert!(!extents.contain(&(2..5)) && !extents.contain(&(16..17)));
    }

    #[test]
    fn a_range_over_others_absorbs_them() {
        let extents = extents(&[4..8, 12..16, 20..24, 30..32, 2..22]);
        assert_eq!(extents.iter().collect::<Vec<_>>(), [2..24, 30..32]);
        assert_eq!(extents.bytes(), 24);
    }

    #[test]
    fn a_part_can_be_taken() {
        let mut extents = Extents::default();
        extents.insert(4..16);
        assert_eq!(extents.take(4, 8), 4..12);
        assert_eq!((extents.bytes(), extents.is_empty()), (4, false));
        assert_eq!(extents.take(12, 8), 12..16);
        assert_eq!((extents.bytes(), extents.is_empty()), (0, true));
    }
}
