// SPDX-License-Identifier: GPL-2.0

//! What the local disk does for page-outs and page-ins, as far as a shard knows.
//!
//! A shard calls no mirror: it returns [`DiskWork`], and is told. What the caller does, without the
//! shard's lock, taking the mirror's for each call of that:
//!
//! - [`DiskWrite`]: [`DiskWrite::begin`]; copy the page, or its fill, into the buffer and compare
//!   the checksum; if urgent, [`Mirror::want`]. Tell [`Shard::disk_put`].
//! - [`DiskWant`]: [`Mirror::want`]. If that says `false`, tell [`Shard::disk_written`] `false`.
//! - [`DiskSettle`]: [`Mirror::settle`]. Tell nobody.
//! - [`DiskRead`] with `buffers_only`: [`Mirror::begin_read`]; copy the page and
//!   [`Mirror::release`]. Tell [`Shard::disk_looked`].
//! - [`DiskRead`] without: [`Mirror::begin_read`]. Tell [`Shard::disk_asked`]; with a buffer, then
//!   go on as for [`Event::Read`].
//!
//! What it must be told of the mirror's events:
//!
//! - [`Event::Written`]: [`Shard::disk_written`] of the token's shard.
//! - [`Event::Read`]: [`Shard::disk_read`] of the token's shard; if that gives a claim, copy and
//!   tell [`Shard::disk_received`]; in any case then [`Mirror::release`].
//! - [`Event::Room`], [`Event::StateChanged`]: [`Shard::disk_changed`] of every shard.
//!
//! [`Mirror::begin_read`]: super::super::mirror::Mirror::begin_read
//! [`Mirror::want`]: super::super::mirror::Mirror::want
//! [`Mirror::settle`]: super::super::mirror::Mirror::settle
//! [`Mirror::release`]: super::super::mirror::Mirror::release
//! [`Event::Written`]: super::super::mirror::Event::Written
//! [`Event::Read`]: super::super::mirror::Event::Read
//! [`Event::Room`]: super::super::mirror::Event::Room
//! [`Event::StateChanged`]: super::super::mirror::Event::StateChanged

use core::ops::Deref;

use super::super::device::Device;
use super::super::disk::Policy;
use super::super::ids::{Generation, PageIndex, Version};
use super::super::mirror::{self, Mirror, Put, ReadError, Token};
use super::super::page_map::Entry;
use super::op::{Kind, Link, Outcome, Stage};
use super::{Action, Shard, Storage};
use crate::sync::Atomic;

/// Something to be done with the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskWork {
    /// A page-out goes to the disk too; its page may be looked at until the answer.
    Write(DiskWrite),
    /// A page-out whose page is in a buffer waits for the disk after all.
    Want(DiskWant),
    /// A page-out that has a buffer has ended.
    Settle(DiskSettle),
    /// A page-in wants its page.
    Read(DiskRead),
}

/// A page that goes to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskWrite {
    /// Of which op.
    pub op: usize,
    /// Who waits, if it is urgent.
    pub token: Token,
    /// Which page.
    pub page: PageIndex,
    /// Its version.
    pub version: Version,
    /// What the page's checksum must be when it has been copied.
    pub crc: u32,
    /// The value that fills the page, if one does; then there is nothing to be compared.
    pub fill: Option<u64>,
    /// Whether the op waits for the disk.
    pub is_urgent: bool,
    /// A version that the op has put there before, and gives up.
    pub replaces: Option<Version>,
    /// Whether the page's own page-out is long over: it is brought to the disk in the background.
    pub is_copy: bool,
}

impl DiskWrite {
    /// Tells the mirror of it. Returns where the page is to be copied to, if anywhere.
    pub fn begin<S, M>(&self, mirror: &mut Mirror<S>, device: &Device<M>) -> Put
    where
        S: mirror::Storage,
        M: Deref<Target = [Atomic<u32>]>,
    {
        match self.is_copy {
            true => mirror.begin_copy(self.page, self.version, device),
            false => mirror.begin_write(
                self.page,
                self.version,
                self.is_urgent,
                self.replaces,
                device,
            ),
        }
    }
}

/// A page that has been put into a buffer, and is now waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskWant {
    /// Who waits.
    pub token: Token,
    /// Which page.
    pub page: PageIndex,
    /// Its version.
    pub version: Version,
}

