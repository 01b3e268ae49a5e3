// SPDX-License-Identifier: GPL-2.0

//! The local disk's part in page-ins. When it is asked: `page_in_source.rs`.

use super::super::disk_port::DiskPort;
use super::super::mirror::{BufferId, Direction, Get, ReadError, Token};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_part::DiskStage;
use super::op::{Outcome, Stage};
use super::ops::OpId;
use super::Shard;

/// A buffer of the mirror to be copied to an op's page. The op does not end before
/// [`Shard::buffer_read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferRead {
    /// Which op.
    pub op: OpId,
    /// Which buffer.
    pub buffer: BufferId,
    /// Whether the page's checksum is needed: repair sends the page on.
    pub wants_crc: bool,
}

impl<S: Storage> Shard<S> {
    /// A page-in that waited in vain may ask the disk again, unless it is in the wait list.
    pub(super) fn allow_ask_again(&mut self, index: OpId) {
        let op = &mut self.ops[index];
        if op.disk.stage == DiskStage::Later {
            op.disk.stage = DiskStage::Looked;
        }
    }

    /// A fragment has been copied to the op's page: the op may ask for a buffer, if it waits to.
    pub(super) fn requeue_after_claim(&mut self, index: OpId) {
        let stage = self.ops[index].disk.stage;
        if matches!(stage, DiskStage::LookQueued | DiskStage::AskQueued) {
            self.push_disk(index, stage);
        }
    }

    /// Queues the page-in for a request to the mirror.
    pub(super) fn queue_read(&mut self, index: OpId, stage: DiskStage) {
        self.ops[index].stage = Stage::Active;
        self.push_disk(index, stage);
    }

    /// Requests the op's page from the disk, if the disk has it and has not been asked. Returns whether
    /// an answer will come, or `None` if the disk does not have the page, is given up, or has failed to
    /// read it.
    pub(super) fn ask_disk(&mut self, index: OpId, device: &SwapDevice<S>) -> Option<bool> {
        use DiskStage::{Idle, InLine, Later, Looked};
        let op = &self.ops[index];
        let entry = device.map.load(op.page);
        let disk = device.disk.load();
        let is_there = entry.is_on_disk()
            && entry.is_written()
            && entry.generation() == op.generation
            && disk.is_attached();
        if !is_there {
            return None;
        }
        match op.disk.stage {
            Idle | Looked | InLine | Later if disk.is_given_up() => None,
            Idle | Looked if self.is_wait_list_open() => {
                self.join_wait_list(Direction::In, index);
                Some(false)
            }
            Idle | Looked => {
                self.queue_read(index, DiskStage::AskQueued);
                Some(true)
            }
            DiskStage::Failed => None,
            InLine | Later => Some(false),
            _ => Some(true),
        }
    }

    /// Asks the mirror for the op's page: with `buffers_only`, for a buffer that holds it. With `grant`,
    /// the shard has a grant; its value is whether others wait behind the op.
    pub(super) fn get(
        &mut self,
        now_ns: u64,
        index: OpId,
        buffers_only: bool,
        grant: Option<bool>,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        let tag = self.tag(index);
        let op = &mut self.ops[index];
        let token = op.disk_token(tag);
        let (page, generation) = (op.page, op.generation);
        let get = port.call(|mirror| match grant {
            Some(others) => mirror.begin_granted_read(page, generation, token, others, device),
            None => mirror.begin_read(page, generation, token, buffers_only, device),
        });
        op.disk.stage = match get.unwrap_or(Get::Absent) {
            Get::Buffered(buffer) if op.claimed => {
                // A fragment is being copied to the page. [`Self::requeue_after_claim`] asks again.
                port.call(|mirror| mirror.release(buffer));
                op.disk.stage = DiskStage::AskQueued;
                return;
            }
            Get::Buffered(buffer) => {
                self.receive(index, buffer);
                return;
            }
            _ if buffers_only => DiskStage::Looked,
            Get::Queued => DiskStage::Reading,
            Get::Full => DiskStage::InLine,
            Get::TimedOut => DiskStage::Later,
            Get::Changed | Get::Absent => DiskStage::Idle,
        };
        if op.disk.stage == DiskStage::InLine {
            self.join_wait_list(Direction::In, index);
        }
        // Servers may have come since the op was queued.
        self.advance_page_in(now_ns, index, device);
    }

    /// The disk has answered.
    pub(super) fn disk_read(
        &mut self,
        now_ns: u64,
        token: Token,
        result: Result<BufferId, ReadError>,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        let waiter = self.find_waiter(token, DiskStage::Reading);
        let is_free = waiter.is_some_and(|index| !self.ops[index].claimed);
        match (waiter, result) {
            (Some(index), Ok(buffer)) if is_free => {
                self.receive(index, buffer);
                return;
            }
            (_, Ok(buffer)) => {
                port.call(|mirror| mirror.release(buffer));
            }
            _ => {}
        }
        let Some(index) = waiter else {
            return;
        };
        let op = &mut self.ops[index];
        op.disk.stage = match result {
            // A fragment is being copied to the page. The other fragments usually follow; if they do
            // not, the disk is asked again.
            Ok(_) => DiskStage::Looked,
            Err(ReadError::Failed) => DiskStage::Failed,
            Err(ReadError::TimedOut) => DiskStage::Later,
            Err(ReadError::Changed) => DiskStage::Idle,
        };
        self.advance_page_in(now_ns, index, device);
    }

    /// Claims the op's page, to which the buffer is copied next.
    fn receive(&mut self, index: OpId, buffer: BufferId) {
        let op = &mut self.ops[index];
        op.stage = Stage::Active;
        op.claimed = true;
        op.assembly = None;
        op.pins = op.pins.saturating_add(1);
        op.disk.buffer = Some(buffer);
        self.push_disk(index, DiskStage::Receiving);
    }

    /// The buffer has been copied to the op's page, if `copied`. `crc` is the page's checksum, if that
    /// was wanted.
    pub fn buffer_read(
        &mut self,
        now_ns: u64,
        read: &BufferRead,
        copied: bool,
        crc: Option<u32>,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        port.call(|mirror| mirror.release(read.buffer));
        let index = read.op;
        let op = &mut self.ops[index];
        op.claimed = false;
        op.disk.stage = DiskStage::Looked;
        if let Some(crc) = crc.filter(|_| !mutated!(CopyUnsummed)) {
            op.crc = Some(crc);
        }
        if op.stage == Stage::Active && copied && (crc.is_some() || !read.wants_crc) {
            if !op.is_background {
                self.counters.local_in = self.counters.local_in.wrapping_add(1);
            }
            self.end(index, Outcome::Done);
        } else {
            self.advance_page_in(now_ns, index, device);
        }
        self.unpin(index);
    }
}
