// SPDX-License-Identifier: GPL-2.0

//! The ops of repair, for which no request waits: a page-in that yields to everything else, then a
//! page-out of that page to one server, or to the local disk, under its own version.
//!
//! [`super::super::repair`] decides what to copy, where and when, and changes the map. To servers
//! both look like any other request.

use super::super::ids::{PageIndex, ServerSlot, SlotSet, Version};
use super::super::stale_copy::StaleCopy;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_part::DiskStage;
use super::op::{Kind, Outcome, Stage};
use super::ops::OpId;
use super::transfer::{Transfer, TransferStage};
use super::{OpInUse, Shard};

/// A page to be copied to one server, or to the local disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOut {
    /// The page.
    pub page: PageIndex,
    /// The version that the copy gets.
    pub version: Version,
    /// The value that fills the page, if it is same-filled.
    pub fill: Option<u64>,
    /// The page's checksum, or that of the 8-byte fill value. Needed for a copy to the disk, or if pages are
    /// not sealed.
    pub crc: Option<u32>,
}

impl<S: Storage> Shard<S> {
    /// Begins a page-in that does not wait: it fails if the page is being written, or if no server
    /// that holds it answers.
    pub fn start_copy_in(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        device: &SwapDevice<S>,
    ) -> Result<(), OpInUse> {
        let index = self.claim_op(now_ns, index, Kind::PageIn, page)?;
        let op = &mut self.ops[index];
        op.is_background = true;
        self.note_begun(now_ns, device.io_timeout_ns());
        self.begin_page_in(now_ns, index, device);
        Ok(())
    }

    /// The checksum of the page that this op last read, or of its fill value.
    pub fn copied_crc(&self, index: usize) -> Option<u32> {
        self.ops.get(index).and_then(|op| op.crc)
    }

    /// Begins a page-out to one server that does not change the map. It fails if the server refuses
    /// it or falls silent.
    pub fn start_copy_to_server(
        &mut self,
        now_ns: u64,
        index: usize,
        copy: &CopyOut,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) -> Result<(), OpInUse> {
        let index = self.claim_copy(now_ns, index, Kind::RepairToServer, copy)?;
        self.note_begun(now_ns, device.io_timeout_ns());
        self.paths[slot].placed.add(device.servers.load(slot));
        self.start_transfer(now_ns, index.first_transfer(), slot, device);
        Ok(())
    }

    /// Begins to copy a page to the local disk, without changing the map. It fails if the disk does
    /// not accept it.
    pub fn start_copy_to_disk(
        &mut self,
        now_ns: u64,
        index: usize,
        copy: &CopyOut,
    ) -> Result<(), OpInUse> {
        let index = self.claim_copy(now_ns, index, Kind::RepairToDisk, copy)?;
        self.push_disk(index, DiskStage::PutQueued);
        Ok(())
    }

    fn claim_copy(
        &mut self,
        now_ns: u64,
        index: usize,
        kind: Kind,
        copy: &CopyOut,
    ) -> Result<OpId, OpInUse> {
        let index = self.claim_op(now_ns, index, kind, copy.page)?;
        let op = &mut self.ops[index];
        op.version = copy.version;
        op.fill = copy.fill;
        op.crc = copy.crc;
        op.stage = Stage::Active;
        Ok(index)
    }

    /// The page of [`Self::start_copy_to_disk`] is on the disk (`ok`), or will not be in time.
    pub(super) fn copy_written(&mut self, index: OpId, ok: bool) {
        let op = &mut self.ops[index];
        op.disk.stage = match ok {
            true => DiskStage::Written,
            false => DiskStage::Failed,
        };
        self.end(index, Outcome::of(ok));
    }

    /// Whether the mirror had no room for the page that this op last brought to it.
    pub fn found_no_room(&self, index: usize) -> bool {
        let op = self.ops.get(index);
        op.is_some_and(|op| op.disk.stage == DiskStage::NoRoom)
    }

    /// Whether the mirror did not want the page that this op last brought to it: the page is
    /// already on its way to the disk, is being written, or the disk is no longer used.
    pub fn found_no_use(&self, index: usize) -> bool {
        let op = self.ops.get(index);
        op.is_some_and(|op| op.disk.stage == DiskStage::Refused)
    }

    /// The server of a copy has restarted.
    pub(super) fn continue_copy(&mut self, index: OpId) {
        let is_idle = |transfer: &Transfer| transfer.stage == TransferStage::Idle;
        let is_over = self.ops[index].transfers.iter().all(is_idle);
        if is_over {
            self.end(index, Outcome::Failed);
        }
    }

    /// Notes that `slots` should free versions of the page below `below`.
    pub fn note_stale_copy(&mut self, page: PageIndex, slots: SlotSet, below: Version) {
        self.put_stale(StaleCopy { page, slots, below });
    }
}
