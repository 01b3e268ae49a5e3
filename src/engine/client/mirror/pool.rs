// SPDX-License-Identifier: GPL-2.0

//! The state of every buffer; a hash by page, and lists, linked by index.

use super::super::ids::{Generation, PageIndex, Version};
use super::super::storage::Storage;
use super::{BufferId, Direction, ReadError, Token};

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
    Wanted,
    /// With the disk.
    Reading,
    /// The I/O is over, or was never begun: the op that waits is to be notified.
    Notify,
    /// Lent to copy from it what has been read.
    Lent,
    /// Superseded while it is copied from: free when that is done.
    Left,
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
    direction: Direction,
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
    /// Its I/O has been abandoned.
    pub(super) is_abandoned: bool,
    /// It has failed together with others: alone from now on.
    pub(super) is_alone: bool,
    pub(super) tries: u32,
    /// Since when it is to be written; until when an I/O that failed is not tried again.
    pub(super) at_ns: u64,
    pub(super) waiter: Option<Token>,
    pub(super) ended: Option<Ended>,
    /// How often it is being copied from while it is to be written.
    pub(super) pins: u32,
    queue: Option<Queue>,
    next: Link,
    previous: Link,
    next_in_hash: Link,
}

impl Buffer {
    /// Whether it is with the disk.
    pub(super) fn is_with_disk(&self) -> bool {
        matches!(self.stage, Stage::Writing | Stage::Reading)
    }
}

/// An index of a buffer, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link(u32);

impl Link {
    const NONE: Self = Self(u32::MAX);

    fn id(self) -> Option<BufferId> {
        (self != Self::NONE).then_some(BufferId(self.0))
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::NONE
    }
}

/// The first buffer of a chain of the hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head(Link);

/// The lists: a buffer is in one at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// What is free.
    Free,
    /// To be read.
    Reads,
    /// To be written: an op waits for it.
    Urgent,
    /// To be written.
    Ready,
    /// I/O that has failed, and is to be retried at its time.
    Retries,
    /// A shard is to be notified of it.
    Notify,
}

const QUEUES: usize = 6;

/// First in, first out. Its links are in the buffers.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    head: Link,
    tail: Link,
    len: usize,
}

/// All buffers.
pub(super) struct Pool<S: Storage> {
    buffers: S::Buffers,
    heads: S::Heads,
    lists: [List; QUEUES],
    /// Buffers that are used for page-ins.
    reading: usize,
}

impl<S: Storage> Pool<S> {
    /// A pool of buffers that are all free.
    pub(super) fn new(buffers: S::Buffers, heads: S::Heads) -> Self {
        let mut pool = Self {
            buffers,
            heads,
            lists: [List::default(); QUEUES],
            reading: 0,
        };
        for index in 0..pool.buffers.len() {
            // CAST: at most 2^24.
            pool.push(Queue::Free, BufferId(index as u32));
        }
        pool
    }

    /// Number of buffers.
    pub(super) fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Number of buffers in a list.
    pub(super) fn count(&self, queue: Queue) -> usize {
        self.list(queue).len
    }

    pub(super) fn get(&self, id: BufferId) -> Option<&Buffer> {
        self.buffers.get(id.index())
    }

    pub(super) fn get_mut(&mut self, id: BufferId) -> Option<&mut Buffer> {
        self.buffers.get_mut(id.index())
    }

    fn list(&self, queue: Queue) -> &List {
        // PANIC: never; there are as many lists as queues.
        &self.lists[queue as usize]
    }

    fn list_mut(&mut self, queue: Queue) -> &mut List {
        // PANIC: never, as above.
        &mut self.lists[queue as usize]
    }

    fn link_mut(&mut self, link: Link) -> Option<&mut Buffer> {
        self.buffers.get_mut(link.0 as usize)
    }

    fn head_of(&self, page: PageIndex) -> usize {
        // Neighbours go to different heads, so that a run of pages makes no long chain.
        (page.0 as usize)
            .checked_rem(self.heads.len())
            .unwrap_or(usize::MAX)
    }

    /// Number of buffers that are used for page-ins.
    pub(super) fn reading(&self) -> usize {
        self.reading
    }

