// SPDX-License-Identifier: GPL-2.0

//! How many pages may be under way to one server.
//!
//! Additive increase, multiplicative decrease (RFC 5681, in pages instead of segments): the window
//! opens while answers arrive, and halves on loss at most once a round trip. So many page-ins at
//! once do not overrun a switch port (incast).

/// The initial window.
const INITIAL: u32 = 32;
/// The smallest window, however much is lost.
const MIN: u32 = 2;
/// The largest window.
const MAX: u32 = 512;

/// A path's window.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pages: u32,
    threshold: u32,
    /// Answers since the window last grew by one.
    credit: u32,
    in_flight: u32,
    /// Losses before this time belong to the last decrease.
    decided_until_ns: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            pages: INITIAL,
            threshold: MAX,
            credit: 0,
            in_flight: 0,
            decided_until_ns: 0,
        }
    }
}

impl Window {
    /// Whether another page may be sent.
    pub fn has_room(&self) -> bool {
        self.in_flight < self.pages
    }

    /// A page is sent.
    pub fn enter(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// A page is no longer under way, however it ended.
    pub fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// An answer has arrived.
    pub fn on_answer(&mut self) {
        self.credit = self.credit.wrapping_add(1);
        let needed = if self.pages < self.threshold {
            1
        } else {
            self.pages
        };
        if self.credit >= needed {
            self.credit = 0;
            self.pages = self.pages.saturating_add(1).min(MAX);
        }
    }

    /// A frame was lost.
    pub fn on_loss(&mut self, now_ns: u64, rtt_ns: u64) {
        if now_ns < self.decided_until_ns {
            return;
        }
        self.pages = (self.pages / 2).max(MIN);
        self.threshold = self.pages;
        self.credit = 0;
        self.decided_until_ns = now_ns.saturating_add(rtt_ns);
    }

    /// Pages under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_and_halves() {
        let mut window = Window::default();
        for _ in 0..INITIAL {
            assert!(window.has_room());
            window.enter();
        }
        assert!(!window.has_room());
        window.on_answer();
        assert!(window.has_room());
        window.on_loss(100, 50);
        assert_eq!(window.pages, INITIAL.div_ceil(2));
        window.on_loss(149, 50);
        assert_eq!(window.pages, INITIAL.div_ceil(2), "the same loss");
        for round in 0..20 {
            window.on_loss(1000 * (round + 1), 50);
        }
        assert_eq!(window.pages, MIN);
        // Above the threshold the window grows by one for each window of answers.
        window.on_answer();
        assert_eq!(window.pages, MIN);
        window.on_answer();
        assert_eq!(window.pages, MIN + 1);
    }
}
