// SPDX-License-Identifier: GPL-2.0

//! The I/O timeout: when an op ends because nothing that it waits for has answered, and how it ends.
//!
//! How long servers and the disk have been silent: `cluster/io_timeout.rs` and `mirror/io_timeout.rs`.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_part::DiskStage;
use super::op::{Kind, Outcome, Stage};
use super::ops::OpId;
use super::page_in::may_be_on_disk_again;
use super::Shard;

/// How often all ops are checked: no notification comes when the I/O timeout is shortened. Several
/// times within the shortest I/O timeout.
const CHECK_NS: u64 = 125_000_000;

impl<S: Storage> Shard<S> {
    /// A request has begun that must end within the I/O timeout.
    pub(super) fn note_begun(&mut self, now_ns: u64, io_timeout_ns: u64) {
        self.note_deadline(now_ns.saturating_add(io_timeout_ns.min(CHECK_NS)));
    }

    /// Whether the op has waited for the I/O timeout. If it has, it ends, or reads the disk at last.
    pub(super) fn check_io_timeout(
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

    /// Whether a page-in has nothing left to wait for: all holders of the page have been silent for
    /// the I/O timeout, before it began or since.
    pub(super) fn is_in_vain(&self, now_ns: u64, index: OpId, device: &SwapDevice<S>) -> bool {
        let op = &self.ops[index];
        let state = device.disk.load();
        let is_reading = op.disk.is_in_hand() || op.disk.is_reading() && !state.is_given_up();
        if op.kind != Kind::PageIn || is_reading || op.claimed {
            return false;
        }
        let entry = device.map.load(op.page);
        if entry.is_busy() || !entry.is_written() || entry.generation() != op.generation {
            // The op reads the new entry soon.
            return false;
        }
        let may_read =
            entry.is_on_disk() && state.is_attached() && !state.is_given_up() && !op.disk.failed();
        let holders = entry
            .replicas()
            .intersection(device.servers.valid())
            .without(op.tried)
            .union(op.targets());
        let given_up = device.servers.given_up();
        let io_timeout_ns = device.io_timeout_ns();
        // A shard may have received a frame of which the cluster does not know yet.
        let is_silent = |slot| {
            let heard_ns = self.paths[slot].heard_ns;
            let is_heard = heard_ns != 0 && now_ns.saturating_sub(heard_ns) < io_timeout_ns;
            given_up.contains(slot) && !is_heard
        };
        !may_read && !may_be_on_disk_again(entry, device) && holders.iter().all(is_silent)
    }

    /// The I/O timeout has passed, or every copy is known to be lost.
    pub(super) fn give_up(&mut self, index: OpId, device: &SwapDevice<S>) {
        let op = &mut self.ops[index];
        if op.stage == Stage::Parked {
            device.unpark();
        }
        match op.kind {
            Kind::PageOut => self.finish_at_last(index, device),
            Kind::PageIn | Kind::Copy | Kind::Mirror => self.end(index, Outcome::Failed),
        }
    }

    /// The I/O timeout has passed: the page-out ends with the copies it has, or fails.
    pub(super) fn finish_at_last(&mut self, index: OpId, device: &SwapDevice<S>) {
        if self.end_after_put(index) {
            return;
        }
        let op = &self.ops[index];
        let copies = Self::acknowledged(op, device);
        let on_disk = op.disk.stage == DiskStage::Written && device.disk.load().is_attached();
        let is_enough = op.begun.is_some()
            && copies.len().saturating_add(usize::from(on_disk)) >= device.min_copies()
            && self.disk_knows(index, device)
            && device.versions().enter(self.number, op.version);
        match is_enough {
            true => self.finish(index, copies, on_disk, device),
            false => self.fail_page_out(index, Outcome::Failed, device),
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
