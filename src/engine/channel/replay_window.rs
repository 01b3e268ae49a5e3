// SPDX-License-Identifier: GPL-2.0

//! Which counters of a lane have been received: each is accepted once, and none that is too old to tell.
//!
//! The algorithm: RFC 6479, "IPsec Anti-Replay Algorithm without Bit Shifting".

/// Words of the bitmap.
const WORDS: usize = 17;
/// Counters of a word.
const WORD_BITS: u64 = 64;

/// The counters received of one lane under one key.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// One more than the highest counter received; 0 if there is none.
    next: u64,
    /// Bit *i* of word *w* is for counters whose remainders are those. The word ahead of the highest
    /// counter's is not complete, so one fewer counts.
    received: [u64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self {
            next: 0,
            received: [0; WORDS],
        }
    }
}

impl ReplayWindow {
    /// A counter that is lower than the highest by as much is refused.
    pub const LEN: u64 = (WORDS as u64 - 1) * WORD_BITS;

    /// The word of a counter, and its bit there.
    fn place(counter: u64) -> (usize, u64) {
        // PANIC: none; both divisors are constants other than 0. CAST: below `WORDS`.
        let word = (counter / WORD_BITS % WORDS as u64) as usize;
        (word, 1 << (counter % WORD_BITS))
    }

    /// Whether a frame with this counter may be accepted.
    #[inline]
    pub fn may_accept(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        if self.next.wrapping_sub(counter) > Self::LEN {
            return false;
        }
        let (word, bit) = Self::place(counter);
        self.received.get(word).is_some_and(|word| word & bit == 0)
    }

    /// Accepts a frame with this counter, whose signature has been verified. Returns false if it was accepted
    /// before, or is too old.
    #[inline]
    pub fn accept(&mut self, counter: u64) -> bool {
        if !self.may_accept(counter) && !mutated!(WindowUnchecked) {
            return false;
        }
        if counter >= self.next {
            let newest = self.next.wrapping_sub(1) / WORD_BITS;
            let first = match self.next {
                0 => 0,
                _ => newest.wrapping_add(1),
            };
            let last = counter / WORD_BITS;
            // At most all words are behind now.
            for word in first.max(last.saturating_sub(WORDS as u64 - 1))..=last {
                // PANIC: none, as above.
                if let Some(word) = self.received.get_mut((word % WORDS as u64) as usize) {
                    *word = 0;
                }
            }
            self.next = counter.wrapping_add(1);
        }
        let (word, bit) = Self::place(counter);
        if let Some(word) = self.received.get_mut(word) {
            *word |= bit;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_once_in_any_order() {
        let mut window = ReplayWindow::default();
        for counter in [0, 5, 3, 4, 1023, 1, 2, 1024, 700] {
            assert!(window.may_accept(counter), "{counter}");
            assert!(window.accept(counter), "{counter}");
            assert!(!window.may_accept(counter), "{counter}");
            assert!(!window.accept(counter), "{counter}");
        }
    }

    #[test]
    fn what_is_too_old_is_refused() {
        let mut window = ReplayWindow::default();
        assert!(window.accept(5000));
        assert!(!window.accept(5000 - ReplayWindow::LEN));
        assert!(window.accept(5001 - ReplayWindow::LEN));
        assert!(window.accept(1 << 47));
        assert!(!window.accept(5002));
    }

    /// Compared with a list of all that was accepted.
    #[test]
    fn any_course() {
        let mut state = 7_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state >> 33
        };
        for round in 0..50 {
            let mut window = ReplayWindow::default();
            let mut accepted = std::vec::Vec::new();
            let mut top = 0_u64;
            for _ in 0..2000 {
                let back = random() % [40, 1100, 3000][round % 3];
                let counter = (top + random() % 50).saturating_sub(back);
                let highest = accepted.iter().copied().max();
                let expected = !accepted.contains(&counter)
                    && highest.is_none_or(|highest: u64| {
                        counter > highest || highest - counter < ReplayWindow::LEN
                    });
                assert_eq!(window.accept(counter), expected, "{counter} at {highest:?}");
                if expected {
                    accepted.push(counter);
                    top = top.max(counter);
                }
                if random() % 200 == 0 {
                    top += random() % 5000;
                }
            }
        }
    }
}
