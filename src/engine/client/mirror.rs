// SPDX-License-Identifier: GPL-2.0

//! The local disk: pages on their way to it and from it, in a bounded pool of buffers.
//!
//! One lock is held around every call. It is the innermost lock; the page map is lock-free. A shard
//! calls through [`super::disk_port::DiskPort`]. Nothing here touches memory of a request: the caller copies
//! to a buffer or from it, without the lock, while the buffer is lent to it.
//!
//! **A page-out.** [`Mirror::begin_write`] while the page is BUSY in the map. From then on whatever is here
//! of the page is superseded, whether there is room for the new version or not. With [`Put::Buffer`], the
//! caller copies the page. If the page-out does not need the disk, that is all until it has ended.
//! [`Mirror::settle`] then reports whether it succeeded. Only then may the buffer answer a page-in and be
//! written, and the DISK bit be set. If the page-out needs the disk, [`Mirror::want`] has the buffer written
//! at once, and [`Event::Written`] reports the result. With [`Put::Full`], the page-out waits in its shard's
//! wait list.
//!
//! **A page that is out of sync.** [`Mirror::begin_copy`], then [`Mirror::want`], or [`Mirror::settle`]
//! without success. The caller sets the DISK bit.
//!
//! **A page-in.** [`Mirror::begin_read`]: from a buffer, or from the disk. With [`Get::Full`], the page-in
//! waits in its shard's wait list.
//!
//! **Room.** [`Event::Granted`] lets the first op in one of a shard's wait lists ask again, by
//! [`Mirror::begin_granted_read`] or [`Mirror::begin_granted_write`]. A shard in whose wait list no op waits
//! calls [`Mirror::return_grant`]. An eighth of the buffers is reserved for page-ins. While page-outs
//! wait, page-ins use at most three quarters.
//!
//! **The disk.** [`Mirror::poll`] returns I/O to submit, any number at a time. [`Mirror::refused`] reports
//! that the disk did not take one, which is returned again later. [`Mirror::ended`] reports
//! how each ended, in any order and however late. An I/O that does not end within the disk's timeout is
//! abandoned: the op that waits for it is notified, and the disk counts as timed out until the I/O ends.
//!
//! **What may not happen.** Two writes of one page never pass each other, and a read and a write of one page
//! are never both with the disk: the page's next I/O waits for the one before. The DISK bit of the map is
//! set under this lock by the end of a write that nothing has superseded, or by the page-out or the copy
//! that waited for it. It is cleared before a write of another version begins. So wherever it is set and the
//! page is not BUSY, the disk holds the map's version.

mod io;
mod io_end;
mod io_timeout;
mod pool;
mod read;
mod room;
mod submit;
#[cfg(test)]
mod tests;
mod wait_list;
mod write;

use super::counters::MirrorCounters;
use super::disk::DiskState;
pub use super::disk::Policy;
use super::ids::{shard_of_tag, PageIndex, Version};
use super::storage::Storage;
use super::swap_device::SwapDevice;

pub use io::Io;
pub use pool::{Buffer, Head};
use pool::{Pool, Queue};
use submit::Submissions;
pub use wait_list::Direction;
use wait_list::WaitList;

/// Pages that one I/O may have.
pub const MERGE: usize = 32;

/// Pages of the pool that are checked in one call: for the next write, or when the disk is no longer used.
const DROP_STEP: usize = 128;

/// The memory of a mirror. Everything is in its default state.
pub struct Parts<S: Storage> {
    /// The pool: at least 64, at most 2^24.
    pub buffers: S::Buffers,
    /// The hash.
    pub heads: S::Heads,
    /// The I/Os: at least 4.
    pub ios: S::Ios,
}

/// How the disk is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// When page-outs that the servers hold go to the disk.
    pub policy: Policy,
    /// How long an I/O may take before it is abandoned.
    pub io_timeout_ns: u64,
    /// How often a page's I/O is tried again after an error.
    pub retries: u32,
    /// How many errors in a row make the disk faulty.
    pub errors_max: u32,
    /// How long pages for which no op waits are gathered, to be written together.
    pub gather_ns: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::Lag,
            io_timeout_ns: 10_000_000_000,
            retries: 2,
            errors_max: 16,
            gather_ns: 2_000_000,
        }
    }
}

/// Which page of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferId(u32);

impl BufferId {
    /// Its number: below the number of buffers.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What waits for an I/O. The mirror hands it back, and knows only its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// The op's tag.
    pub tag: u32,
    /// Which of the op's waits it is.
    pub attempt: u32,
}

impl Token {
    /// The number of the op's shard.
    pub fn shard(self) -> usize {
        shard_of_tag(self.tag)
    }
}

