// SPDX-License-Identifier: GPL-2.0

//! What a mirror knows of each of its buffers.

use super::super::ids::{Generation, PageIndex, Version};
use super::pool::Links;
use super::{Direction, ReadError, Token};

/// What a buffer is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// For nothing.
    #[default]
    Free,
    /// Lent to be filled with a page, until [`super::Mirror::want`] or [`super::Mirror::settle`].
    Filling,
    /// To be written. In a list, unless other I/O of its page has to end first.
    Ready,
    /// With the disk.
    Writing,
    /// To be filled from the disk. In a list, unless other I/O of its page has to end first.
    ToRead,
    /// With the disk.
    Reading,
    /// The I/O is over, or was never begun: the op that waits is to be notified.
    Notify,
    /// Lent to copy from it what has been read.
    ReadDone,
    /// Superseded while it is copied from: free when that is done.
    Outdated,
}

/// The result that is to be reported to the op that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Written(bool),
    Read(Result<(), ReadError>),
}

/// A page of the pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffer {
    pub(super) stage: Stage,
    pub(super) page: PageIndex,
    pub(super) direction: Direction,
    /// Of what is to be written.
    pub(super) version: Version,
    /// Of what is to be read.
    pub(super) generation: Generation,
    /// The page-out of this version has completed: it is the map's version.
    pub(super) is_settled: bool,
    /// A page-out of a newer version has begun, or that of this one has failed.
    pub(super) is_superseded: bool,
    /// Repair brought it, which waits for the disk; no request does.
    pub(super) is_copy: bool,
    /// Its I/O has timed out.
    pub(super) is_timed_out: bool,
    /// It has failed together with others: alone from now on.
    pub(super) is_alone: bool,
    pub(super) tries: u32,
    /// Since when it is to be written; until when an I/O that failed is not tried again.
    pub(super) at_ns: u64,
    pub(super) waiter: Option<Token>,
    pub(super) ended: Option<Ended>,
    /// How often it is being copied from while it is to be written.
    pub(super) pins: u32,
    pub(super) links: Links,
}

impl Buffer {
    /// Whether it is with the disk.
    pub(super) fn is_with_disk(&self) -> bool {
        matches!(self.stage, Stage::Writing | Stage::Reading)
    }
}
