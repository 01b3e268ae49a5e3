// SPDX-License-Identifier: GPL-2.0

//! The disk's own processor: the order of requests, the write cache, reading ahead.
//!
//! The drive takes the time as an argument and returns when it must be called again. It moves no data. A
//! write is in the cache at once while the cache has room. The cache is written to the platter when no
//! request has arrived for a turn, when no read waits and half of the room is used, and before reads when
//! there is no room. The operation that the head can reach soonest comes first. After a read the head
//! stays, and reads what passes into the buffer, up to a track.

use std::collections::VecDeque;
use std::ops::Range;

use crate::extents::Extents;
use crate::mechanics::{position_ns, reached, transfer_ns, Access, TURN_NS};

/// Places whose surroundings are kept in the buffer.
const SEGMENTS: usize = 16;
/// Bytes of the cache that are written at once: a read that arrives meanwhile waits.
const WRITE_BACK: u64 = 512 << 10;

/// A request, by the name that its sender gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub cookie: u64,
    pub access: Access,
    pub range: Range<u64>,
}

/// The head's operation, and when it ends.
#[derive(Debug)]
struct Operation {
    /// The read that it serves; none when the cache is written.
    read: Option<Request>,
    range: Range<u64>,
    ends_ns: u64,
}

/// Statistics of the operations so far.
#[derive(Debug, Default)]
pub struct Counts {
    pub reads: u64,
    pub reads_from_buffer: u64,
    pub writes: u64,
    pub writes_that_waited: u64,
    pub write_backs: u64,
    pub busy_ns: u64,
}

#[derive(Debug)]
pub struct Drive {
    /// Where the head is after its last operation, as the byte that it would read next.
    head: u64,
    operation: Option<Operation>,
    /// Since when the head reads what passes into the last segment.
    reads_ahead_since_ns: Option<u64>,
    /// When the last request arrived, or the last operation ended.
    active_ns: u64,
    reads: Vec<Request>,
    /// Writes for which there is no room.
    writes: VecDeque<Request>,
    /// The bytes that are only in the cache, without those that are being written.
    dirty: Extents,
    cache_bytes: u64,
    /// The bytes that were read or passed, the last segment last.
    segments: VecDeque<Range<u64>>,
    done: Vec<Request>,
    pub counts: Counts,
}

