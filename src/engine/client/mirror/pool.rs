// SPDX-License-Identifier: GPL-2.0

//! The buffers of a mirror, by identifiers that exist: which are free, which hold a page, and which are in a
//! list. A hash by page, and lists, linked by index.

use core::num::NonZero;
use core::ops::{Index, IndexMut};

use super::super::ids::PageIndex;
use super::super::storage::Storage;
use super::buffer::Buffer;
use super::Direction;

/// Which page of the pool.
///
/// # Invariants
///
/// A buffer's index, plus one. It exists in the mirror that has returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(NonZero<u32>);

impl BufferId {
    /// Its index: below the number of buffers.
    pub fn index(self) -> usize {
        self.0.get().wrapping_sub(1) as usize
    }
}

/// A buffer's place in its list and in the hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    queue: Option<Queue>,
    next: Option<BufferId>,
    previous: Option<BufferId>,
    next_in_hash: Option<BufferId>,
}

/// The first buffer of a chain of the hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head(Option<BufferId>);

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
    head: Option<BufferId>,
    tail: Option<BufferId>,
    len: usize,
}

/// All buffers. Their number does not change.
pub(super) struct Pool<S: Storage> {
    buffers: S::Buffers,
    heads: S::Heads,
    lists: [List; QUEUES],
    /// Buffers that are used for page-ins.
    reading: usize,
}

// PANIC: never, here and where `buffers` is indexed below. A `BufferId` is made by `Pool::id` only, for a
// buffer that exists, and buffers are never removed. A mirror returns it to its caller, which gives it back
// to the same mirror.

impl<S: Storage> Index<BufferId> for Pool<S> {
    type Output = Buffer;

    fn index(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.index()]
    }
}

impl<S: Storage> IndexMut<BufferId> for Pool<S> {
    fn index_mut(&mut self, id: BufferId) -> &mut Buffer {
        &mut self.buffers[id.index()]
    }
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
        let mut index = 0_usize;
        while let Some(id) = pool.id(index) {
            pool.push(Queue::Free, id);
            index = index.wrapping_add(1);
        }
        pool
    }

    /// Number of buffers.
    pub(super) fn len(&self) -> usize {
        self.buffers.len()
    }

    /// The buffer with this index, if there is one.
    pub(super) fn id(&self, index: usize) -> Option<BufferId> {
        let number = u32::try_from(index).ok()?.checked_add(1)?;
        // INVARIANT: checked here.
        (index < self.len()).then_some(BufferId(NonZero::new(number)?))
    }

    /// Number of buffers in a list.
    pub(super) fn count(&self, queue: Queue) -> usize {
        self.list(queue).len
    }

    fn list(&self, queue: Queue) -> &List {
        // PANIC: never; there are as many lists as queues.
        &self.lists[queue as usize]
    }

    fn list_mut(&mut self, queue: Queue) -> &mut List {
        // PANIC: never, as above.
        &mut self.lists[queue as usize]
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
        let next_in_hash = head.0.replace(id);
        self[id] = Buffer {
            page,
            direction,
            links: Links {
                next_in_hash,
                ..Links::default()
            },
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
        let buffer = core::mem::take(&mut self[id]);
        if buffer.direction == Direction::In {
            self.reading = self.reading.saturating_sub(1);
        }
        let next = buffer.links.next_in_hash;
        let head = self.head_of(buffer.page);
        if let Some(head) = self.heads.get_mut(head) {
            let mut link = &mut head.0;
            while let Some(other) = link.filter(|&other| other != id) {
                link = &mut self.buffers[other.index()].links.next_in_hash;
            }
            *link = next;
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
        let buffer = &self[id];
        self.find_from(buffer.links.next_in_hash, buffer.page, &mut |_| true)
    }

    fn find_from(
        &self,
        mut link: Option<BufferId>,
        page: PageIndex,
        wanted: &mut impl FnMut(&Buffer) -> bool,
    ) -> Option<BufferId> {
        while let Some(id) = link {
            let buffer = &self[id];
            if buffer.page == page && wanted(buffer) {
                break;
            }
            link = buffer.links.next_in_hash;
        }
        link
    }

    /// The first buffer of a list.
    pub(super) fn first(&self, queue: Queue) -> Option<BufferId> {
        self.list(queue).head
    }

    /// The buffer behind `id` in its list.
    pub(super) fn next_in_list(&self, id: BufferId) -> Option<BufferId> {
        self[id].links.next
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
        let links = &mut self[id].links;
        if links.queue.is_some() {
            return;
        }
        links.queue = Some(queue);
        links.next = None;
        links.previous = tail;
        match tail {
            Some(last) => self[last].links.next = Some(id),
            None => self.list_mut(queue).head = Some(id),
        }
        let list = self.list_mut(queue);
        list.tail = Some(id);
        list.len = list.len.saturating_add(1);
    }

    /// Takes a buffer out of the list it is in, if it is in one.
    pub(super) fn unlink(&mut self, id: BufferId) {
        let links = &mut self[id].links;
        let Some(queue) = links.queue.take() else {
            return;
        };
        let (next, previous) = (links.next.take(), links.previous.take());
        match previous {
            Some(before) => self[before].links.next = next,
            None => self.list_mut(queue).head = next,
        }
        match next {
            Some(after) => self[after].links.previous = previous,
            None => self.list_mut(queue).tail = previous,
        }
        let list = self.list_mut(queue);
        list.len = list.len.saturating_sub(1);
    }

    /// The list that a buffer is in.
    pub(super) fn queue_of(&self, id: BufferId) -> Option<Queue> {
        self[id].links.queue
    }
}
