// SPDX-License-Identifier: GPL-2.0

//! The local disk's part in page-outs.

use super::super::device::Device;
use super::super::disk::Policy;
use super::super::mirror::{Token, Way};
use super::super::storage::Storage;
use super::disk::DiskStage;
use super::disk_work::{DiskWrite, PutAnswer};
use super::op::{Kind, Stage};
use super::Shard;

/// What the disk means for a page-out whose servers have answered.
pub(super) enum DiskVerdict {
    /// It is being put into a buffer, or will be at once.
    InHand,
    /// The disk, or room, is waited for.
    Wait,
    /// The page-out may complete; whether the disk holds it.
    Go(bool),
}

impl<S: Storage> Shard<S> {
    /// A [`DiskWrite`] has been done, or could not be.
    pub fn disk_put(
        &mut self,
        now_ns: u64,
        write: &DiskWrite,
        answer: PutAnswer,
        device: &Device<S>,
    ) {
        if write.is_copy {
            self.copy_put(write.op, answer);
            return;
        }
        let index = write.op;
        let events = self.disk_events;
        let is_first = self.is_line_empty(Way::Out);
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        // It was asked without our lock: there may have been room again before we hear that there
        // was none, and nobody says so twice. While others stand in the line, somebody will.
        let is_outdated = op.disk.events != events && is_first;
        op.disk.stage = match answer {
            PutAnswer::Copied if write.is_urgent => DiskStage::Wanted,
            PutAnswer::Copied => DiskStage::Put,
            PutAnswer::Full => DiskStage::NoRoom,
            PutAnswer::Changed(_) | PutAnswer::Closed => DiskStage::Refused,
        };
        op.disk.is_known = true;
        if matches!(answer, PutAnswer::Changed(_)) {
            // It was not for the disk's sake: if too few servers have it, it comes again.
            op.disk.was_urgent = false;
        }
        if answer == PutAnswer::Copied {
            op.disk.put = Some(write.version);
        }
        let is_short = op.targets().len() < device.replicas();
        if op.disk.is_last {
            self.finish_at_last(index, device);
        } else if op.version != write.version || (answer == PutAnswer::Full && is_outdated) {
            self.push_disk(index, DiskStage::PutQueued);
        } else if answer == PutAnswer::Full {
            self.join_line(Way::Out, index);
        } else if let (PutAnswer::Changed(crc), true) = (answer, is_short) {
            // Servers may have it as it was; the disk can only have it as it is.
            op.disk.stage = DiskStage::Idle;
            self.restart_page_out(now_ns, index, crc, device);
        }
        self.unpin(index);
        self.advance_page_out(now_ns, index, device);
    }

    /// A page that an op waits for is on the disk (`ok`), or will not be in time.
    pub fn disk_written(&mut self, now_ns: u64, token: Token, ok: bool, device: &Device<S>) {
        let Some(index) = self.find_waiter(token, DiskStage::Wanted) else {
            return;
        };
        if self.ops.get(index).map(|op| op.kind) == Some(Kind::Mirror) {
            self.copy_written(index, ok);
            return;
        }
        if let Some(op) = self.ops.get_mut(index) {
            op.disk.stage = match ok {
                true => DiskStage::Written,
                false => DiskStage::Refused,
            };
            // The mirror has given its buffer back; if it had not, it would still know who waits.
            op.disk.put = None;
        }
        self.advance_page_out(now_ns, index, device);
    }

    /// Looks at the page-out again, unless servers are still to answer.
    pub(super) fn advance_page_out(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        let goes_on = self.ops.get(index).is_some_and(|op| {
            matches!(op.stage, Stage::Active | Stage::Stalled) && !op.is_waiting()
        });
        if goes_on {
            self.continue_page_out(now_ns, index, device);
        }
    }