/// A page-out's page on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which page.
    pub page: PageIndex,
    /// The page-out's version.
    pub version: Version,
    /// Whether the page-out needs the disk, for want of servers.
    pub is_urgent: bool,
    /// An earlier version of the same page-out, whose buffer it gives up.
    pub replaces: Option<Version>,
    /// The number of its shard.
    pub shard: usize,
}

/// The answer to a page that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The caller fills this buffer, then calls [`Mirror::want`] or [`Mirror::settle`].
    Buffer(BufferId),
    /// There is no room now, or others have waited longer. [`Event::Granted`] comes when there is.
    Full,
    /// The disk takes no pages.
    Closed,
}

/// Where a page's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Get {
    /// From this buffer; [`Mirror::release`] when they have been copied.
    Buffered(BufferId),
    /// From the disk: [`Event::Read`] comes.
    Queued,
    /// There is no buffer for it now, or others have waited longer. [`Event::Granted`] comes when there is.
    Full,
    /// The page is being written, or is another version: look at the map again.
    Changed,
    /// They are neither buffered nor on the disk.
    Absent,
    /// An I/O of the page has been abandoned; until that ends, the disk is not asked for it.
    TimedOut,
}

/// How a read from the disk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The disk has reported an error.
    Failed,
    /// It does not answer.
    TimedOut,
    /// A newer version of the page is being written: look at the map again.
    Changed,
}

/// Something of which shards must be notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`super::shard::Shard::disk_written`] of the token's shard: the page that an op waits for is on the
    /// disk (`true`), or will not be in time.
    Written(Token, bool),
    /// [`super::shard::Shard::disk_read`] of the token's shard: a page has been read into a buffer, which
    /// the shard releases ([`Mirror::release`]), or could not be read.
    Read(Token, Result<BufferId, ReadError>),
    /// [`super::shard::Shard::disk_granted`] of the shard with this number: a buffer is reserved for it, for
    /// a page in this direction.
    Granted(usize, Direction),
    /// [`super::shard::Shard::disk_changed`] of every shard: what they may do with the disk has changed.
    StateChanged,
}

/// I/O for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskIo {
    /// Which of the I/Os, for [`Mirror::ended`].
    pub id: usize,
    /// Whether the buffers go to the disk, or are filled from it.
    pub is_write: bool,
    /// Whether submitting it may wait for a disk that cannot take it now.
    pub may_wait: bool,
    /// The first page; the others follow it.
    pub first: PageIndex,
    buffers: [BufferId; MERGE],
    count: usize,
}

impl DiskIo {
    /// The pages of the pool, in the order of the disk.
    pub fn buffers(&self) -> &[BufferId] {
        self.buffers.get(..self.count).unwrap_or(&[])
    }
}

/// The mirror is in use: pages are in it, or with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

/// The local disk's state machine.
pub struct Mirror<S: Storage> {
    config: Config,
    pool: Pool<S>,
    ios: S::Ios,
    ios_in_use: usize,
    writes_under_way: usize,
    submissions: Submissions,
    abandoned: usize,
    /// Since when the disk has not answered, if I/O has been abandoned.
    silent_since_ns: Option<u64>,
    /// Whether that has lasted for the I/O timeout of requests.
    is_given_up: bool,
    errors_in_a_row: u32,
    next_deadline_ns: u64,
    /// When to check how long the disk has taken, if it has I/O; `u64::MAX` if not.
    look_at_ns: u64,
    /// How far the pool has been searched for pages that no longer go to the disk; its length, or more, if it
    /// is not being searched.
    drop_next: usize,
    is_attached: bool,
    /// Whether the disk is faulty, and not added again since.
    has_failed: bool,
    /// Whether it is being checked if the disk can be detached.
    is_paused: bool,
    /// Which shards wait for room, by direction.
    wait_lists: [WaitList; 2],
    state_changed: bool,
    counters: MirrorCounters,
}

impl<S: Storage> Mirror<S> {
    /// A mirror without a disk.
    pub fn new(config: Config, parts: Parts<S>) -> Self {
        Self {
            config,
            pool: Pool::new(parts.buffers, parts.heads),
            ios: parts.ios,
            ios_in_use: 0,
            writes_under_way: 0,
            submissions: Submissions::default(),
            abandoned: 0,
            silent_since_ns: None,
            is_given_up: false,
            errors_in_a_row: 0,
            next_deadline_ns: u64::MAX,
            look_at_ns: u64::MAX,
            drop_next: usize::MAX,
            is_attached: false,
            has_failed: false,
            is_paused: false,
            wait_lists: [WaitList::default(); 2],
            state_changed: false,
            counters: MirrorCounters::default(),
        }
    }

    /// Attaches a disk. No page is on it: the map's DISK bits must all be clear.
    pub fn attach(&mut self, device: &SwapDevice<S>) -> Result<(), InUse> {
        if self.is_attached || !self.is_idle() {
            return Err(InUse);
        }
        self.is_attached = true;
        self.has_failed = false;
        self.is_paused = false;
        self.errors_in_a_row = 0;
        self.publish(device);
        Ok(())
    }

