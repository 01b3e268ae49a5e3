// SPDX-License-Identifier: GPL-2.0

//! What a shard has measured of the path to one server.

use super::super::quantile::Quantile;
use super::super::rtt::RttEstimator;
use super::super::utilisation::Placed;
use super::super::window::Window;
use super::list::List;
use super::ops::TransferId;

/// The path to one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    pub(super) rtt: RttEstimator,
    /// The time within which 32 of 33 page-ins end.
    page_in: Quantile<3, 8>,
    pub(super) window: Window,
    pub(super) placed: Placed,
    /// Whether a request to it has timed out since a frame of it was last received.
    pub(super) overdue: bool,
    /// When a frame of it was last received.
    pub(super) heard_ns: u64,
    /// Transfers that wait for room in the window.
    pub(super) waiting: List<TransferId>,
}

/// The number of attempts that fit at least into the I/O timeout.
const TRIES: u64 = 8;

/// The shortest time before a hedge: on a segment with quicker page-ins, a timer for each would
/// cost more than waiting.
const HEDGE_MIN_NS: u64 = 1_000_000;
/// The longest, so that a server that once stalled does not delay hedges for long.
const HEDGE_MAX_NS: u64 = 40_000_000;

impl Path {
    /// How long to wait for an answer after `tries` timeouts: however slow the path was, several
    /// attempts fit into the I/O timeout.
    pub(super) fn retry_after_ns(&self, tries: u32, io_timeout_ns: u64) -> u64 {
        self.rtt
            .timeout_ns(tries)
            .min(Self::tries_within(io_timeout_ns))
    }

    /// The longest wait for an answer, so that several attempts fit into the I/O timeout.
    pub(super) fn tries_within(io_timeout_ns: u64) -> u64 {
        io_timeout_ns / TRIES
    }

    /// Records the duration of a page-in.
    pub(super) fn note_page_in(&mut self, took_ns: u64) {
        self.page_in.sample(took_ns.min(HEDGE_MAX_NS));
    }

    /// How long a page-in may take before another replica is asked as well: longer than nearly all
    /// of this server's, and at most half the retransmission timeout.
    pub(super) fn hedge_after_ns(&self) -> u64 {
        let timeout_ns = self.rtt.timeout_ns(0);
        match self.page_in.estimate_ns() {
            0 => timeout_ns / 2,
            slow_ns => slow_ns
                .clamp(HEDGE_MIN_NS, HEDGE_MAX_NS)
                .min(timeout_ns / 2),
        }
    }

    /// The expected time until an answer, in units of 4 µs, coarse so that similar servers are
    /// equal. A server that is overdue comes after all others.
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
