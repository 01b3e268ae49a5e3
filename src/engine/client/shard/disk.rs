// SPDX-License-Identifier: GPL-2.0

//! How far the local disk's part in an op has come, and what is to be done with the mirror next.

use super::super::device::Device;
use super::super::ids::Version;
use super::super::mirror::{Token, Way};
use super::super::storage::Storage;
use super::disk_line::{DiskLine, LinePlace};
use super::disk_work::{DiskRead, DiskSettle, DiskWant, DiskWork, DiskWrite};
use super::op::{Kind, Link, Stage};
use super::{Action, Shard};

/// How far the local disk's part in an op has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DiskStage {
    /// It has none.
    #[default]
    Idle,
    /// Page-out: to be put into a buffer.
    PutQueued,
    /// Page-out: being put there, without our lock.
    Putting,
    /// Page-out: there was no room for it, and it waits for its turn.
    NoRoom,
    /// Page-out: it is in a buffer, and nobody waits for the disk.
    Put,
    /// Page-out: the mirror is to be told that somebody waits.
    WantQueued,
    /// Page-out: the disk is waited for.
    Wanted,
    /// Page-out: it is on the disk.
    Written,
    /// Page-out: its buffer is to be given back.
    DropQueued,
    /// Page-out: the disk does not take it.
    Refused,
    /// Page-in: buffers are to be looked at.
    LookQueued,
    /// Page-in: they are being looked at, without our lock.
    Looking,
    /// Page-in: it is in no buffer.
    Looked,
    /// Page-in: the disk is to be asked.
    AskQueued,
    /// Page-in: it is being asked, without our lock.
    Asking,
    /// Page-in: the disk's answer is waited for.
    Reading,
    /// Page-in: what was read is being copied, without our lock.
    Receiving,
    /// Page-in: it waits for room, and for its turn.
    InLine,
    /// Page-in: the disk does not answer, and may be asked again.
    Later,
    /// Page-in: the disk cannot read it.
    Failed,
}

impl DiskStage {
    /// That of those who stand in the line of this way.
    pub(super) fn waiting(way: Way) -> Self {
        match way {
            Way::In => Self::InLine,
            Way::Out => Self::NoRoom,
        }
    }
}

/// The local disk's part in an op.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskPart {
    pub(super) stage: DiskStage,
    /// Which of the op's waits it is.
    attempt: u32,
    /// Page-out: the mirror has heard of it, so that it knows that what it has is older.
    pub(super) is_known: bool,
    /// Page-out: a server does not answer; the disk may have to do.
    pub(super) is_wanted: bool,
    /// What the shard had heard of the disk when it last came to the mirror.
    pub(super) events: u32,
    /// Page-out: when it last came to the mirror, it needed the disk.
    pub(super) was_urgent: bool,
    /// The I/O timeout is out. Page-in: the disk is asked once before it is an error. Page-out: until the
    /// mirror has heard of it, the page must stay BUSY: of two page-outs of a page, it must hear in their
    /// order.
    pub(super) is_last: bool,
    /// Page-out: the version in a buffer.
    pub(super) put: Option<Version>,
    /// Page-out: what the mirror is to be told of it, now that it has ended.
    pub(super) settle: Option<DiskSettle>,
    linked: bool,
    next: Link,
    /// In the line of each way.
    places: [LinePlace; 2],
}

impl DiskPart {
    /// That of an op that begins anew. Where it hangs, it hangs.
    pub(super) fn renew(&mut self) {
        *self = Self {
            linked: self.linked,
            next: self.next,
            places: self.places,
            ..Self::default()
        };
    }

    /// Its place in the line of this way.
    pub(super) fn place_mut(&mut self, way: Way) -> &mut LinePlace {
        // PANIC: never; there are as many as ways.
        &mut self.places[way as usize]
    }

    /// Page-out: it is on the disk.
    pub(super) fn is_written(&self) -> bool {
        self.stage == DiskStage::Written
    }

    /// Page-out: this version is in a buffer, of which the mirror will be told how it ended.
    pub(super) fn is_put(&self, version: Version) -> bool {
        self.put == Some(version)
    }

