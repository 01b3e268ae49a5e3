// SPDX-License-Identifier: GPL-2.0

//! The I/O timeout of a request: when it has waited that long, and how it ends then.
//!
//! How long servers and the disk have been silent: `cluster/silence.rs` and `mirror/disk_timeout.rs`.
//! Which requests fail earlier: `fail_at_once.rs`.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome, Stage};
use super::ops::OpId;
use super::Shard;

/// How often all ops are checked: no notification comes when the I/O timeout is shortened. Several
/// times within the shortest I/O timeout.
const CHECK_NS: u64 = 125_000_000;

impl<S: Storage> Shard<S> {
    /// A request has begun that must end within the I/O timeout.
    pub(super) fn note_begun(&mut self, now_ns: u64, io_timeout_ns: u64) {
        self.note_deadline(now_ns.saturating_add(io_timeout_ns.min(CHECK_NS)));
    }

    /// Ends the op if it has waited for the I/O timeout, or lets it read the disk at last. Returns whether it
    /// has waited that long.
    pub(super) fn end_if_timed_out(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> bool {
        // Applies the I/O timeout as it is now, also to requests that began under a longer one.
        let waits_from_ns = self.ops[index].waits_from_ns;
        let end_ns = waits_from_ns.saturating_add(device.io_timeout_ns());
        if now_ns < end_ns || mutated!(IoTimeoutIgnored) {
            self.note_deadline(end_ns.min(now_ns.saturating_add(CHECK_NS)));
            return false;
        }
        match self.ask_disk_at_last(index, device) {
            true => self.wait_for_disk(now_ns, index, device),
            false => self.give_up(index, device),
        }
        true
    }

    /// The I/O timeout has passed, or every copy is known to be lost.
    pub(super) fn give_up(&mut self, index: OpId, device: &SwapDevice<S>) {
        let op = &mut self.ops[index];
        if op.stage == Stage::Parked {
            device.unpark();
        }
        match op.kind {
            Kind::PageOut => self.complete_or_fail(index, device),
            _ => self.end(index, Outcome::Failed),
        }
    }

    /// A page-in that has timed out has asked the disk, which has [`CHECK_NS`] to answer. So the I/O timeout
    /// is exceeded by no more than that.
    fn wait_for_disk(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        self.ops[index].waits_from_ns = now_ns
            .saturating_add(CHECK_NS)
            .saturating_sub(device.io_timeout_ns());
        self.note_deadline(now_ns.saturating_add(CHECK_NS));
    }

    /// The client was stopped for this long, so no answer could arrive. Ops that began since,
    /// before this timer ran, have not waited at all.
    pub(super) fn postpone_io_timeout(&mut self, now_ns: u64, stopped_ns: u64) {
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &mut self.ops[index];
            let put_off_ns = op.waits_from_ns.saturating_add(stopped_ns);
            op.waits_from_ns = put_off_ns.min(now_ns);
        }
    }
}