impl Drive {
    pub fn new(cache_bytes: u64) -> Self {
        Self {
            head: 0,
            operation: None,
            reads_ahead_since_ns: None,
            active_ns: 0,
            reads: Vec::new(),
            writes: VecDeque::new(),
            dirty: Extents::default(),
            cache_bytes,
            segments: VecDeque::with_capacity(SEGMENTS),
            done: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a request that arrives now.
    pub fn submit(&mut self, request: Request, now_ns: u64) {
        self.run(now_ns);
        self.active_ns = now_ns;
        match request.access {
            Access::Read => {
                self.counts.reads += 1;
                self.reads.push(request);
                self.answer_from_buffer(now_ns);
            }
            Access::Write => {
                self.counts.writes += 1;
                self.writes.push_back(request);
                self.fill_cache();
                self.counts.writes_that_waited += u64::from(!self.writes.is_empty());
            }
        }
        self.begin(now_ns);
    }

    /// Advances to `now_ns`, and returns the requests that have ended, in the order of their ends.
    pub fn advance(&mut self, now_ns: u64) -> Vec<Request> {
        self.run(now_ns);
        std::mem::take(&mut self.done)
    }

    /// When the next operation begins or ends, if no request arrives.
    pub fn next_ns(&self) -> Option<u64> {
        match &self.operation {
            Some(operation) => Some(operation.ends_ns),
            None if self.dirty.is_empty() => None,
            None => Some(self.active_ns + TURN_NS),
        }
    }

    /// Ends and begins each operation that is due by `now_ns`, at its own time.
    fn run(&mut self, now_ns: u64) {
        while let Some(at_ns) = self.next_ns().filter(|&at_ns| at_ns <= now_ns) {
            if let Some(operation) = self.operation.take() {
                self.finish(operation);
            }
            self.begin(at_ns);
        }
    }

    fn finish(&mut self, operation: Operation) {
        self.head = operation.range.end;
        self.active_ns = operation.ends_ns;
        match operation.read {
            Some(request) => {
                self.buffer(operation.range);
                self.reads_ahead_since_ns = Some(operation.ends_ns);
                self.done.push(request);
                self.answer_from_buffer(operation.ends_ns);
            }
            None => self.fill_cache(),
        }
    }

    fn buffer(&mut self, range: Range<u64>) {
        match self.segments.back_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => {
                if self.segments.len() == SEGMENTS {
                    self.segments.pop_front();
                }
                self.segments.push_back(range);
            }
        }
    }

    /// Begins the operation that the head can reach soonest, if the head is free.
    fn begin(&mut self, now_ns: u64) {
        if self.operation.is_some() {
            return;
        }
        let writes_back = !self.writes.is_empty()
            || (self.reads.is_empty()
                && (self.dirty.bytes() > self.cache_bytes / 2
                    || now_ns >= self.active_ns + TURN_NS));
        if self.reads.is_empty() && (self.dirty.is_empty() || !writes_back) {
            return;
        }
        self.stop_reading_ahead(now_ns);
        let read = (0..self.reads.len())
            .map(|index| {
                let range = &self.reads[index].range;
                let start = self.first_missing(range);
                (position_ns(self.head, start, now_ns, Access::Read), index)
            })
            .min();
        let extent = self
            .dirty
            .iter()
            .filter(|_| writes_back)
            .map(|extent| {
                let wait = position_ns(self.head, extent.start, now_ns, Access::Write);
                (wait, extent.start)
            })
            .min();
        self.operation = match (read, extent) {
            (Some((wait, index)), extent) if extent.is_none_or(|(other, _)| wait <= other) => {
                let request = self.reads.swap_remove(index);
                let range = self.first_missing(&request.range)..request.range.end;
                Some(self.operation(Some(request), range, now_ns + wait, now_ns))
            }
            (_, Some((wait, start))) => {
                let range = self.dirty.take(start, WRITE_BACK);
                self.counts.write_backs += 1;
                Some(self.operation(None, range, now_ns + wait, now_ns))
            }
            (_, None) => None,
        };
    }

    fn operation(
        &mut self,
        read: Option<Request>,
        range: Range<u64>,
        arrived_ns: u64,
        now_ns: u64,
    ) -> Operation {
        let ends_ns = arrived_ns + transfer_ns(range.start, range.end);
        self.counts.busy_ns += ends_ns - now_ns;
        Operation {
            read,
            range,
            ends_ns,
        }
    }

    /// Takes writes into the cache, in their order, while there is room. A write that is larger than the
    /// whole cache has room when the cache is empty.
    fn fill_cache(&mut self) {
        while let Some(request) = self.writes.front() {
            let range = request.range.clone();
            let used = self.dirty.bytes() + self.being_written();
            if used > 0 && used + (range.end - range.start) > self.cache_bytes {
                return;
            }
            self.dirty.insert(range);
            self.done.extend(self.writes.pop_front());
        }
    }

    fn being_written(&self) -> u64 {
        match &self.operation {
            Some(Operation {
                read: None, range, ..
            }) => range.end - range.start,
            _ => 0,
        }
    }

    /// Ends the reads that need nothing from the platter.
    fn answer_from_buffer(&mut self, now_ns: u64) {
        self.read_ahead(now_ns);
        let reads = std::mem::take(&mut self.reads);
        let (buffered, left): (Vec<_>, Vec<_>) = reads
            .into_iter()
            .partition(|request| self.is_buffered(&request.range));
        // CAST: a count of requests.
        self.counts.reads_from_buffer += buffered.len() as u64;
        self.done.extend(buffered);
        self.reads = left;
    }

    /// Whether all of `range` is in the cache or the buffer.
    fn is_buffered(&self, range: &Range<u64>) -> bool {
        let is_within = |other: &Range<u64>| other.start <= range.start && range.end <= other.end;
        let is_being_written = match &self.operation {
            Some(Operation {
                read: None, range, ..
            }) => is_within(range),
            _ => false,
        };
        is_being_written || self.dirty.contain(range) || self.segments.iter().any(is_within)
    }

    /// Where the head has to begin for `range`: after the bytes that have just passed it.
    fn first_missing(&self, range: &Range<u64>) -> u64 {
        match self.segments.back() {
            // Where the head stands, nothing has been lost.
            Some(last) if last.end == self.head && last.contains(&range.start) => last.end,
            _ => range.start,
        }
    }

    /// Notes the bytes that have passed since the head became idle after a read.
    fn read_ahead(&mut self, now_ns: u64) {
        if let (Some(since_ns), Some(last)) = (self.reads_ahead_since_ns, self.segments.back_mut())
        {
            let time_ns = (now_ns - since_ns).min(TURN_NS);
            last.end = reached(self.head, time_ns);
        }
    }

    fn stop_reading_ahead(&mut self, now_ns: u64) {
        self.read_ahead(now_ns);
        if let (Some(_), Some(last)) = (self.reads_ahead_since_ns.take(), self.segments.back()) {
            self.head = last.end;
        }
    }
}

#[cfg(test)]
mod tests;