    /// The disk takes no more pages, and its copies no longer count. I/O that is under way continues.
    /// When [`Self::is_idle`], notify every shard, then clear the map's DISK bits, then
    /// [`Self::finish_detach`]. Call [`Self::handle_timeout`] at its times meanwhile.
    pub fn begin_detach(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        self.is_attached = false;
        self.drop_queued(device);
        self.end_refused(now_ns, device);
        self.publish(device);
    }

    /// The disk stays after all. May be called until [`Self::finish_detach`]. Pages whose DISK bits have
    /// been cleared already are out of sync.
    pub fn cancel_detach(&mut self, device: &SwapDevice<S>) {
        self.is_attached = true;
        self.publish(device);
    }

    /// Detaches the disk.
    pub fn finish_detach(&mut self, device: &SwapDevice<S>) -> Result<(), InUse> {
        if self.is_attached || !self.is_idle() {
            return Err(InUse);
        }
        device.disk.store(DiskState::default());
        Ok(())
    }

    /// A faulty disk is used again.
    pub fn re_add(&mut self, device: &SwapDevice<S>) {
        self.has_failed = false;
        self.errors_in_a_row = 0;
        self.publish(device);
    }

    /// The disk was removed from the machine: it is not used until [`Self::re_add`]. Returns whether that is
    /// new.
    pub fn mark_faulty(&mut self, device: &SwapDevice<S>) -> bool {
        if !self.is_attached || self.has_failed {
            return false;
        }
        self.has_failed = true;
        self.drop_queued(device);
        self.publish(device);
        true
    }

    /// Changes how the disk is used, for I/O under way as well.
    pub fn set_config(&mut self, config: Config, device: &SwapDevice<S>) {
        if self.config == config {
            return;
        }
        self.config = config;
        self.next_deadline_ns = 0;
        if device.disk.load().is_tracked() {
            // An op that one policy holds back may not be held back by the next: notify the shards.
            self.publish(device);
        }
    }

    /// How the disk is used.
    pub fn config(&self) -> Config {
        self.config
    }

    /// Whether there is a disk.
    pub fn is_attached(&self) -> bool {
        self.is_attached
    }

    /// The disk takes no pages until [`Self::resume`] or [`Self::begin_detach`]: it is to be checked whether
    /// it can be detached.
    pub fn pause(&mut self, device: &SwapDevice<S>) {
        self.is_paused = true;
        self.drop_queued(device);
        self.publish(device);
    }

    /// The disk stays, and is used as before.
    pub fn resume(&mut self, device: &SwapDevice<S>) {
        self.is_paused = false;
        self.publish(device);
    }

    /// Whether the disk takes page-outs: it is attached, and neither faulty, timed out nor
    /// being detached.
    pub fn is_usable(&self) -> bool {
        self.is_attached && !self.has_failed && !self.is_paused && self.abandoned == 0
    }

    /// Whether the disk is faulty.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether I/O has been abandoned that has not ended: the disk, and the pool, must stay.
    pub fn has_abandoned(&self) -> bool {
        self.abandoned != 0
    }

    /// Whether every buffer is free: the disk has no I/O, and no shard is to be notified.
    pub fn is_idle(&self) -> bool {
        self.pool.count(Queue::Free) == self.pool.len()
    }

    /// Whether pages are being written.
    pub fn is_writing(&self) -> bool {
        self.writes_under_way != 0
    }

    /// Number of buffers in use.
    pub fn buffered(&self) -> usize {
        self.pool.len().saturating_sub(self.pool.count(Queue::Free))
    }

    /// The counters.
    pub fn counters(&self) -> &MirrorCounters {
        &self.counters
    }

    /// When [`Self::handle_timeout`] is to be called next; `u64::MAX` for never. It may be called
    /// earlier, for nothing.
    pub fn next_timeout_ns(&self) -> u64 {
        self.next_deadline_ns
    }

    fn note_deadline(&mut self, deadline_ns: u64) {
        self.next_deadline_ns = self.next_deadline_ns.min(deadline_ns);
    }

    /// Publishes the disk's state to the shards.
    fn publish(&mut self, device: &SwapDevice<S>) {
        let mut state =
            DiskState::new(true, self.is_attached, self.is_usable(), self.config.policy);
        if self.is_given_up {
            state = state.given_up();
        }
        if self.has_failed {
            state = state.without_use();
        }
        let was_wanted = device.disk.load().is_wanted();
        self.state_changed |= device.disk.store(state);
        if state.is_wanted() && !was_wanted {
            // Page-outs that end from now on mark their pages themselves.
            device.mark_all_out_of_sync();
        }
    }
}
