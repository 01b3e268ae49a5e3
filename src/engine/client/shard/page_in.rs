// SPDX-License-Identifier: GPL-2.0

//! Page-ins. From where: `page_in_source.rs`.
//!
//! Fragments with one checksum are assembled; after damage, those of one server only. The checksum
//! is verified before the page is used.
//!
//! The rules: `docs/protocol.md`, "READ".

use super::super::ids::{PageIndex, ServerSlot, SlotSet};
use super::super::page_map::Entry;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome, Stage};
use super::ops::{OpId, TransferId};
use super::{OpInUse, Shard};
use crate::wire::FragmentMask;

/// How long a background page-in waits for a mirror buffer.
const BUFFER_WAIT_NS: u64 = 200_000_000;

/// Whether the page is on a disk that is being detached. If a server that holds the page is lost
/// meanwhile, detaching is cancelled, and the page can be read again.
pub(super) fn may_be_on_disk_again<S: Storage>(entry: Entry, device: &SwapDevice<S>) -> bool {
    let state = device.disk.load();
    entry.is_on_disk() && !state.is_attached() && state.may_return()
}

impl<S: Storage> Shard<S> {
    /// Begins a page-in. The page must stay where it is until the completion.
    pub fn start_page_in(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        device: &SwapDevice<S>,
    ) -> Result<(), OpInUse> {
        let index = self.claim_op(now_ns, index, Kind::PageIn, page)?;
        self.hedges.earn(device.hedge_percent());
        self.note_begun(now_ns, device.io_timeout_ns());
        self.begin_page_in(now_ns, index, device);
        Ok(())
    }

    pub(super) fn begin_page_in(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let op = &self.ops[index];
        if op.disk.is_in_hand() {
            return;
        }
        let page = op.page;
        let next = device.next_version();
        let entry = loop {
            let entry = device.map.load(page);
            if !entry.is_busy() {
                break entry;
            }
            if self.ops[index].is_background {
                // The page-out under way makes its copies.
                self.end(index, Outcome::Failed);
                return;
            }
            if self.park(now_ns, index, device) {
                self.ops[index].disk.renew();
                return;
            }
        };
        if !entry.is_written() {
            self.end(index, Outcome::Zeros);
            return;
        }
        let op = &mut self.ops[index];
        if op.generation != entry.generation() {
            op.tried = SlotSet::EMPTY;
            op.doubted = SlotSet::EMPTY;
            op.disk.renew();
        }
        op.generation = entry.generation();
        op.version = next;
        op.assembly = None;
        self.ask_first_source(now_ns, index, entry, device);
    }

    pub(super) fn stall_page_in(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let is_in_vain = self.is_in_vain(now_ns, index, device);
        let op = &mut self.ops[index];
        op.stage = Stage::Stalled;
        if is_in_vain {
            self.end(index, Outcome::Failed);
            return;
        }
        if op.is_background {
            // The mirror may only lack a free buffer. Searches for pages take longer than this wait.
            let until_ns = op.started_ns.saturating_add(BUFFER_WAIT_NS);
            let waits = op.disk.is_put_off() && now_ns < until_ns;
            match waits {
                true => self.note_deadline(until_ns),
                false => self.end(index, Outcome::Failed),
            }
            return;
        }
        self.count_stalled(index);
        self.note_deadline(now_ns.saturating_add(super::SAFETY_NET_NS));
    }

    /// Restarts the page-in if nothing of it is under way any more.
    pub(super) fn continue_page_in(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        if !self.ops[index].is_waiting() {
            self.begin_page_in(now_ns, index, device);
        }
    }

    pub(super) fn page_in_timed_out(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) {
        let op = &self.ops[id.op];
        let entry = device.map.load(op.page);
        if entry.generation() != op.generation && !entry.is_busy() {
            // It has been written since, so other servers hold it now.
            for id in id.op.transfers() {
                self.release(id);
            }
            self.continue_page_in(now_ns, id.op, device);
            return;
        }
        let another = self.fail_over_or_ask_disk(now_ns, id.op, device);
        let op = &mut self.ops[id.op];
        let is_mixed = op.restarts == 0;
        let assembly = op.assembly;
        if another && !device.servers.usable().contains(slot) {
            self.release(id);
            return;
        }
        let cut = self.ops[id].cut;
        let have = assembly.filter(|one| one.cut == cut && (one.transfer == id || is_mixed));
        let have = have.map_or(FragmentMask::EMPTY, |assembly| assembly.have);
        self.resend(id, cut.all().without(have));
    }
}