/// How a page-out has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSettle {
    /// Which page.
    pub page: PageIndex,
    /// Its version.
    pub version: Version,
    /// Whether the version is the page's newest now.
    pub completed: bool,
}

/// A page wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRead {
    /// Of which op.
    pub op: usize,
    /// Who waits.
    pub token: Token,
    /// Which page.
    pub page: PageIndex,
    /// Which version of it.
    pub generation: Generation,
    /// Whether only buffers are to be looked at. Then the op's page is the caller's to write to,
    /// until the answer; otherwise it is not.
    pub buffers_only: bool,
    /// Whether the checksum of what was copied is asked for, for it goes on to others.
    pub wants_crc: bool,
}

/// How the copying of a page from the disk, or from a buffer, went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// There was nothing to be copied, or it could not be.
    Nothing,
    /// It has been copied.
    Copied,
    /// It has been copied, and this is its checksum.
    Summed(u32),
}

/// What has become of a [`DiskWrite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutAnswer {
    /// The page is in a buffer; if it was urgent, it is on its way to the disk.
    Copied,
    /// It was copied, but is another by now: this is its checksum. The buffer has been given back.
    Changed(u32),
    /// There is no room.
    Full,
    /// The disk takes no pages.
    Closed,
}

/// What has become of a [`DiskRead`] that asks the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskAnswer {
    /// It will be answered.
    Queued,
    /// There is no room.
    Full,
    /// The page is there no longer, or is another version by now.
    Changed,
    /// The disk does not answer.
    Hung,
}

/// A claim to write into an op's page what was read from the disk: while it lasts the op does not
/// end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskReceive {
    /// Of which op.
    pub op: usize,
    /// As in [`DiskRead`].
    pub wants_crc: bool,
}

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
    /// Page-out: there was no room for it.
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
    /// Page-in: the disk cannot be asked now.
    Later,
    /// Page-in: the disk cannot read it.
    Failed,
}

/// The local disk's part in an op.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskPart {
    pub(super) stage: DiskStage,
    /// Which of the op's waits it is.
    attempt: u32,
    /// Page-out: the mirror has heard of it, so that it knows that what it has is older.
    is_known: bool,
    /// Page-out: a server does not answer; the disk may have to do.
    is_wanted: bool,
    /// Page-out: when it last came to the mirror, it needed the disk.
    was_urgent: bool,
    /// Page-out: its time is out. Until the mirror has heard of it, the page must stay BUSY: of two
    /// page-outs of a page, it must hear in their order.
    is_last: bool,
    /// Page-out: the version in a buffer.
    put: Option<Version>,
    /// Page-out: what the mirror is to be told of it, now that it has ended.
    pub(super) settle: Option<DiskSettle>,
    linked: bool,
    next: Link,
}

impl DiskPart {
    /// That of an op that begins anew. Where it hangs, it hangs.
    pub(super) fn renew(&mut self) {
        *self = Self {
            linked: self.linked,
            next: self.next,
            ..Self::default()
        };
    }

    /// Page-out: it is on the disk.
    pub(super) fn is_written(&self) -> bool {
        self.stage == DiskStage::Written
    }

    /// Page-out: this version is in a buffer, of which the mirror will be told how it ended.
    pub(super) fn is_put(&self, version: Version) -> bool {
        self.put == Some(version)
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
        self.settle.is_some() || self.disk_work.head != Link::NONE
    }

