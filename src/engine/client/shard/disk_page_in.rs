// SPDX-License-Identifier: GPL-2.0

//! The local disk's part in page-ins.

use super::super::device::Device;
use super::super::mirror::{ReadError, Token, Way};
use super::super::page_map::Entry;
use super::super::storage::Storage;
use super::disk::DiskStage;
use super::disk_work::{AskAnswer, DiskRead, DiskReceive, Taken};
use super::op::{Outcome, Stage};
use super::Shard;

impl<S: Storage> Shard<S> {
    /// A page-in that waited in vain tries the disk again, unless it stands in the line.
    pub(super) fn retry_ask(&mut self, index: usize) {
        if let Some(op) = self.ops.get_mut(index) {
            if op.disk.stage == DiskStage::Later {
                op.disk.stage = DiskStage::Looked;
            }
        }
    }

    /// Whether a page-in looks at buffers first, because its page may be on its way to the disk. It
    /// must not have anything else under way.
    pub(super) fn look_at_buffers(
        &mut self,
        index: usize,
        entry: Entry,
        device: &Device<S>,
    ) -> bool {
        let looks = device.disk.load().is_tracked()
            && !entry.is_on_disk()
            && self
                .ops
                .get(index)
                .is_some_and(|op| op.disk.stage == DiskStage::Idle);
        if looks {
            self.begin_disk(index, DiskStage::LookQueued);
        }
        looks
    }

    /// Nobody copies into the op's page any more: buffers may be looked at, if they are to be.
    pub(super) fn look_after_claim(&mut self, index: usize) {
        let stage = self.ops.get(index).map(|op| op.disk.stage);
        if stage == Some(DiskStage::LookQueued) {
            self.push_disk(index, DiskStage::LookQueued);
        }
    }

    /// Has the disk, or buffers, asked for a page-in's page.
    fn begin_disk(&mut self, index: usize, stage: DiskStage) {
        if let Some(op) = self.ops.get_mut(index) {
            op.stage = Stage::Active;
        }
        self.push_disk(index, stage);
    }

    /// The disk is asked for the op's page, if it is there and it has not been asked. Returns
    /// whether an answer may be waited for: `None` if the disk has not the page.
    pub(super) fn ask_disk(&mut self, index: usize, device: &Device<S>) -> Option<bool> {
        let op = self.ops.get(index)?;
        let entry = device.map.load(op.page);
        let is_there = entry.is_on_disk()
            && entry.is_written()
            && entry.generation() == op.generation
            && device.disk.load().is_attached();
        if !is_there {
            return None;
        }
        let is_hopeless = device.disk.load().is_hopeless();
        match op.disk.stage {
            DiskStage::Idle | DiskStage::Looked | DiskStage::InLine | DiskStage::Later
                if is_hopeless =>
            {
                None
            }
            DiskStage::Idle | DiskStage::Looked if self.is_line_open() => {
                self.join_line(Way::In, index);
                Some(false)
            }
            DiskStage::Idle | DiskStage::Looked => {
                self.begin_disk(index, DiskStage::AskQueued);
                Some(true)
            }
            DiskStage::Failed => None,
            DiskStage::InLine | DiskStage::Later => Some(false),
            _ => Some(true),
        }
    }

    /// Buffers have been looked at; the page has been copied from one, or is in none.
    pub fn disk_looked(&mut self, now_ns: u64, read: &DiskRead, taken: Taken, device: &Device<S>) {
        self.taken(now_ns, read.op, taken, device);
    }

    fn taken(&mut self, now_ns: u64, index: usize, taken: Taken, device: &Device<S>) {
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        op.claimed = false;
        op.disk.stage = DiskStage::Looked;
        let is_taken = match taken {
            Taken::Nothing => false,
            Taken::Copied => !op.is_background,
            Taken::Summed(crc) => {
                if !mutated!(CopyUnsummed) {
                    op.crc = crc;
                }
                true
            }
        };
        if op.stage == Stage::Active && is_taken {
            if !op.is_background {
                self.counters.local_in = self.counters.local_in.wrapping_add(1);
            }
            self.end(index, Outcome::Done);
        } else {
            self.advance_page_in(now_ns, index, device);
        }
        self.unpin(index);
    }

    /// The disk has been asked, or cannot be.
    pub fn disk_asked(
        &mut self,
        now_ns: u64,
        read: &DiskRead,
        answer: AskAnswer,
        device: &Device<S>,
    ) {
        let events = self.disk_events;
        let Some(op) = self.ops.get_mut(read.op) else {
            return;
        };
        op.disk.stage = match answer {
            AskAnswer::Queued => DiskStage::Reading,
            // There may be room by now.
            AskAnswer::Full if op.disk.events != events => DiskStage::Looked,
            AskAnswer::Full => DiskStage::InLine,
            AskAnswer::TimedOut => DiskStage::Later,
            AskAnswer::Changed => DiskStage::Idle,
        };
        if op.disk.stage == DiskStage::InLine {
            self.open_line();
            self.join_line(Way::In, read.op);
        }
        // Servers may have come meanwhile.
        self.advance_page_in(now_ns, read.op, device);
        self.unpin(read.op);
    }

    /// The disk has answered. With a claim, what was read is to be copied into the op's page, and
    /// [`Self::disk_received`] told.
    pub fn disk_read(
        &mut self,
        now_ns: u64,
        token: Token,
        result: Result<(), ReadError>,
        device: &Device<S>,
    ) -> Option<DiskReceive> {
        let index = self.find_waiter(token, DiskStage::Reading)?;
        let op = self.ops.get_mut(index)?;
        op.disk.stage = match result {
            // A fragment is being copied to the page: whoever sent it has the others too, as a
            // rule; if not, the disk is asked again.
            Ok(()) if op.claimed => DiskStage::Looked,
            Ok(()) => DiskStage::Receiving,
            Err(ReadError::Failed) => DiskStage::Failed,
            Err(ReadError::TimedOut) => DiskStage::Later,
            Err(ReadError::Changed) => DiskStage::Idle,
        };
        if op.disk.stage == DiskStage::Receiving {
            op.stage = Stage::Active;
            op.claimed = true;
            op.assembly = None;
            op.pins = op.pins.saturating_add(1);
            return Some(DiskReceive {
                op: index,
                wants_crc: op.is_background,
            });
        }
        self.advance_page_in(now_ns, index, device);
        None
    }

    /// What was read from the disk has been copied, or could not be.
    pub fn disk_received(
        &mut self,
        now_ns: u64,
        receive: &DiskReceive,
        taken: Taken,
        device: &Device<S>,
    ) {
        self.taken(now_ns, receive.op, taken, device);
    }

    fn advance_page_in(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        let goes_on = self
            .ops
            .get(index)
            .is_some_and(|op| matches!(op.stage, Stage::Active | Stage::Stalled));
        if goes_on {
            self.continue_page_in(now_ns, index, device);
        }
    }
}
