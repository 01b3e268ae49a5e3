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
//! - [`DiskRead`] with `buffers_only`: [`DiskRead::begin`]; copy the page and
//!   [`Mirror::release`]. Tell [`Shard::disk_looked`].
//! - [`DiskRead`] without: [`DiskRead::begin`]. Tell [`Shard::disk_asked`]; with a buffer, then
//!   go on as for [`Event::Read`].
//! - [`DiskWork::PassTurn`]: [`Mirror::pass_turn`]. Tell nobody.
//!
//! What it must be told of the mirror's events:
//!
//! - [`Event::Written`]: [`Shard::disk_written`] of the token's shard.
//! - [`Event::Read`]: [`Shard::disk_read`] of the token's shard; if that gives a claim, copy and
//!   tell [`Shard::disk_received`]; in any case then [`Mirror::release`].
//! - [`Event::StateChanged`]: [`Shard::disk_changed`] of every shard.
//! - [`Event::Turn`]: [`Shard::disk_turn`] of that shard.
//!
//! [`Mirror::pass_turn`]: super::super::mirror::Mirror::pass_turn
//! [`Mirror::want`]: super::super::mirror::Mirror::want
//! [`Mirror::settle`]: super::super::mirror::Mirror::settle
//! [`Mirror::release`]: super::super::mirror::Mirror::release
//! [`Event::Written`]: super::super::mirror::Event::Written
//! [`Event::Read`]: super::super::mirror::Event::Read
//! [`Event::StateChanged`]: super::super::mirror::Event::StateChanged
//! [`Event::Turn`]: super::super::mirror::Event::Turn
//! [`Shard::disk_asked`]: super::Shard::disk_asked
//! [`Shard::disk_changed`]: super::Shard::disk_changed
//! [`Shard::disk_looked`]: super::Shard::disk_looked
//! [`Shard::disk_put`]: super::Shard::disk_put
//! [`Shard::disk_read`]: super::Shard::disk_read
//! [`Shard::disk_turn`]: super::Shard::disk_turn
//! [`Shard::disk_received`]: super::Shard::disk_received
//! [`Shard::disk_written`]: super::Shard::disk_written

use super::super::device::Device;
use super::super::ids::{Generation, PageIndex, Version};
use super::super::mirror::{Get, Mirror, Put, Token, Way, Write};
use super::super::storage::Storage;

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
    /// The shard with this number has no use for its turn.
    PassTurn(usize, Way),
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
    /// It is the shard's turn, and this is the first in its line.
    pub turn: Option<DiskTurn>,
    /// Whether the page's own page-out is long over: it is brought to the disk in the background.
    pub is_copy: bool,
}

impl DiskWrite {
    /// Tells the mirror of it. Returns where the page is to be copied to, if anywhere.
    pub fn begin<S: Storage>(&self, mirror: &mut Mirror<S>, device: &Device<S>) -> Put {
        if self.is_copy {
            return mirror.begin_copy(self.page, self.version, device);
        }
        let write = Write {
            page: self.page,
            version: self.version,
            is_urgent: self.is_urgent,
            replaces: self.replaces,
            shard: self.token.shard(),
        };
        match self.turn {
            Some(turn) => mirror.begin_write_in_turn(&write, turn.others, device),
            None => mirror.begin_write(&write, device),
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
    /// It is the shard's turn, and this is the first in its line.
    pub turn: Option<DiskTurn>,
    /// Whether the checksum of what was copied is asked for, for it goes on to others.
    pub wants_crc: bool,
}

/// A shard's turn to have a buffer of the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskTurn {
    /// Whether others stand in the line behind the one whose page it is.
    pub others: bool,
}

impl DiskRead {
    /// Asks the mirror.
    pub fn begin<S: Storage>(&self, mirror: &mut Mirror<S>, device: &Device<S>) -> Get {
        let Self {
            token,
            page,
            generation,
            ..
        } = *self;
        match self.turn {
            Some(turn) => mirror.begin_read_in_turn(page, generation, token, turn.others, device),
            None => mirror.begin_read(page, generation, token, self.buffers_only, device),
        }
    }
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
    TimedOut,
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
