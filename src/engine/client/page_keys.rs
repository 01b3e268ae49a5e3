// SPDX-License-Identifier: GPL-2.0

//! Which key seals which version of a page, and the nonce under which it does.
//!
//! Keys are numbered, from 0. Each seals the versions from its first one on, up to the next key's. The owner
//! of the device has the keys themselves. A pair of key and nonce must never meet two contents of a page:
//! a version belongs to one state of one page, and a machine that was rolled back takes another key.
//!
//! AES-GCM: NIST SP 800-38D, with the deterministic construction of section 8.2.1.

use super::ids::{PageIndex, Version};
use crate::sync::{Acquire, Atomic, Relaxed, Release};

/// The most keys of a device. If it has had so many, the last one stays; versions still jump.
pub const MOST_KEYS: usize = 128;

/// Versions after which another key is taken: below 2^36 pages, even if that takes a while to be noticed.
const VERSIONS: u64 = 1 << 35;

/// How far above the versions given out a key begins. So none of its versions is given out before all CPUs
/// can see the key: more are not given out while a CPU takes one.
const AHEAD: u64 = 1 << 32;

/// The nonce of a page: its version, then its index, both big-endian.
pub fn page_nonce(page: PageIndex, version: Version) -> [u8; 12] {
    let mut nonce = [0; 12];
    let (high, low) = nonce.split_at_mut(size_of::<u64>());
    high.copy_from_slice(&version.0.to_be_bytes());
    low.copy_from_slice(&page.0.to_be_bytes());
    nonce
}

/// The number of a key. Below [`MOST_KEYS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyNumber(u16);

impl KeyNumber {
    /// It as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// From which version on each key is used.
pub struct PageKeys {
    first: [Atomic<u64>; MOST_KEYS],
    count: Atomic<u32>,
    /// The number of the counter's jumps when the last key was taken.
    jumps: Atomic<u32>,
}

impl PageKeys {
    /// The first key, for all versions.
    pub const fn new() -> Self {
        Self {
            first: [const { Atomic::<u64>::new(0) }; MOST_KEYS],
            count: Atomic::<u32>::new(1),
            jumps: Atomic::<u32>::new(0),
        }
    }

    /// The key of this version.
    #[inline]
    pub fn key_of(&self, version: Version) -> KeyNumber {
        let count = self.count.load(Acquire) as usize;
        let mut firsts = self.first.iter().take(count);
        let number = firsts.rposition(|first| first.load(Relaxed) <= version.0);
        // CAST: below MOST_KEYS. Key 0 is that of all versions.
        KeyNumber(number.unwrap_or(0) as u16)
    }

    /// The number of the next key, if there may be another one. One caller at a time, until
    /// [`Self::begin`].
    pub fn next(&self) -> Option<KeyNumber> {
        let count = self.count.load(Relaxed);
        let number = u16::try_from(count).ok()?;
        (usize::from(number) < MOST_KEYS).then_some(KeyNumber(number))
    }

    /// The next key, which the caller has put where pages are sealed, is used soon. `next` is the next
    /// version to be given out. Returns the first version of the key: the caller then raises the counter to
    /// it. `jumps`: how often the counter had jumped before the key was made.
    pub fn begin(&self, next: Version, jumps: u32) -> Version {
        let first = Version(next.0.saturating_add(AHEAD));
        let count = self.count.load(Relaxed);
        if let Some(place) = self.first.get(count as usize) {
            place.store(first.0, Relaxed);
            self.count.store(count.wrapping_add(1), Release);
        }
        self.jumps.store(jumps, Relaxed);
        first
    }

    /// Whether another key has been taken since the version was given out.
    #[inline]
    pub fn is_outdated(&self, version: Version) -> bool {
        let count = self.count.load(Acquire) as usize;
        let last = count.checked_sub(1).and_then(|last| self.first.get(last));
        let first = last.map_or(0, |first| first.load(Relaxed));
        version.0 < first.saturating_sub(AHEAD)
    }

    /// Whether another key should be taken before `next` is used.
    pub fn is_due(&self, next: Version, jumps: u32) -> bool {
        let count = self.count.load(Relaxed) as usize;
        let last = count.checked_sub(1).and_then(|last| self.first.get(last));
        let since = last.map_or(0, |first| first.load(Relaxed));
        let is_used_up = next.0.saturating_sub(since) > VERSIONS;
        (is_used_up || jumps != self.jumps.load(Relaxed)) && self.next().is_some()
    }
}

impl Default for PageKeys {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_the_key_that_was_taken_before_it() {
        let keys = std::boxed::Box::new(PageKeys::new());
        let key_of = |version| keys.key_of(Version(version)).index();
        assert_eq!((key_of(0), key_of(u64::MAX)), (0, 0));
        assert_eq!(keys.next(), Some(KeyNumber(1)));
        let first = keys.begin(Version(100), 0).0;
        let second = keys.begin(Version(1 << 40), 1).0;
        assert_eq!((key_of(first - 1), key_of(first)), (0, 1));
        assert_eq!((key_of(second - 1), key_of(second)), (1, 2));
        // A version that is given out before the counter is raised keeps the earlier key.
        assert_eq!((key_of(100), key_of(1 << 40)), (0, 1));
    }

    #[test]
    fn what_was_given_out_before_a_key_was_taken_is_outdated() {
        let keys = std::boxed::Box::new(PageKeys::new());
        assert!(!keys.is_outdated(Version(1)));
        let first = keys.begin(Version(100), 0);
        assert!(keys.is_outdated(Version(99)));
        // These may be given out while the key is being taken, or after it.
        assert!(!keys.is_outdated(Version(100)) && !keys.is_outdated(first));
    }

    #[test]
    fn another_key_is_due_after_a_jump_and_after_many_pages() {
        let keys = std::boxed::Box::new(PageKeys::new());
        assert!(!keys.is_due(Version(1000), 0));
        assert!(keys.is_due(Version(1000), 1));
        let first = keys.begin(Version(1000), 1).0;
        assert!(!keys.is_due(Version(1001), 1));
        assert!(!keys.is_due(Version(first + VERSIONS), 1));
        assert!(keys.is_due(Version(first + VERSIONS + 1), 1));
        for _ in 0..MOST_KEYS {
            keys.begin(Version(1 << 50), 1);
        }
        // The last key stays.
        assert_eq!(keys.next(), None);
        assert!(!keys.is_due(Version(1 << 60), 7));
        assert_eq!(keys.key_of(Version(1 << 60)).index(), MOST_KEYS - 1);
    }

    #[test]
    fn a_nonce_names_version_and_page() {
        let nonce = page_nonce(PageIndex(0x0a0b_0c0d), Version(0x0102_0304_0506_0708));
        assert_eq!(nonce, [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]);
    }
}
