// SPDX-License-Identifier: GPL-2.0

//! Which version of each page is the newest: 32 bits of it, above those that the page map keeps.
//!
//! The map has 8 bits of a page's version. Without more of them a server could return any older version of a
//! page that has the same 8 bits and was sealed by this client, and would not be found out.
//!
//! What is known must never be wrong: a page would not be read any more. Copies that repair makes have later
//! versions than the one that is noted, so versions are compared by their order, and 40 bits have an order
//! only while the counter does not move by half of that. So all that is known is forgotten after a jump that
//! the machine has announced, and now and then. Pages that are written after that are known again. Jumps that
//! servers cause keep the order of the 40 bits.

use super::ids::{Generation, PageIndex, Version};
use super::storage::Words;
use super::versions::jump::JUMP;
use crate::sync::{Acquire, Atomic, Relaxed, Release};

/// After so many versions all is forgotten: half as many as would be compared rightly.
const MOST_VERSIONS: u64 = 1 << 38;

/// A version without the bits that are in the map.
fn high(version: Version) -> u32 {
    // CAST: the low bits of what is left are what is wanted.
    (version.0 >> u8::BITS) as u32
}

/// One word a page, in storage of the caller.
pub struct NewestVersions<W> {
    /// 0 if nothing is known of the page.
    words: W,
    /// All that is known was noted since this version, and since so many jumps of the counter.
    since: Atomic<u64>,
    jumps: Atomic<u32>,
}

/// All that is known is being forgotten, page by page.
#[derive(Clone, Copy, Debug)]
pub struct Forgetting {
    next: usize,
    since: Version,
    jumps: u32,
}

impl<W: Words> NewestVersions<W> {
    /// Nothing is known; the words are all zero.
    pub fn new(words: W) -> Self {
        Self {
            words,
            since: Atomic::<u64>::new(0),
            jumps: Atomic::<u32>::new(0),
        }
    }

    fn cell(&self, page: PageIndex) -> Option<&Atomic<u32>> {
        self.words.get(page.0 as usize)
    }

    /// The page, which is being written, gets this version.
    pub fn note(&self, page: PageIndex, version: Version) {
        if let Some(cell) = self.cell(page) {
            cell.store(high(version), Relaxed);
        }
    }

    /// It may not have got it.
    pub fn forget_page(&self, page: PageIndex) {
        if let Some(cell) = self.cell(page) {
            cell.store(0, Relaxed);
        }
    }

    /// Whether this version of a page, whose newest version has these low bits by the map, is known to be
    /// older than that, and the page has not been written since `asked` was the next version to be given out.
    /// `jumps`: how many jumps of the counter the machine has announced; `None` while it jumps.
    pub fn is_rolled_back(
        &self,
        (page, generation): (PageIndex, Generation),
        version: Version,
        asked: Version,
        jumps: Option<u32>,
    ) -> bool {
        // Before the word: what was noted before this is forgotten.
        let since = self.since.load(Acquire);
        if jumps != Some(self.jumps.load(Acquire)) || asked.0 < since {
            return false;
        }
        let newest = self.cell(page).map_or(0, |cell| cell.load(Relaxed));
        if newest == 0 {
            return false;
        }
        let is_older = version.0 < since || high(version).wrapping_sub(newest) > u32::MAX / 2;
        // By their low 40 bits.
        let low_bits = u64::from(newest) << u8::BITS | u64::from(generation.0);
        let is_written_since = low_bits.wrapping_sub(asked.0) << 24 < 1 << 63;
        is_older && !is_written_since
    }

    /// Whether all that is known is to be forgotten. `next` is the next version to be given out.
    pub fn must_forget(&self, next: Version, jumps: Option<u32>) -> bool {
        let since = self.since.load(Relaxed);
        let has_jumped = jumps.is_some_and(|jumps| jumps != self.jumps.load(Relaxed));
        // Jumps that servers cause are whole multiples of 2^40.
        has_jumped || next.0.saturating_sub(since) % JUMP > MOST_VERSIONS
    }

