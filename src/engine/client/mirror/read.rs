// SPDX-License-Identifier: GPL-2.0

//! Pages wanted back: from a buffer that is on its way to the disk, or from the disk.

use super::super::ids::{Generation, PageIndex};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::buffer::Stage;
use super::{BufferId, Direction, Get, Mirror, Token};

impl<S: Storage> Mirror<S> {
    /// Starts reading the page in this generation, which the map said to be its newest. With
    /// `buffers_only`, the disk is not asked.
    pub fn begin_read(
        &mut self,
        page: PageIndex,
        generation: Generation,
        reader: Token,
        buffers_only: bool,
        device: &SwapDevice<S>,
    ) -> Get {
        self.read(page, generation, reader, buffers_only, false, device)
    }

    /// As [`Self::begin_read`] of the disk, by the first op in the wait list of a shard with a grant.
    /// `others`: whether another waits behind it.
    pub fn begin_granted_read(
        &mut self,
        page: PageIndex,
        generation: Generation,
        reader: Token,
        others: bool,
        device: &SwapDevice<S>,
    ) -> Get {
        let shard = reader.shard();
        let has_grant = self.has_grant(shard, Direction::In);
        let get = self.read(page, generation, reader, false, has_grant, device);
        self.end_grant(shard, Direction::In, others);
        get
    }

    fn read(
        &mut self,
        page: PageIndex,
        generation: Generation,
        reader: Token,
        buffers_only: bool,
        has_grant: bool,
        device: &SwapDevice<S>,
    ) -> Get {
        // A page-out supersedes what is here while the page is BUSY. So the map, read with the lock held,
        // names the version that the buffers and the disk have.
        let entry = device.map.load(page);
        if entry.is_busy() || !entry.is_written() || entry.generation() != generation {
            return Get::Changed;
        }
        let buffered = self.pool.find(page, |buffer| {
            matches!(buffer.stage, Stage::Ready | Stage::Writing)
                && buffer.is_settled
                && !buffer.is_superseded
                && buffer.version.generation() == generation
        });
        if let Some(id) = buffered {
            let pins = &mut self.pool[id].pins;
            *pins = pins.saturating_add(1);
            self.counters.buffer_hits = self.counters.buffer_hits.wrapping_add(1);
            return Get::Buffered(id);
        }
        if !entry.is_on_disk() || !self.is_attached || buffers_only {
            return Get::Absent;
        }
        // A disk that does not answer is asked again now and then, but does not get everything.
        if self.timed_out >= self.ios.len() / 2
            || self.pool.find(page, |buffer| buffer.is_timed_out).is_some()
        {
            return Get::TimedOut;
        }
        let may = has_grant || self.is_room_for_more(Direction::In);
        let Some(id) = may.then(|| self.pool.take(page, Direction::In)).flatten() else {
            self.wait_list_mut(Direction::In).wait(reader.shard());
            return Get::Full;
        };
        let buffer = &mut self.pool[id];
        buffer.stage = Stage::ToRead;
        buffer.generation = generation;
        buffer.waiter = Some(reader);
        self.enqueue(id);
        Get::Queued
    }

    /// The buffer of [`Get::Buffered`] or [`super::Event::Read`] has been copied from, or is not needed.
    pub fn release(&mut self, id: BufferId) {
        let buffer = &mut self.pool[id];
        if buffer.stage != Stage::ReadDone {
            buffer.pins = buffer.pins.saturating_sub(1);
            if buffer.stage != Stage::Outdated || buffer.pins != 0 {
                return;
            }
        }
        self.give(id);
    }
}