    /// Takes the next thing to be done with the mirror.
    pub(super) fn poll_disk<M>(&mut self, device: &Device<M>) -> Option<Action>
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        while let Some(index) = self.pop_disk() {
            if let Some(work) = self.begin_disk_work(index, device) {
                return Some(Action::Disk(work));
            }
        }
        None
    }

    fn begin_disk_work<M>(&mut self, index: usize, device: &Device<M>) -> Option<DiskWork>
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
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
                op.holds = op.holds.saturating_add(1);
                Some(DiskWork::Write(DiskWrite {
                    op: index,
                    token,
                    page,
                    version,
                    crc: op.crc,
                    fill: op.fill,
                    is_urgent,
                    replaces: op.disk.put.take(),
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
                op.holds = op.holds.saturating_add(1);
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
                    wants_crc: op.is_background,
                }))
            }
            _ => None,
        }
    }

    /// The op that waits with this token, if it still does.
    fn find_waiter(&self, token: Token, stage: DiskStage) -> Option<usize> {
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

    /// A [`DiskWrite`] has been done, or could not be.
    pub fn disk_put<M>(
        &mut self,
        now_ns: u64,
        write: &DiskWrite,
        answer: PutAnswer,
        device: &Device<M>,
    ) where
        M: Deref<Target = [Atomic<u32>]>,
    {
        if write.is_copy {
            self.copy_put(write.op, answer);
            return;
        }
        let index = write.op;
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
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
        } else if op.version != write.version {
            self.push_disk(index, DiskStage::PutQueued);
        } else if let (PutAnswer::Changed(crc), true) = (answer, is_short) {
            // Servers may have it as it was; the disk can only have it as it is.
            op.disk.stage = DiskStage::Idle;
            self.begin_anew(now_ns, index, crc, device);
        }
        self.go_on_page_out(now_ns, index, device);
        self.release_hold(index);
    }

    /// A page that an op waits for is on the disk (`ok`), or will not be in time.
    pub fn disk_written<M>(&mut self, now_ns: u64, token: Token, ok: bool, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
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
        self.go_on_page_out(now_ns, index, device);
    }

    /// Looks at the page-out again, unless servers are still to answer.
    fn go_on_page_out<M>(&mut self, now_ns: u64, index: usize, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let goes_on = self.ops.get(index).is_some_and(|op| {
            matches!(op.stage, Stage::Active | Stage::Stalled) && !op.is_waiting()
        });
        if goes_on {
            self.continue_page_out(now_ns, index, device);
        }
    }

    /// A page-out has its version: it goes to the disk beside the servers.
    pub(super) fn begin_put<M>(&mut self, index: usize, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        if !device.disk.load().is_tracked() {
            return;
        }
        let stage = self.ops.get(index).map(|op| op.disk.stage);
        if stage == Some(DiskStage::Idle) {
            self.push_disk(index, DiskStage::PutQueued);
        }
    }

    /// The page-out has another version from now on.
    pub(super) fn put_anew(&mut self, index: usize) {
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
    pub(super) fn judge_disk<M>(
        &mut self,
        index: usize,
        is_short: bool,
        device: &Device<M>,
    ) -> DiskVerdict
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
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
            DiskStage::PutQueued | DiskStage::Putting | DiskStage::WantQueued => {
                DiskVerdict::InHand
            }
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
    pub(super) fn disk_knows<M>(&self, index: usize, device: &Device<M>) -> bool
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
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
    /// the server is given up, for the patience may be out sooner.
    pub(super) fn want_disk<M>(&mut self, index: usize, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
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

    /// There is room in the mirror, or the disk has become usable, or is so no longer.
    pub fn disk_changed<M>(&mut self, now_ns: u64, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let state = device.disk.load();
        let mut link = self.active;
        while let Some((index, op)) = self.op_at(link) {
            link = op.next_active;
            if op.kind == Kind::Mirror {
                // It is told by the mirror, whatever happens.
                continue;
            }
            match (op.stage, op.disk.stage) {
                (_, DiskStage::NoRoom) if state.is_usable() => {
                    self.push_disk(index, DiskStage::PutQueued);
                }
                (_, DiskStage::NoRoom) => {
                    if let Some(op) = self.ops.get_mut(index) {
                        op.disk.stage = DiskStage::Refused;
                    }
                    self.go_on_page_out(now_ns, index, device);
                }
                (_, DiskStage::Put | DiskStage::WantQueued | DiskStage::Wanted)
                    if !state.is_attached() =>
                {
                    self.push_disk(index, DiskStage::DropQueued);
                    self.go_on_page_out(now_ns, index, device);
                }
                (_, DiskStage::Written) if !state.is_attached() => {
                    if let Some(op) = self.ops.get_mut(index) {
                        op.disk.stage = DiskStage::Refused;
                    }
                    self.go_on_page_out(now_ns, index, device);
                }
                (Stage::Stalled, DiskStage::Later | DiskStage::Failed) => {
                    if let Some(op) = self.ops.get_mut(index) {
                        op.disk.stage = DiskStage::Looked;
                    }
                    self.begin_again(now_ns, index, device);
                }
                (Stage::Stalled, _) => self.begin_again(now_ns, index, device),
                _ => {}
            }
        }
    }

    /// A page-in that waited in vain tries the disk again.
    pub(super) fn retry_ask(&mut self, index: usize) {
        if let Some(op) = self.ops.get_mut(index) {
            if op.disk.stage == DiskStage::Later {
                op.disk.stage = DiskStage::Looked;
            }
        }
    }

    /// Whether a page-in looks at buffers first, because its page may be on its way to the disk. It
    /// must not have anything else under way.
    pub(super) fn look_at_buffers<M>(
        &mut self,
        index: usize,
        entry: Entry,
        device: &Device<M>,
    ) -> bool
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
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
    pub(super) fn ask_disk<M>(&mut self, index: usize, device: &Device<M>) -> Option<bool>
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let op = self.ops.get(index)?;
        let entry = device.map.load(op.page);
        let is_there = entry.is_on_disk()
            && entry.is_written()
            && entry.generation() == op.generation
            && device.disk.load().is_attached();
        if !is_there {
            return None;
        }
        match op.disk.stage {
            DiskStage::Idle | DiskStage::Looked => {
                self.begin_disk(index, DiskStage::AskQueued);
                Some(true)
            }
            DiskStage::Failed => None,
            DiskStage::Later => Some(false),
            _ => Some(true),
        }
    }

    /// Buffers have been looked at; the page has been copied from one, or is in none.
    pub fn disk_looked<M>(&mut self, now_ns: u64, read: &DiskRead, taken: Taken, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        self.taken(now_ns, read.op, taken, device);
    }

    fn taken<M>(&mut self, now_ns: u64, index: usize, taken: Taken, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
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
            self.go_on_page_in(now_ns, index, device);
        }
        self.release_hold(index);
    }

    /// The disk has been asked, or cannot be.
    pub fn disk_asked<M>(
        &mut self,
        now_ns: u64,
        read: &DiskRead,
        answer: AskAnswer,
        device: &Device<M>,
    ) where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let Some(op) = self.ops.get_mut(read.op) else {
            return;
        };
        op.disk.stage = match answer {
            AskAnswer::Queued => DiskStage::Reading,
            AskAnswer::Full | AskAnswer::Hung => DiskStage::Later,
            AskAnswer::Changed => DiskStage::Idle,
        };
        // Servers may have come meanwhile.
        self.go_on_page_in(now_ns, read.op, device);
        self.release_hold(read.op);
    }

    /// The disk has answered. With a claim, what was read is to be copied into the op's page, and
    /// [`Self::disk_received`] told.
    pub fn disk_read<M>(
        &mut self,
        now_ns: u64,
        token: Token,
        result: Result<(), ReadError>,
        device: &Device<M>,
    ) -> Option<DiskReceive>
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let index = self.find_waiter(token, DiskStage::Reading)?;
        let op = self.ops.get_mut(index)?;
        op.disk.stage = match result {
            // A fragment is being copied to the page: whoever sent it has the others too, as a
            // rule; if not, the disk is asked again.
            Ok(()) if op.claimed => DiskStage::Looked,
            Ok(()) => DiskStage::Receiving,
            Err(ReadError::Failed) => DiskStage::Failed,
            Err(ReadError::Hung) => DiskStage::Later,
            Err(ReadError::Changed) => DiskStage::Idle,
        };
        if op.disk.stage == DiskStage::Receiving {
            op.stage = Stage::Active;
            op.claimed = true;
            op.assembly = None;
            op.holds = op.holds.saturating_add(1);
            return Some(DiskReceive {
                op: index,
                wants_crc: op.is_background,
            });
        }
        self.go_on_page_in(now_ns, index, device);
        None
    }

    /// What was read from the disk has been copied, or could not be.
    pub fn disk_received<M>(
        &mut self,
        now_ns: u64,
        receive: &DiskReceive,
        taken: Taken,
        device: &Device<M>,
    ) where
        M: Deref<Target = [Atomic<u32>]>,
    {
        self.taken(now_ns, receive.op, taken, device);
    }

    fn go_on_page_in<M>(&mut self, now_ns: u64, index: usize, device: &Device<M>)
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        let goes_on = self
            .ops
            .get(index)
            .is_some_and(|op| matches!(op.stage, Stage::Active | Stage::Stalled));
        if goes_on {
            self.continue_page_in(now_ns, index, device);
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
