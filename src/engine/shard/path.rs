// SPDX-License-Identifier: GPL-2.0

//! What a shard has measured of the way to one server.

use super::super::placement::Placed;
use super::super::rtt::RttEstimator;
use super::super::window::Window;
use super::list::List;

/// The way to one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    pub(super) rtt: RttEstimator,
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

impl Path {
    /// How long the server may leave a request unanswered before it is suspected: three
    /// timeouts' time.
    pub(super) fn suspect_after_ns(&self) -> u64 {
        self.rtt
            .timeout_ns(0)
            .saturating_mul(3)
            .clamp(SUSPECT_MIN_NS, SUSPECT_MAX_NS)
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