    /// Forgets what is known of so many more pages. All versions below `settled` are settled. Returns what is
    /// left to be done. For one caller at a time.
    pub fn forget(
        &self,
        begun: Option<Forgetting>,
        pages: usize,
        settled: Version,
        jumps: Option<u32>,
    ) -> Option<Forgetting> {
        let same = begun.filter(|begun| Some(begun.jumps) == jumps);
        let mut now = match (same, jumps) {
            (Some(begun), _) => begun,
            (None, Some(jumps)) => Forgetting {
                next: 0,
                since: settled,
                jumps,
            },
            (None, None) => return None,
        };
        let end = now.next.saturating_add(pages).min(self.words.len());
        for cell in self.words.get(now.next..end).unwrap_or_default() {
            cell.store(0, Relaxed);
        }
        now.next = end;
        if end < self.words.len() {
            return Some(now);
        }
        self.since.store(now.since.0, Release);
        self.jumps.store(now.jumps, Release);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::storage::heap::words;

    const PAGE: PageIndex = PageIndex(1);

    /// Whether it is found out that the page is returned in this version, `asked` being the next one.
    fn is_found(
        newest: &NewestVersions<std::vec::Vec<Atomic<u32>>>,
        written: u64,
        returned: u64,
        asked: u64,
        jumps: Option<u32>,
    ) -> bool {
        let page = (PAGE, Version(written).generation());
        newest.is_rolled_back(page, Version(returned), Version(asked), jumps)
    }

    #[test]
    fn older_versions_of_one_generation_are_told_from_the_newest() {
        let newest = NewestVersions::new(words(2));
        assert!(
            !is_found(&newest, 0, 0x1234, 0x1300, Some(0)),
            "nothing is known"
        );
        for version in [0x1234, 1 << 37, (1 << 38) + 7] {
            newest.note(PAGE, Version(version));
            let is_found = |returned| is_found(&newest, version, returned, version + 1, Some(0));
            assert!(!is_found(version));
            // Copies that repair made later.
            assert!(!is_found(version + 0x100) && !is_found(version + (1 << 38)));
            for older in [0x100, 0x200, version & !0xff] {
                assert!(is_found(version - older), "{version} {older}");
            }
        }
        for page in [0, 2] {
            let page = (PageIndex(page), Generation(0));
            assert!(!newest.is_rolled_back(page, Version(0), Version(1), Some(0)));
        }
    }

    #[test]
    fn an_answer_about_a_page_that_was_written_since_is_none() {
        let newest = NewestVersions::new(words(2));
        for version in [0x1234, (1 << 38) + 7, (5 << 40) + 0x1ff] {
            newest.note(PAGE, Version(version));
            for (asked, found) in [
                (version - 0x200, false),
                (version, false),
                (version + 1, true),
                (version + 0x100, true),
            ] {
                let is_found = is_found(&newest, version, version - 0x100, asked, Some(0));
                assert_eq!(is_found, found, "{version:x} {asked:x}");
            }
        }
    }

    #[test]
    fn nothing_is_known_of_a_page_that_may_not_have_got_its_version() {
        let newest = NewestVersions::new(words(2));
        newest.note(PAGE, Version(0x900));
        newest.forget_page(PAGE);
        assert!(!is_found(&newest, 0x900, 0x500, 0xa00, Some(0)));
    }

    #[test]
    fn nothing_is_known_after_a_jump_until_it_is_noted_again() {
        let newest = NewestVersions::new(words(2));
        let jump = 0x0123_4567_89ab;
        newest.note(PAGE, Version(0x500));
        // A copy of repair's may have any version above.
        for jumps in [None, Some(1)] {
            assert!(!is_found(&newest, 0x500, 0x400, jump, jumps));
        }
        assert!(newest.must_forget(Version(jump), Some(1)));
        let settled = Version(jump);
        let left = newest.forget(None, 1, settled, Some(1));
        assert!(left.is_some() && !is_found(&newest, 0x500, 0, jump, Some(1)));
        // Another jump comes before all is forgotten, and while it is made nothing is begun.
        assert!(newest.forget(left, 1, settled, None).is_none());
        let left = newest.forget(left, 1, settled, Some(2));
        assert!(newest.forget(left, 1, settled, Some(2)).is_none());
        assert!(!newest.must_forget(Version(jump), Some(2)));
        assert!(!is_found(&newest, 0x500, 0, jump, Some(2)));
        let version = jump + 0x500;
        newest.note(PAGE, Version(version));
        assert!(!is_found(&newest, version, version, version + 1, Some(2)));
        // Whatever was written before the jump, unless it was asked for then.
        for older in [version - 0x100, jump - 0x100, jump / 2, 0x500] {
            assert!(
                is_found(&newest, version, older, version + 1, Some(2)),
                "{older:x}"
            );
            assert!(!is_found(&newest, version, older, jump - 1, Some(2)));
        }
    }

    #[test]
    fn a_jump_that_a_server_causes_makes_nothing_unknown() {
        let newest = NewestVersions::new(words(2));
        let (version, jumped) = (0x500, 3 * JUMP);
        newest.note(PAGE, Version(version));
        let next = jumped + 0x600;
        assert!(!newest.must_forget(Version(next), Some(0)));
        assert!(is_found(&newest, version, 0x400, next, Some(0)));
        // A copy of repair's.
        assert!(!is_found(&newest, version, jumped + 0x500, next, Some(0)));
        newest.note(PAGE, Version(jumped + 0x700));
        assert!(is_found(&newest, 0x700, version, jumped + 0x800, Some(0)));
    }

    #[test]
    fn all_is_forgotten_before_versions_could_be_compared_wrongly() {
        let newest = NewestVersions::new(words(2));
        assert!(!newest.must_forget(Version(MOST_VERSIONS), Some(0)));
        assert!(newest.must_forget(Version(MOST_VERSIONS + 1), Some(0)));
        newest.note(PAGE, Version(0x500));
        let settled = Version(MOST_VERSIONS);
        assert!(newest.forget(None, 2, settled, Some(0)).is_none());
        assert!(!is_found(&newest, 0x500, 0x400, MOST_VERSIONS, Some(0)));
        assert!(!newest.must_forget(Version(2 * MOST_VERSIONS), Some(0)));
    }
}
