// SPDX-License-Identifier: GPL-2.0

//! What a shard has measured of the way to one server.

use super::super::placement::Placed;
use super::super::quantile::Quantile;
use super::super::rtt::RttEstimator;
use super::super::window::Window;
use super::list::List;

/// The way to one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    pub(super) rtt: RttEstimator,
    /// How long all but one of 33 page-ins take.
    page_in: Quantile<3, 8>,
    pub(super) window: Window,
    pub(super) placed: Placed,
    /// Whether it has let a request run into its timeout since a frame of it last came.
    pub(super) overdue: bool,
    /// When a frame of it last came.
    pub(super) heard_ns: u64,
    /// Transfers that wait for room in the window.
    pub(super) waiting: List,
}

/// How long a server may be silent before it is suspected, however quick it was: longer than a
/// busy machine's hiccup, for a page-out then goes on without it. Page-ins need not wait so long:
/// they ask another replica after one timeout.
const SUSPECT_MIN_NS: u64 = 250_000_000;
/// And how long at the most, however slow.
const SUSPECT_MAX_NS: u64 = 2_000_000_000;

/// Sendings that there is time for within the I/O timeout, at the least.
const TRIES: u64 = 8;

/// The shortest time after which another replica is asked too: on a segment where page-ins take less
/// than that, a timer for each would cost more than waiting.
const HEDGE_MIN_NS: u64 = 1_000_000;
/// The longest: servers that stood still for a while are not waited for so long ever after.
const HEDGE_MAX_NS: u64 = 40_000_000;

impl Path {
    /// How long to wait for an answer that has been asked for `tries` times before: however slow the
    /// path was, several tries fit into the I/O timeout.
    pub(super) fn retry_after_ns(&self, tries: u32, io_timeout_ns: u64) -> u64 {
        self.rtt
            .timeout_ns(tries)
            .min(Self::tries_within(io_timeout_ns))
    }

    /// The longest that an answer is waited for, so that several tries fit into the I/O timeout.
    pub(super) fn tries_within(io_timeout_ns: u64) -> u64 {
        io_timeout_ns / TRIES
    }

    /// A page-in took so long.
    pub(super) fn note_page_in(&mut self, took_ns: u64) {
        self.page_in.sample(took_ns.min(HEDGE_MAX_NS));
    }

    /// How long a page-in may take before another replica is asked as well: longer than nearly all
    /// of this server's, and never as long as the retransmission timeout.
    pub(super) fn hedge_after_ns(&self) -> u64 {
        let timeout_ns = self.rtt.timeout_ns(0);
        match self.page_in.estimate_ns() {
            0 => timeout_ns / 2,
            slow_ns => slow_ns
                .clamp(HEDGE_MIN_NS, HEDGE_MAX_NS)
                .min(timeout_ns / 2),
        }
    }

    /// How long the server may leave a request unanswered before it is suspected: three timeouts'
    /// time, and however slow it was, so soon that the I/O timeout is enough for another try. Perhaps
    /// only pages in one piece do not cross the way any more.
    pub(super) fn suspect_after_ns(&self, io_timeout_ns: u64) -> u64 {
        self.rtt
            .timeout_ns(0)
            .saturating_mul(3)
            .min(SUSPECT_MAX_NS)
            .min(io_timeout_ns / 4)
            .max(SUSPECT_MIN_NS)
    }

    /// How soon an answer is to be expected, in units of 4 µs, coarse so that equals are equal. A
    /// server that is overdue comes after all others.
    pub(super) fn expected(&self) -> u64 {
        if self.overdue {
            return u64::MAX;
        }
        self.rtt
            .smoothed_ns()
            .saturating_mul(u64::from(self.window.in_flight()).saturating_add(4))
            >> 14
    }
}
