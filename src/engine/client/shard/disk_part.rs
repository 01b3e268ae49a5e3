// SPDX-License-Identifier: GPL-2.0

//! The local disk's part in an op, and the ops for which the shard calls the mirror next.

use super::super::disk_port::DiskPort;
use super::super::ids::{PageIndex, Version};
use super::super::mirror::{BufferId, Direction, Event, Token};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::list::Place;
use super::op::{Kind, Stage};
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
    /// The checksum that the copy must have.
    pub crc: u32,
    pub(super) version: Version,
}

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

/// How a page-out ended whose version is in a buffer: a report to the mirror.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settle {
    page: PageIndex,
    version: Version,
    /// Whether the version is the page's newest now.
    completed: bool,
}

impl Settle {
    pub(super) fn report<S: Storage>(
        self,
        now_ns: u64,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        port.call(|mirror| {
            mirror.settle(now_ns, self.page, self.version, self.completed, device);
        });
    }
}

/// How far the local disk's part in an op has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DiskStage {
    /// It has none.
    #[default]
    Idle,
    /// Page-out: the mirror is to be asked for a buffer.
    PutQueued,
    /// Page-out: the page is being copied to a buffer, without the shard's lock.
    Putting,
    /// Page-out: the mirror has no room. The op waits for a grant.
    NoRoom,
    /// Page-out: the page is in a buffer, and the op does not wait for the disk.
    Put,
    /// Page-out: the op waits for the disk, and the mirror is to be notified of that.
    WantQueued,
    /// Page-out: the op waits for the disk.
    Wanted,
    /// Page-out: the page is on the disk.
    Written,
    /// Page-out: the op gives its buffer up.
    DropQueued,
    /// Page-out: the disk does not take the page.
    Refused,
    /// Page-in: the mirror is to be asked for a buffer that holds the page.
    LookQueued,
    /// Page-in: no buffer holds the page.
    Looked,
    /// Page-in: the disk is to be asked.
    AskQueued,
    /// Page-in: the op waits for the disk.
    Reading,
    /// Page-in: a buffer is copied to the page, without the shard's lock, or is about to be.
    Receiving,
    /// Page-in: the mirror has no room. The op waits for a grant.
    InLine,
    /// Page-in: the disk does not answer. It may be asked again.
    Later,
    /// Page-in: the disk cannot read the page.
    Failed,
}

impl DiskStage {
    /// The stage of an op that waits in the wait list of this direction.
    pub(super) fn waiting(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::InLine,
            Direction::Out => Self::NoRoom,
        }
    }
}

/// The local disk's part in an op.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskPart {
    pub(super) stage: DiskStage,
    /// Which of the op's waits it is.
    attempt: u32,
    /// Page-out: the mirror has been called for it, so it knows that what it holds is older.
    pub(super) is_known: bool,
    /// Page-out: a server does not answer; the disk may be needed instead.
    pub(super) is_wanted: bool,
    /// Page-out: it needed the disk when it last asked the mirror for a buffer.
    pub(super) was_urgent: bool,
    /// The I/O timeout is over. Page-in: the disk is asked once more before the op fails. Page-out: the op
    /// ends when its page has been copied to a buffer.
    pub(super) is_last: bool,
    /// Page-out: the version in a buffer. The mirror will get a report of the page-out's end.
    pub(super) put: Option<Version>,
    /// Page-out that has ended: the report to the mirror.
    pub(super) settle: Option<Settle>,
    /// Page-in: the buffer to be copied to its page.
    pub(super) buffer: Option<BufferId>,
    /// In the list of ops for which the mirror is to be called.
    place: Place<OpId>,
    /// In the wait list of each direction.
    places: [Place<OpId>; 2],
}

impl DiskPart {
    /// The op begins again. It keeps its places in lists.
    pub(super) fn renew(&mut self) {
        *self = Self {
            place: self.place,
            places: self.places,
            ..Self::default()
        };
    }

    /// Its place in the wait list of this direction.
    pub(super) fn place_mut(&mut self, direction: Direction) -> &mut Place<OpId> {
        // PANIC: never; there are as many as directions.
        &mut self.places[direction as usize]
    }

    /// Page-in: the disk could not be asked, and may be asked again.
    pub(super) fn is_put_off(&self) -> bool {
        matches!(self.stage, DiskStage::InLine | DiskStage::Later)
    }

    /// Page-in: the op waits for the disk.
    pub(super) fn is_reading(&self) -> bool {
        self.stage == DiskStage::Reading
    }

    /// Page-in: the disk cannot read the page.
    pub(super) fn failed(&self) -> bool {
        self.stage == DiskStage::Failed
    }

    /// Page-in: the disk has not been asked, and the I/O timeout has not been extended for it.
    pub(super) fn may_ask_at_last(&self) -> bool {
        !self.is_last && matches!(self.stage, DiskStage::Idle | DiskStage::Looked)
    }

