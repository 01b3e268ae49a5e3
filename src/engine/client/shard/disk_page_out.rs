// SPDX-License-Identifier: GPL-2.0

//! The local disk's part in page-outs: when one waits for a buffer of the mirror or for the disk, and when it
//! may complete without.

use super::super::disk_port::DiskPort;
use super::super::disk_state::Policy;
use super::super::ids::Version;
use super::super::mirror::{BufferId, Direction, Put, Token, Write};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_part::DiskStage;
use super::op::{Kind, Op, Outcome, Stage};
use super::ops::OpId;
use super::{Action, Shard};

/// A buffer of the mirror to be filled from an op's page. The op does not end before
/// [`Shard::buffer_filled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferFill {
    /// Which op.
    pub op: OpId,
    /// Which buffer.
    pub buffer: BufferId,
    /// The value that fills the page, if one does. Then the copy's checksum is `crc`.
    pub fill: Option<u64>,
    /// The checksum that the copy must have, if it is known.
    pub crc: Option<u32>,
    pub(super) version: Version,
}

/// What the disk means for a page-out whose servers have answered.
pub(super) enum DiskVerdict {
    /// The page is being copied to a buffer, or will be at once.
    InHand,
    /// The op waits for the disk, or for room.
    Wait,
    /// The page-out may complete; whether the disk holds the page.
    Go(bool),
}

impl<S: Storage> Shard<S> {
    /// The servers of a page-out have answered: asks the mirror for what the page-out still needs of the
    /// disk, and tells whether it may complete without more. `is_short`: whether fewer servers than wanted
    /// hold the page.
    pub(super) fn advance_disk_part(
        &mut self,
        index: OpId,
        is_short: bool,
        device: &SwapDevice<S>,
    ) -> DiskVerdict {
        let state = device.disk.load();
        let op = &self.ops[index];
        match op.disk.stage {
            DiskStage::Idle if state.is_tracked() => {
                self.push_disk(index, DiskStage::PutQueued);
                DiskVerdict::InHand
            }
            // It did not need the disk when it was refused.
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
            DiskStage::Awaited if is_short && mutated!(DiskNotAwaited) => DiskVerdict::Go(true),
            DiskStage::Awaited if is_short => DiskVerdict::Wait,
            _ => DiskVerdict::Go(Self::is_on_disk(op, device)),
        }
    }

    /// Whether the mirror knows that what it holds of the page is older, so that the page-out may
    /// complete.
    pub(super) fn disk_knows(&self, index: OpId, device: &SwapDevice<S>) -> bool {
        !device.disk.load().is_tracked() || self.ops[index].disk.is_known
    }

    /// Whether the disk has the page-out's version.
    pub(super) fn is_on_disk(op: &Op, device: &SwapDevice<S>) -> bool {
        op.disk.stage == DiskStage::Written && device.disk.load().is_attached()
    }

    /// Asks the mirror for a buffer for the op's page. With `grant`, the shard has a grant; its
    /// value is whether others wait behind the op.
    pub(super) fn put(
        &mut self,
        now_ns: u64,
        index: OpId,
        grant: Option<bool>,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) -> Option<Action> {
        let shard = usize::from(self.number);
        let op = &mut self.ops[index];
        let (page, version, is_copy) = (op.page, op.version, op.kind == Kind::RepairToDisk);
        op.disk.was_urgent = op.disk.is_wanted || op.targets().len() < device.replicas();
        op.disk.is_known = true;
        let write = Write {
            page,
            version,
            is_urgent: op.disk.was_urgent,
            replaces: op.disk.put.take(),
            shard,
        };
        let put = port.call(|mirror| match grant {
            _ if is_copy => mirror.begin_copy(page, version, device),
            Some(others) => mirror.begin_granted_write(&write, others, device),
            None => mirror.begin_write(&write, device),
        });
        op.disk.stage = match put.unwrap_or(Put::Closed) {
            Put::Buffer(buffer) => {
                op.disk.stage = DiskStage::Putting;
                op.pins = op.pins.saturating_add(1);
                return Some(Action::FillBuffer(BufferFill {
                    op: index,
                    buffer,
                    fill: op.fill,
                    crc: op.crc,
                    version,
                }));
            }
            Put::Full => DiskStage::NoRoom,
            Put::Closed => DiskStage::Refused,
        };
        if is_copy {
            self.end(index, Outcome::Failed);
            return None;
        }
        if op.disk.stage == DiskStage::NoRoom {
            self.join_wait_list(Direction::Out, index);
        }
        self.advance_page_out(now_ns, index, device);
        None
    }

