// SPDX-License-Identifier: GPL-2.0

//! How late a timer or the worker runs when this client was stopped. Then silence says nothing about servers
//! and the disk.

/// A timer of a shard or of the mirror that is this late.
pub(super) const TIMER_LATE_NS: u64 = 250_000_000;

/// A run of the cluster's worker that is this late. Other tasks may delay it for longer than a timer.
pub(super) const WORKER_LATE_NS: u64 = 500_000_000;