    /// Page-in: the disk could not be asked, and may be again.
    pub(super) fn is_put_off(&self) -> bool {
        matches!(self.stage, DiskStage::InLine | DiskStage::Later)
    }

    /// Page-in: the disk's answer is waited for.
    pub(super) fn is_reading(&self) -> bool {
        self.stage == DiskStage::Reading
    }

    /// Page-in: the disk cannot read it.
    pub(super) fn failed(&self) -> bool {
        self.stage == DiskStage::Failed
    }

    /// Page-in: the disk has not been asked, nor the I/O timeout been prolonged for it.
    pub(super) fn may_ask_at_last(&self) -> bool {
        !self.is_last && matches!(self.stage, DiskStage::Idle | DiskStage::Looked)
    }

    /// Page-in: the op's page is being written to, or is about to be, or the disk is about to be
    /// asked: nothing else is to be begun.
    pub(super) fn is_in_hand(&self) -> bool {
        matches!(
            self.stage,
            DiskStage::LookQueued
                | DiskStage::Looking
                | DiskStage::AskQueued
                | DiskStage::Asking
                | DiskStage::Receiving
        )
    }
}

/// Ops for which something is to be done with the mirror. Their links are in the ops.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskList {
    head: Link,
    tail: Link,
}

impl<S: Storage> Shard<S> {
    /// Has something done with the mirror for the op.
    pub(super) fn push_disk(&mut self, index: usize, stage: DiskStage) {
        // CAST: ops are at most 65536.
        let link = Link(index as u32);
        let tail = self.disk_work.tail;
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        op.disk.stage = stage;
        if core::mem::replace(&mut op.disk.linked, true) {
            return;
        }
        op.disk.next = Link::NONE;
        match self.ops.get_mut(tail.0 as usize) {
            Some(last) => last.disk.next = link,
            None => self.disk_work.head = link,
        }
        self.disk_work.tail = link;
    }

    fn pop_disk(&mut self) -> Option<usize> {
        let index = self.disk_work.head.0 as usize;
        let op = self.ops.get_mut(index)?;
        op.disk.linked = false;
        let next = core::mem::take(&mut op.disk.next);
        self.disk_work.head = next;
        if next == Link::NONE {
            self.disk_work.tail = Link::NONE;
        }
        Some(index)
    }

    /// Whether something may be to be done with the mirror.
    #[inline]
    pub(super) fn has_disk_work(&self) -> bool {
        self.settle.is_some()
            || self.disk_work.head != Link::NONE
            || self.lines.iter().any(DiskLine::has_turn)
    }

    /// Takes the next thing to be done with the mirror.
    pub(super) fn poll_disk(&mut self, device: &Device<S>) -> Option<Action> {
        if let Some(work) = self.take_turn(device) {
            return Some(Action::Disk(work));
        }
        while let Some(index) = self.pop_disk() {
            if let Some(work) = self.begin_disk_work(index, device) {
                return Some(Action::Disk(work));
            }
        }
        None
    }

    pub(super) fn begin_disk_work(&mut self, index: usize, device: &Device<S>) -> Option<DiskWork> {
        let tag = self.tag(index);
        let op = self.ops.get_mut(index)?;
        if !matches!(op.stage, Stage::Active | Stage::Stalled) {
            return None;
        }
        let (page, version) = (op.page, op.version);
        match op.disk.stage {
            DiskStage::PutQueued => {
                let token = op.disk_token(tag);
                let is_urgent = op.disk.is_wanted || op.targets().len() < device.replicas();
                op.disk.stage = DiskStage::Putting;
                op.disk.was_urgent = is_urgent;
                op.disk.events = self.disk_events;
                op.pins = op.pins.saturating_add(1);
                Some(DiskWork::Write(DiskWrite {
                    op: index,
                    token,
                    page,
                    version,
                    crc: op.crc,
                    fill: op.fill,
                    is_urgent,
                    replaces: op.disk.put.take(),
                    turn: None,
                    is_copy: op.kind == Kind::Mirror,
                }))
            }
            DiskStage::WantQueued => {
                let token = op.disk_token(tag);
                op.disk.stage = DiskStage::Wanted;
                Some(DiskWork::Want(DiskWant {
                    token,
                    page,
                    version,
                }))
            }
            DiskStage::DropQueued => {
                op.disk.stage = DiskStage::Refused;
                let version = op.disk.put.take()?;
                Some(DiskWork::Settle(DiskSettle {
                    page,
                    version,
                    completed: false,
                }))
            }
            // A fragment is still being copied into its page, though nobody waits for it any more:
            // [`Self::look_after_claim`] comes here again.
            DiskStage::LookQueued if op.claimed => None,
            stage @ (DiskStage::LookQueued | DiskStage::AskQueued) => {
                let buffers_only = stage == DiskStage::LookQueued;
                let token = op.disk_token(tag);
                op.disk.stage = DiskStage::Asking;
                op.disk.events = self.disk_events;
                op.pins = op.pins.saturating_add(1);
                if buffers_only {
                    op.disk.stage = DiskStage::Looking;
                    op.claimed = true;
                }
                Some(DiskWork::Read(DiskRead {
                    op: index,
                    token,
                    page,
                    generation: op.generation,
                    buffers_only,
                    turn: None,
                    wants_crc: op.is_background,
                }))
            }
            _ => None,
        }
    }

