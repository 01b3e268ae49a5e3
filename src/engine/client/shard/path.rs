// SPDX-License-Identifier: GPL-2.0

//! What a shard has measured of the path to one server.

use super::super::quantile::Quantile;
use super::super::retransmission_timeout::RttEstimator;
use super::super::utilisation::Placed;
use super::super::window::Window;
use super::list::List;
use super::ops::TransferId;

/// The path to one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    pub(super) rtt: RttEstimator,
    /// The time within which 32 of 33 page-ins end.
    pub(super) page_in: Quantile<3, 8>,
    pub(super) window: Window,
    pub(super) placed: Placed,
    /// Whether a request to it has timed out since a frame of it was last received.
    pub(super) overdue: bool,
    /// When a frame of it was last received.
    pub(super) heard_ns: u64,
    /// When a page-out may ask it although it is full, or checks whether a client is alive.
    pub(super) ask_full_ns: Option<u64>,
    /// Since when it has been checking whether clients are alive, and has taken no page that it did not
    /// hold; 0 if it has not.
    pub(super) checks_since_ns: u64,
    /// Transfers that wait for room in the window.
    pub(super) waiting: List<TransferId>,
}
