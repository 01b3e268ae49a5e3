// SPDX-License-Identifier: GPL-2.0

//! Ops that wait: parked until another page-out of their page has ended, or stalled until a server or the
//! disk can help. And how they are retried.

use super::super::ids::{PageIndex, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome, Stage};
use super::ops::OpId;
use super::Shard;

impl<S: Storage> Shard<S> {
    /// Parks the op until the page is no longer being written. Returns false if it is not being
    /// written.
    pub(super) fn park(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) -> bool {
        let op = &mut self.ops[index];
        device.park();
        if !device.map.load(op.page).is_busy() {
            device.unpark();
            return false;
        }
        op.stage = Stage::Parked;
        // After the write a server may hold the page that did not before, in the same generation.
        op.tried = SlotSet::EMPTY;
        op.doubted = SlotSet::EMPTY;
        self.counters.parked = self.counters.parked.wrapping_add(1);
        self.note_deadline(now_ns.saturating_add(super::SAFETY_NET_NS));
        true
    }

    /// A page-out of `page`, or of any page for `None`, has ended somewhere: retries the ops that
    /// were parked for it.
    pub fn unpark(&mut self, now_ns: u64, page: Option<PageIndex>, device: &SwapDevice<S>) {
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &self.ops[index];
            if op.stage == Stage::Parked && page.is_none_or(|page| page == op.page) {
                self.retry_op(now_ns, index, device);
            }
        }
    }

    /// The op waits until a server or the disk may help, and is retried at `retry_ns` at the latest.
    pub(super) fn stall(&mut self, index: OpId, retry_ns: u64) {
        self.ops[index].stage = Stage::Stalled;
        self.note_deadline(retry_ns);
    }

    /// Begins an op again that has waited.
    pub(super) fn retry_op(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let op = &mut self.ops[index];
        if op.stage == Stage::Parked {
            device.unpark();
        }
        op.stage = Stage::Stalled;
        match op.kind {
            Kind::PageOut => {
                self.allow_put_again(index);
                self.begin_page_out(now_ns, index, device);
            }
            Kind::PageIn => {
                self.allow_ask_again(index);
                self.begin_page_in(now_ns, index, device);
            }
            Kind::RepairToServer | Kind::RepairToDisk => self.end(index, Outcome::Failed),
        }
    }

    /// Counts an op that waits for a server, once.
    pub(super) fn count_stalled(&mut self, index: OpId) {
        let op = &mut self.ops[index];
        if !core::mem::replace(&mut op.counted_stalled, true) {
            self.counters.stalled = self.counters.stalled.wrapping_add(1);
        }
    }
}
