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
//! timed out: the op that waits for it is notified, and the disk counts as timed out until the I/O ends.
//!
//! **What may not happen.** Two writes of one page never pass each other, and a read and a write of one page
//! are never both with the disk: the page's next I/O waits for the one before. The DISK bit of the map is
//! set under this lock by the end of a write that nothing has superseded, or by the page-out or the copy
//! that waited for it. It is cleared before a write of another version begins. So wherever it is set and the
//! page is not BUSY, the disk holds the map's version.

mod attachment;
mod buffer;
mod buffer_room;
mod disk_timeout;
mod event;
mod fault;
mod io_end;
mod next_io;
mod pool;
mod read;
mod reported_health;
mod retry;
mod submit;
#[cfg(test)]
mod tests;
mod timers;
mod wait_list;
mod write;

use super::counters::MirrorCounters;
pub use super::disk_state::Policy;
use super::ids::{shard_of_tag, PageIndex, Version};
use super::storage::Storage;

pub use attachment::InUse;
pub use buffer::Buffer;
pub use disk_timeout::TimedOut;
pub use next_io::Io;
use next_io::Run;
use pool::Pool;
pub use pool::{BufferId, Head};
pub use reported_health::Health;
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
    /// How long an I/O may take before it times out.
    pub disk_timeout_ns: u64,
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
            disk_timeout_ns: 10_000_000_000,
            retries: 2,
            errors_max: 16,
            gather_ns: 2_000_000,
        }
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
    /// An I/O of the page has timed out; until it ends, the disk is not asked for the page.
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

/// Something of which shards must be notified: [`super::shard::Shard::disk_event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The page that an op waits for is on the disk (`true`), or will not be in time.
    Written(Token, bool),
    /// A page has been read into a buffer, which the shard releases ([`Mirror::release`]), or could not be
    /// read.
    Read(Token, Result<BufferId, ReadError>),
    /// A buffer is reserved for the shard with this number, for a page in this direction.
    Granted(usize, Direction),
    /// What shards may do with the disk has changed.
    StateChanged,
}

impl Event {
    /// The number of the shard that is notified; `None` for all shards.
    pub fn shard(self) -> Option<usize> {
        match self {
            Self::Written(token, _) | Self::Read(token, _) => Some(token.shard()),
            Self::Granted(shard, _) => Some(shard),
            Self::StateChanged => None,
        }
    }
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
    run: Run,
}

impl DiskIo {
    /// The pages of the pool, in the order of the disk.
    pub fn buffers(&self) -> &[BufferId] {
        self.run.buffers()
    }
}

/// The local disk's state machine.
pub struct Mirror<S: Storage> {
    config: Config,
    pool: Pool<S>,
    ios: S::Ios,
    ios_in_use: usize,
    writes_under_way: usize,
    submissions: Submissions,
    /// Number of I/Os that have timed out and not ended.
    timed_out: usize,
    /// Since when the disk has been timed out; later if it has answered since, or the client was stopped.
    timed_out_since_ns: Option<u64>,
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
    is_faulty: bool,
    /// Whether it is being checked if the disk can be detached.
    is_paused: bool,
    /// Which shards wait for room, by direction.
    wait_lists: [WaitList; 2],
    state_changed: bool,
    /// The state of the disk that [`Self::take_health_change`] has returned last.
    noted: Health,
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
            timed_out: 0,
            timed_out_since_ns: None,
            is_given_up: false,
            errors_in_a_row: 0,
            next_deadline_ns: u64::MAX,
            look_at_ns: u64::MAX,
            drop_next: usize::MAX,
            is_attached: false,
            is_faulty: false,
            is_paused: false,
            wait_lists: [WaitList::default(); 2],
            state_changed: false,
            noted: Health::Absent,
            counters: MirrorCounters::default(),
        }
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
}
