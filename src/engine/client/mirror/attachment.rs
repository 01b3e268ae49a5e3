// SPDX-License-Identifier: GPL-2.0

//! Whether there is a disk, and whether it is used: it may be faulty ([`super::fault`]), timed out, or about
//! to be detached.

use super::super::disk_state::DiskState;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::pool::Queue;
use super::{Config, Mirror};

/// The mirror is in use: pages are in it, or with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

impl<S: Storage> Mirror<S> {
    /// Attaches a disk. No page is on it: the map's DISK bits must all be clear.
    pub fn attach(&mut self, device: &SwapDevice<S>) -> Result<(), InUse> {
        if self.is_attached || !self.is_idle() {
            return Err(InUse);
        }
        self.is_attached = true;
        self.is_faulty = false;
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
        device.servers.note_disk_gone();
        device.disk.store(DiskState::default());
        Ok(())
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
        self.is_attached && !self.is_faulty && !self.is_paused && self.timed_out == 0
    }

    /// Whether the disk is timed out: an I/O has not ended in time, and not since. The disk may have it, or
    /// have refused it.
    pub fn has_timed_out(&self) -> bool {
        self.timed_out != 0
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

    /// Publishes the disk's state to the shards.
    pub(super) fn publish(&mut self, device: &SwapDevice<S>) {
        let mut state =
            DiskState::new(true, self.is_attached, self.is_usable(), self.config.policy);
        if self.is_given_up {
            state = state.given_up();
        }
        if self.is_faulty {
            state = state.faulty();
        }
        let was_wanted = device.disk.load().is_wanted();
        self.state_changed |= device.disk.store(state);
        if state.is_wanted() && !was_wanted {
            // Page-outs that end from now on mark their pages themselves.
            device.mark_all_out_of_sync();
        }
    }
}