    /// The op that waits with this token, if it still does.
    pub(super) fn find_waiter(&self, token: Token, stage: DiskStage) -> Option<usize> {
        if Self::number_of_tag(token.tag) != usize::from(self.number) {
            return None;
        }
        // CAST: 16 bits.
        let index = (token.tag & 0xffff) as usize;
        let op = self.ops.get(index)?;
        let waits = matches!(op.stage, Stage::Active | Stage::Stalled)
            && op.disk.stage == stage
            && op.disk.attempt == token.attempt;
        waits.then_some(index)
    }

    /// The disk has become usable, or is so no longer, or is treated otherwise.
    pub fn disk_changed(&mut self, now_ns: u64, device: &Device<S>) {
        self.disk_events = self.disk_events.wrapping_add(1);
        let state = device.disk.load();
        let mut link = self.oldest;
        while let Some((index, op)) = self.op_at(link) {
            link = op.previous_active;
            if op.kind == Kind::Mirror {
                // It is told by the mirror, whatever happens.
                continue;
            }
            match (op.stage, op.disk.stage) {
                (_, DiskStage::NoRoom) => {
                    // It stays in the line, unless the disk takes nothing any more.
                    if let Some(op) = self.ops.get_mut(index).filter(|_| !state.is_usable()) {
                        op.disk.stage = DiskStage::Refused;
                    }
                    self.advance_page_out(now_ns, index, device);
                }
                (_, DiskStage::Put | DiskStage::WantQueued | DiskStage::Wanted)
                    if !state.is_attached() =>
                {
                    self.push_disk(index, DiskStage::DropQueued);
                    self.advance_page_out(now_ns, index, device);
                }
                (_, DiskStage::Written) if !state.is_attached() => {
                    if let Some(op) = self.ops.get_mut(index) {
                        op.disk.stage = DiskStage::Refused;
                    }
                    self.advance_page_out(now_ns, index, device);
                }
                (Stage::Stalled, DiskStage::Later | DiskStage::Failed) => {
                    if let Some(op) = self.ops.get_mut(index) {
                        op.disk.stage = DiskStage::Looked;
                    }
                    self.retry_op(now_ns, index, device);
                }
                (Stage::Active, DiskStage::Later) => {
                    // It waits for a server as well, which may take long, or not answer at all.
                    self.retry_ask(index);
                    self.ask_disk(index, device);
                }
                (Stage::Stalled, _) => self.retry_op(now_ns, index, device),
                _ => {}
            }
        }
    }
}

impl super::Op {
    fn disk_token(&mut self, tag: u32) -> Token {
        let attempt = self.take_attempt();
        self.disk.attempt = attempt;
        Token { tag, attempt }
    }

    /// The op has ended: the mirror is to be told what has become of the version that it has.
    pub(super) fn settle_disk(&mut self, is_done: bool) {
        if let Some(version) = self.disk.put.take() {
            self.disk.settle = Some(DiskSettle {
                page: self.page,
                version,
                completed: is_done && version == self.version,
            });
        }
    }
}
