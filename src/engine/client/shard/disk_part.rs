// SPDX-License-Identifier: GPL-2.0

//! The local disk's part in an op: how far it has come.

use super::super::ids::Version;
use super::super::mirror::{BufferId, Direction, Token};
use super::list::Place;
use super::mirror_report::WriteOutcome;
use super::ops::OpId;

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
    Awaited,
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
    pub(super) attempt: u32,
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
    pub(super) write_outcome: Option<WriteOutcome>,
    /// Page-in: the buffer to be copied to its page.
    pub(super) buffer: Option<BufferId>,
    /// In the list of ops for which the mirror is to be called.
    pub(super) place: Place<OpId>,
    /// In the wait list of each direction.
    places: [Place<OpId>; 2],
}

impl DiskPart {
    /// The op begins again. It keeps its places in lists.
    pub(super) fn reset(&mut self) {
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

impl super::Op {
    pub(super) fn disk_token(&mut self, tag: u32) -> Token {
        let attempt = self.take_attempt();
        self.disk.attempt = attempt;
        Token { tag, attempt }
    }
}
