// SPDX-License-Identifier: GPL-2.0

//! The versions that were jumped over, in intervals: a table that only grows.
//!
//! Its owner adds room ahead of time. There is one writer at a time. A reader may see inconsistent
//! values meanwhile, and detects this by the jump count of [`Versions`](super::Versions).

use super::super::storage::Words;
use crate::sync::{Acquire, Atomic, Relaxed, SetOnce};

/// Gaps for which there is room from the start.
pub(super) const FIRST: usize = 64;

/// How often the owner may double the room: to 2^16 gaps, about as many as random jumps of a 63-bit
/// counter can make.
const GROWTHS: usize = 10;

/// Words for a gap: two versions, each with its high half first.
const GAP_WORDS: usize = 4;

/// Intervals of versions, from the first up to before the second.
///
/// # Invariants
///
/// The first `len` are in rising order and do not touch each other.
pub(super) struct Gaps<W> {
    len: Atomic<u32>,
    first: [Atomic<u32>; FIRST * GAP_WORDS],
    /// Each has as much room as all before it.
    more: [SetOnce<W>; GROWTHS],
}

impl<W: Words> Gaps<W> {
    /// No gaps.
    pub(super) const fn new() -> Self {
        Self {
            len: Atomic::<u32>::new(0),
            first: [const { Atomic::<u32>::new(0) }; FIRST * GAP_WORDS],
            more: [const { SetOnce::new() }; GROWTHS],
        }
    }

    /// Number of gaps.
    pub(super) fn len(&self) -> usize {
        self.len.load(Acquire) as usize
    }

    /// The words of gap number `index`, if there is room for it.
    fn words(&self, index: usize) -> Option<&[Atomic<u32>]> {
        let (table, offset) = match (index / FIRST).checked_ilog2() {
            None => (&self.first as &[Atomic<u32>], index),
            Some(growth) => {
                let table = self.more.get(growth as usize)?.as_ref()?;
                (table.deref(), index.checked_sub(FIRST << growth)?)
            }
        };
        table
            .get(offset.checked_mul(GAP_WORDS)?..)?
            .get(..GAP_WORDS)
    }

    /// All loads are acquire, so that the count of jumps can be checked afterwards.
    fn load(&self, index: usize) -> Option<(u64, u64)> {
        let both = |high: &Atomic<u32>, low: &Atomic<u32>| {
            u64::from(high.load(Acquire)) << 32 | u64::from(low.load(Acquire))
        };
        match self.words(index)? {
            [from, from_low, to, to_low] => Some((both(from, from_low), both(to, to_low))),
            _ => None,
        }
    }

    /// Returns whether there was room.
    fn store(&self, index: usize, from: u64, to: u64) -> bool {
        let Some(words) = self.words(index) else {
            return false;
        };
        for (word, half) in words.iter().zip([from >> 32, from, to >> 32, to]) {
            // CAST: the low half is what is wanted.
            word.store(half as u32, Relaxed);
        }
        true
    }

    /// Whether the version is in a gap.
    pub(super) fn contains(&self, version: u64) -> bool {
        if version >= self.end() {
            // Given out since the last jump, as most are.
            return false;
        }
        // The number of gaps that begin at the version or below.
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.load(middle) {
                Some((from, _)) if from <= version => low = middle.saturating_add(1),
                Some(_) => high = middle,
                None => return false,
            }
        }
        let last = low.checked_sub(1).and_then(|index| self.load(index));
        last.is_some_and(|(_, to)| version < to)
    }

    /// Where the last gap ends; 0 if there is none.
    pub(super) fn end(&self) -> u64 {
        let last = self.len().checked_sub(1).and_then(|last| self.load(last));
        last.map_or(0, |(_, to)| to)
    }

    /// Adds a gap that begins behind all others, or touches the last one. Without room, the last
    /// gap is extended: pages with the versions in between are lost, but no page of another instance is
    /// taken for ours.
    pub(super) fn note(&self, from: u64, to: u64) {
        let len = self.len();
        if let Some(last) = len.checked_sub(1) {
            if let Some((last_from, last_to)) = self.load(last) {
                // If they touch, no version was given out in between.
                if last_to >= from || self.words(len).is_none() {
                    self.store(last, last_from, to);
                    return;
                }
            }
        }
        if self.store(len, from, to) {
            self.len.add(1, Relaxed);
        }
    }

    /// How many zero words are wanted for more room, because half of it is used. `None` if none are.
    pub(super) fn wanted_words(&self) -> Option<usize> {
        let growth = self.more.iter().position(|one| one.as_ref().is_none())?;
        let room = FIRST << growth;
        (self.len() > room / 2).then_some(room.saturating_mul(GAP_WORDS))
    }

    /// Adds room: as many zeros as [`Self::wanted_words`] returns; other sizes are ignored.
    pub(super) fn grow(&self, words: W) {
        let mut places = self.more.iter().enumerate();
        let free = places.find(|(_, place)| place.as_ref().is_none());
        if let Some((growth, place)) = free {
            if (FIRST << growth).saturating_mul(GAP_WORDS) == words.len() {
                place.populate(words);
            }
        }
    }
}