    /// A page-out has its version: it goes to the disk beside the servers.
    pub(super) fn begin_put(&mut self, index: usize, device: &Device<S>) {
        if !device.disk.load().is_tracked() {
            return;
        }
        let stage = self.ops.get(index).map(|op| op.disk.stage);
        if stage == Some(DiskStage::Idle) {
            self.push_disk(index, DiskStage::PutQueued);
        }
    }

    /// The page-out has another version from now on.
    pub(super) fn restage(&mut self, index: usize) {
        let stage = self.ops.get(index).map(|op| op.disk.stage);
        if let Some(
            DiskStage::Put | DiskStage::WantQueued | DiskStage::Wanted | DiskStage::Written,
        ) = stage
        {
            self.push_disk(index, DiskStage::PutQueued);
        }
    }

    /// Whether a page-out whose servers have answered may complete as far as the disk is concerned.
    /// `is_short` says that too few servers hold it.
    pub(super) fn judge_disk(
        &mut self,
        index: usize,
        is_short: bool,
        device: &Device<S>,
    ) -> DiskVerdict {
        let state = device.disk.load();
        let Some(op) = self.ops.get(index) else {
            return DiskVerdict::InHand;
        };
        match op.disk.stage {
            DiskStage::Idle if state.is_tracked() => {
                self.push_disk(index, DiskStage::PutQueued);
                DiskVerdict::InHand
            }
            // It could do without the disk then.
            DiskStage::Refused if is_short && state.is_usable() && !op.disk.was_urgent => {
                self.push_disk(index, DiskStage::PutQueued);
                DiskVerdict::InHand
            }
            DiskStage::PutQueued | DiskStage::Putting => DiskVerdict::InHand,
            // The disk is asked only for an op that is still there, so this one need not wait for it.
            DiskStage::WantQueued if is_short => DiskVerdict::InHand,
            DiskStage::NoRoom if state.is_usable() => {
                match is_short || state.policy() == Policy::Strict {
                    true => DiskVerdict::Wait,
                    false => DiskVerdict::Go(false),
                }
            }
            DiskStage::Put if is_short && state.is_usable() => {
                self.push_disk(index, DiskStage::WantQueued);
                DiskVerdict::InHand
            }
            DiskStage::Wanted if is_short && mutated!(DiskNotAwaited) => DiskVerdict::Go(true),
            DiskStage::Wanted if is_short => DiskVerdict::Wait,
            DiskStage::Written if state.is_attached() => DiskVerdict::Go(true),
            _ => DiskVerdict::Go(false),
        }
    }

    /// Whether the mirror knows that what it has of the page is older, so that the page-out may
    /// complete.
    pub(super) fn disk_knows(&self, index: usize, device: &Device<S>) -> bool {
        !device.disk.load().is_tracked() || self.ops.get(index).is_some_and(|op| op.disk.is_known)
    }

    /// A page-out is to end now. Returns whether it has to wait until it is in a buffer, or is not.
    pub(super) fn end_after_put(&mut self, index: usize) -> bool {
        let Some(op) = self.ops.get_mut(index) else {
            return false;
        };
        op.disk.is_last = op.disk.stage == DiskStage::Putting;
        op.disk.is_last
    }

    /// A server does not answer a page-out in time: the disk is asked for it without waiting until
    /// the server is given up, for the I/O timeout may be out sooner.
    pub(super) fn want_disk(&mut self, index: usize, device: &Device<S>) {
        if !device.disk.load().is_usable() {
            return;
        }
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        op.disk.is_wanted = true;
        match op.disk.stage {
            DiskStage::Put => self.push_disk(index, DiskStage::WantQueued),
            DiskStage::Refused if !op.disk.was_urgent => {
                self.push_disk(index, DiskStage::PutQueued);
            }
            _ => {}
        }
    }

    /// A page-out that waited in vain tries the disk again.
    pub(super) fn retry_put(&mut self, index: usize) {
        if let Some(op) = self.ops.get_mut(index) {
            if op.disk.stage == DiskStage::Refused {
                op.disk.stage = DiskStage::Idle;
            }
        }
    }
}