    /// The page has been copied to the buffer. `crc` is the copy's checksum, or `None` if it could not be
    /// copied.
    pub fn buffer_filled(
        &mut self,
        now_ns: u64,
        filled: &BufferFill,
        crc: Option<u32>,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        let index = filled.op;
        let op = &mut self.ops[index];
        let is_urgent = op.disk.was_urgent;
        op.disk.put = Some(filled.version);
        op.disk.stage = DiskStage::Put;
        let is_over = !matches!(op.stage, Stage::Active | Stage::Stalled);
        let is_current = op.version == filled.version;
        if is_current && !op.is_sealed() && op.kind == Kind::PageOut {
            // What is sealed after this must be equal to it.
            op.crc = op.crc.or(crc);
        }
        let expected = if is_current { op.crc } else { filled.crc };
        if is_over || crc.is_none() || crc != expected {
            op.disk.stage = DiskStage::Refused;
            // It was not the disk that refused: if too few servers hold the page, it is put again.
            op.disk.was_urgent = false;
            if let Some(outcome) = op.take_write_outcome(false) {
                outcome.report(now_ns, port, device);
            }
        }
        if is_over {
            self.unpin(index);
            return;
        }
        let is_put = op.disk.stage == DiskStage::Put;
        let is_short = op.targets().len() < device.replicas();
        let changed = crc.filter(|_| !is_put && is_short);
        if op.kind == Kind::RepairToDisk {
            match is_put {
                true => self.want(now_ns, index, port, device),
                false => self.end(index, Outcome::Failed),
            }
            self.unpin(index);
            return;
        }
        if op.disk.is_last {
            self.complete_or_fail(index, device);
        } else if op.version != filled.version {
            self.push_disk(index, DiskStage::PutQueued);
        } else if let Some(crc) = changed {
            // Servers may hold the page as it was; the disk can only have it as it is.
            op.disk.stage = DiskStage::Idle;
            self.restart_changed(now_ns, index, crc, device);
        } else if is_put && is_urgent {
            self.want(now_ns, index, port, device);
        }
        self.unpin(index);
        self.advance_page_out(now_ns, index, device);
    }

    /// Notifies the mirror that the op waits until its page, which is in a buffer, is on the disk.
    pub(super) fn want(
        &mut self,
        now_ns: u64,
        index: OpId,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        let tag = self.tag(index);
        let op = &mut self.ops[index];
        let (page, version, token) = (op.page, op.version, op.disk_token(tag));
        op.disk.stage = DiskStage::Awaited;
        let is_awaited = port.call(|mirror| mirror.want(now_ns, page, version, token));
        if is_awaited != Some(true) {
            self.disk_written(now_ns, token, false, device);
        }
    }

    /// The page that the op waits for is on the disk (`ok`), or will not be in time.
    pub(super) fn disk_written(
        &mut self,
        now_ns: u64,
        token: Token,
        ok: bool,
        device: &SwapDevice<S>,
    ) {
        let Some(index) = self.find_waiter(token, DiskStage::Awaited) else {
            return;
        };
        if self.ops[index].kind == Kind::RepairToDisk {
            self.copy_written(index, ok);
            return;
        }
        let op = &mut self.ops[index];
        op.disk.stage = match ok {
            true => DiskStage::Written,
            false => DiskStage::Refused,
        };
        // The mirror has taken the buffer back.
        op.disk.put = None;
        self.advance_page_out(now_ns, index, device);
    }

    /// A page-out has its version: it goes to the disk as well as to servers.
    pub(super) fn begin_put(&mut self, index: OpId, device: &SwapDevice<S>) {
        let is_tracked = device.disk.load().is_tracked();
        if is_tracked && self.ops[index].disk.stage == DiskStage::Idle {
            self.push_disk(index, DiskStage::PutQueued);
        }
    }

    /// The page-out has another version from now on.
    pub(super) fn put_again(&mut self, index: OpId) {
        let stage = self.ops[index].disk.stage;
        if matches!(
            stage,
            DiskStage::Put | DiskStage::WantQueued | DiskStage::Awaited | DiskStage::Written
        ) {
            self.push_disk(index, DiskStage::PutQueued);
        }
    }

    /// A page-out is to end now. If its page is being copied to a buffer, it ends after that. Returns whether
    /// this is so.
    pub(super) fn delay_end(&mut self, index: OpId) -> bool {
        let op = &mut self.ops[index];
        op.disk.is_last = op.disk.stage == DiskStage::Putting;
        op.disk.is_last
    }

    /// A server does not answer a page-out in time: the disk is wanted before the server is left,
    /// because the I/O timeout may be over sooner.
    pub(super) fn want_disk(&mut self, index: OpId, device: &SwapDevice<S>) {
        if !device.disk.load().is_usable() {
            return;
        }
        let op = &mut self.ops[index];
        op.disk.is_wanted = true;
        match op.disk.stage {
            DiskStage::Put => self.push_disk(index, DiskStage::WantQueued),
            DiskStage::Refused if !op.disk.was_urgent => {
                self.push_disk(index, DiskStage::PutQueued);
            }
            _ => {}
        }
    }

    /// A page-out that waited in vain may ask the disk again.
    pub(super) fn allow_put_again(&mut self, index: OpId) {
        let op = &mut self.ops[index];
        if op.disk.stage == DiskStage::Refused {
            op.disk.stage = DiskStage::Idle;
        }
    }
}
