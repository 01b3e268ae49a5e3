// SPDX-License-Identifier: GPL-2.0

//! Yields the processor before sleeping, if that brings the next frames.
//!
//! If clients or other servers share the processor, they send their next frames while they run. The server
//! then finds these without having slept, and several requests at a time. If no other task runs, or one that
//! keeps the processor, the server notices and stops yielding.

use std::time::{Duration, Instant};

/// A yield that takes this long does not pay: another task uses the processor for something else.
const LONG: Duration = Duration::from_millis(1);
/// The most sleeps between two attempts: after attempts that brought nothing, and after long ones.
const MOST_IN_VAIN: u32 = 256;
const MOST_LONG: u32 = 65_536;

/// The results of previous yields.
#[derive(Debug, Default)]
pub struct AdaptiveYield {
    /// Sleeps until the next attempt.
    skip: u32,
    /// Sleeps to skip after the next failed attempt.
    penalty: u32,
}

impl AdaptiveYield {
    /// Yields, if that is worth trying. Returns whether a frame has arrived meanwhile, according to
    /// `is_ready`.
    pub fn give_way(&mut self, is_ready: impl FnOnce() -> bool) -> bool {
        if let Some(left) = self.skip.checked_sub(1) {
            self.skip = left;
            return false;
        }
        let began = Instant::now();
        std::thread::yield_now();
        let ready = is_ready();
        self.note(began.elapsed(), ready);
        ready
    }

    fn note(&mut self, took: Duration, ready: bool) {
        let most = match (took >= LONG, ready) {
            (true, _) => MOST_LONG,
            (false, true) => {
                self.penalty = 0;
                return;
            }
            (false, false) => MOST_IN_VAIN,
        };
        let least = if most == MOST_LONG { MOST_IN_VAIN } else { 1 };
        self.penalty = (self.penalty.saturating_mul(2)).clamp(least, most.max(self.penalty));
        self.skip = self.penalty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(20);

    #[test]
    fn goes_on_while_it_brings_something() {
        let mut adaptive_yield = AdaptiveYield::default();
        for _ in 0..10 {
            adaptive_yield.note(SHORT, true);
            assert_eq!(adaptive_yield.skip, 0);
        }
    }

    #[test]
    fn gives_up_bit_by_bit_where_nobody_sends() {
        let mut adaptive_yield = AdaptiveYield::default();
        let mut skips = Vec::new();
        for _ in 0..10 {
            adaptive_yield.note(SHORT, false);
            skips.push(adaptive_yield.skip);
        }
        assert_eq!(skips, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256]);
        adaptive_yield.note(SHORT, true);
        adaptive_yield.note(SHORT, false);
        assert_eq!(adaptive_yield.skip, 1);
    }

    #[test]
    fn does_not_wait_again_soon_for_who_takes_long() {
        let mut adaptive_yield = AdaptiveYield::default();
        adaptive_yield.note(LONG, true);
        assert_eq!(adaptive_yield.skip, MOST_IN_VAIN);
        for _ in 0..20 {
            adaptive_yield.note(LONG, true);
        }
        assert_eq!(adaptive_yield.skip, MOST_LONG);
        adaptive_yield.note(SHORT, false);
        assert!(adaptive_yield.skip <= MOST_LONG);
        adaptive_yield.note(SHORT, true);
        adaptive_yield.note(SHORT, false);
        assert_eq!(adaptive_yield.skip, 1);
    }

    #[test]
    fn skipped_attempts_do_not_look() {
        let mut adaptive_yield = AdaptiveYield {
            skip: 2,
            penalty: 2,
        };
        assert!(!adaptive_yield.give_way(|| panic!("looked")));
        assert!(!adaptive_yield.give_way(|| panic!("looked")));
        assert!(adaptive_yield.give_way(|| true));
    }
}