    /// Page-in: the op's page is being written to, or is about to be, or the mirror is about to be
    /// asked. Nothing else may begin.
    pub(super) fn is_in_hand(&self) -> bool {
        matches!(
            self.stage,
            DiskStage::LookQueued | DiskStage::AskQueued | DiskStage::Receiving
        )
    }
}

impl<S: Storage> Shard<S> {
    /// Queues the op for a call of the mirror.
    pub(super) fn push_disk(&mut self, index: OpId, stage: DiskStage) {
        self.ops[index].disk.stage = stage;
        self.disk_work
            .push(&mut self.ops, index, |ops, id| &mut ops[id].disk.place);
    }

    /// Whether the mirror is to be called.
    #[inline]
    pub(super) fn has_disk_work(&self) -> bool {
        self.settle.is_some()
            || !self.disk_work.is_empty()
            || self.wait_lists.iter().any(|list| list.has_grant)
    }

    /// Calls the mirror for one op. Returns what is to be copied, if anything.
    #[inline(never)]
    pub(super) fn call_mirror(
        &mut self,
        now_ns: u64,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) -> Option<Action> {
        for direction in Direction::ALL {
            if self.take_grant(direction) {
                return self.use_grant(now_ns, direction, port, device);
            }
        }
        let index = self
            .disk_work
            .pop(&mut self.ops, |ops, id| &mut ops[id].disk.place)?;
        let op = &mut self.ops[index];
        if let Some(buffer) = op.disk.buffer.take() {
            // It is ours to release, even if the op is over.
            return Some(Action::ReadBuffer(BufferRead {
                op: index,
                buffer,
                wants_crc: op.is_background,
            }));
        }
        if !matches!(op.stage, Stage::Active | Stage::Stalled) {
            return None;
        }
        match op.disk.stage {
            DiskStage::PutQueued => return self.put(now_ns, index, None, port, device),
            DiskStage::WantQueued => self.want(now_ns, index, port, device),
            DiskStage::DropQueued => {
                op.disk.stage = DiskStage::Refused;
                if let Some(settle) = op.take_settle(false) {
                    settle.report(now_ns, port, device);
                }
            }
            // A fragment that no longer matters is still being copied to its page.
            // [`Self::look_after_claim`] queues the op again.
            DiskStage::LookQueued if op.claimed => {}
            stage @ (DiskStage::LookQueued | DiskStage::AskQueued) => {
                let buffers_only = stage == DiskStage::LookQueued;
                self.get(now_ns, index, buffers_only, None, port, device);
            }
            _ => {}
        }
        None
    }

    /// The op that waits with this token, if it still does.
    pub(super) fn find_waiter(&self, token: Token, stage: DiskStage) -> Option<OpId> {
        let index = self.op_of_tag(token.tag)?;
        let op = &self.ops[index];
        let waits = matches!(op.stage, Stage::Active | Stage::Stalled)
            && op.disk.stage == stage
            && op.disk.attempt == token.attempt;
        waits.then_some(index)
    }

    /// The mirror has this event for the shard ([`Event::shard`]).
    pub fn disk_event(
        &mut self,
        now_ns: u64,
        event: Event,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        match event {
            Event::Written(token, ok) => self.disk_written(now_ns, token, ok, device),
            Event::Read(token, result) => self.disk_read(now_ns, token, result, port, device),
            Event::Granted(_, direction) => self.disk_granted(direction),
            Event::StateChanged => self.disk_changed(now_ns, device),
        }
    }

    /// What the shard may do with the disk has changed.
    pub fn disk_changed(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        let state = device.disk.load();
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &self.ops[index];
            if op.kind == Kind::Mirror {
                // The mirror notifies it in any case.
                continue;
            }
            match (op.stage, op.disk.stage) {
                (_, DiskStage::NoRoom) => {
                    // It stays in the wait list as long as the disk takes pages.
                    if !state.is_usable() {
                        self.ops[index].disk.stage = DiskStage::Refused;
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
                    self.ops[index].disk.stage = DiskStage::Refused;
                    self.advance_page_out(now_ns, index, device);
                }
                (Stage::Stalled, DiskStage::Later | DiskStage::Failed) => {
                    self.ops[index].disk.stage = DiskStage::Looked;
                    self.retry_op(now_ns, index, device);
                }
                (Stage::Active, DiskStage::Later) => {
                    // It waits for a server as well, which may answer late or never.
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
    pub(super) fn disk_token(&mut self, tag: u32) -> Token {
        let attempt = self.take_attempt();
        self.disk.attempt = attempt;
        Token { tag, attempt }
    }

    /// The report to the mirror about the version that it holds, if it holds one. `is_done`: whether the
    /// page-out has succeeded.
    pub(super) fn take_settle(&mut self, is_done: bool) -> Option<Settle> {
        let version = self.disk.put.take()?;
        Some(Settle {
            page: self.page,
            version,
            completed: is_done && version == self.version,
        })
    }
}