    /// Takes a free buffer for `page`.
    pub(super) fn take(&mut self, page: PageIndex, direction: Direction) -> Option<BufferId> {
        let id = self.first(Queue::Free)?;
        self.unlink(id);
        let head = self.head_of(page);
        let head = self.heads.get_mut(head)?;
        let next_in_hash = core::mem::replace(&mut head.0, Link(id.0));
        *self.get_mut(id)? = Buffer {
            page,
            direction,
            next_in_hash,
            ..Buffer::default()
        };
        if direction == Direction::In {
            self.reading = self.reading.saturating_add(1);
        }
        Some(id)
    }

    /// Gives a buffer back.
    pub(super) fn give(&mut self, id: BufferId) {
        self.unlink(id);
        let Some(&Buffer {
            page,
            direction,
            next_in_hash: next,
            ..
        }) = self.get(id)
        else {
            return;
        };
        if direction == Direction::In {
            self.reading = self.reading.saturating_sub(1);
        }
        let head = self.head_of(page);
        let mut link = self.heads.get(head).map_or(Link::NONE, |head| head.0);
        if link == Link(id.0) {
            if let Some(head) = self.heads.get_mut(head) {
                head.0 = next;
            }
        } else {
            while let Some(buffer) = self.link_mut(link) {
                link = buffer.next_in_hash;
                if link == Link(id.0) {
                    buffer.next_in_hash = next;
                    break;
                }
            }
        }
        if let Some(buffer) = self.get_mut(id) {
            *buffer = Buffer::default();
        }
        self.push(Queue::Free, id);
    }

    /// The first buffer of `page` in its chain that `wanted` wants.
    pub(super) fn find(
        &self,
        page: PageIndex,
        mut wanted: impl FnMut(&Buffer) -> bool,
    ) -> Option<BufferId> {
        let head = self.heads.get(self.head_of(page))?;
        self.find_from(head.0, page, &mut wanted)
    }

    /// The next buffer of the same page. To be asked before the buffer is given back.
    pub(super) fn next_of(&self, id: BufferId) -> Option<BufferId> {
        let buffer = self.get(id)?;
        self.find_from(buffer.next_in_hash, buffer.page, &mut |_| true)
    }

    fn find_from(
        &self,
        mut link: Link,
        page: PageIndex,
        wanted: &mut impl FnMut(&Buffer) -> bool,
    ) -> Option<BufferId> {
        while let Some(buffer) = self.buffers.get(link.0 as usize) {
            if buffer.page == page && wanted(buffer) {
                return link.id();
            }
            link = buffer.next_in_hash;
        }
        None
    }

    /// The first buffer of a list.
    pub(super) fn first(&self, queue: Queue) -> Option<BufferId> {
        self.list(queue).head.id()
    }

    /// The buffer behind `id` in its list.
    pub(super) fn next_in_list(&self, id: BufferId) -> Option<BufferId> {
        self.get(id)?.next.id()
    }

    /// Takes the first buffer out of a list.
    pub(super) fn pop(&mut self, queue: Queue) -> Option<BufferId> {
        let id = self.first(queue)?;
        self.unlink(id);
        Some(id)
    }

    /// Puts a buffer at the end of a list, unless it is in one.
    pub(super) fn push(&mut self, queue: Queue, id: BufferId) {
        let tail = self.list(queue).tail;
        let Some(buffer) = self.get_mut(id) else {
            return;
        };
        if buffer.queue.is_some() {
            return;
        }
        buffer.queue = Some(queue);
        buffer.next = Link::NONE;
        buffer.previous = tail;
        match self.link_mut(tail) {
            Some(last) => last.next = Link(id.0),
            None => self.list_mut(queue).head = Link(id.0),
        }
        let list = self.list_mut(queue);
        list.tail = Link(id.0);
        list.len = list.len.saturating_add(1);
    }

    /// Takes a buffer out of the list it is in, if it is in one.
    pub(super) fn unlink(&mut self, id: BufferId) {
        let Some(buffer) = self.get_mut(id) else {
            return;
        };
        let Some(queue) = buffer.queue.take() else {
            return;
        };
        let next = core::mem::take(&mut buffer.next);
        let previous = core::mem::take(&mut buffer.previous);
        match self.link_mut(previous) {
            Some(before) => before.next = next,
            None => self.list_mut(queue).head = next,
        }
        match self.link_mut(next) {
            Some(after) => after.previous = previous,
            None => self.list_mut(queue).tail = previous,
        }
        let list = self.list_mut(queue);
        list.len = list.len.saturating_sub(1);
    }

    /// The list that a buffer is in.
    pub(super) fn queue_of(&self, id: BufferId) -> Option<Queue> {
        self.get(id)?.queue
    }
}
