// SPDX-License-Identifier: GPL-2.0

//! When the disk becomes faulty: after too many errors in a row, or when it is removed from the machine. It
//! is not used until it is added again.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_timeout::TimedOut;
use super::next_io::Io;
use super::Mirror;

impl<S: Storage> Mirror<S> {
    /// An I/O has ended with an error.
    pub(super) fn note_error(&mut self, io: &Io, device: &SwapDevice<S>) {
        self.counters.errors = self.counters.errors.wrapping_add(1);
        if io.buffers().iter().any(|&id| self.pool[id].is_alone) {
            // One bad place is retried several times, which is no sign of others.
            return;
        }
        self.errors_in_a_row = self.errors_in_a_row.saturating_add(1);
        if self.errors_in_a_row >= self.config.errors_max && !self.is_faulty {
            self.counters.faulty = self.counters.faulty.wrapping_add(1);
            self.is_faulty = true;
            self.drop_queued(device);
        }
    }

    /// The disk was removed from the machine: it is not used until [`Self::re_add`]. Returns whether that is
    /// new.
    pub fn mark_faulty(&mut self, device: &SwapDevice<S>) -> bool {
        if !self.is_attached || self.is_faulty {
            return false;
        }
        if mutated!(GoneDiskWritten) {
            return true;
        }
        self.is_faulty = true;
        self.drop_queued(device);
        self.publish(device);
        true
    }

    /// A faulty disk is used again.
    pub fn re_add(&mut self, device: &SwapDevice<S>) -> Result<(), TimedOut> {
        if self.has_timed_out() {
            return Err(TimedOut);
        }
        self.is_faulty = false;
        self.errors_in_a_row = 0;
        self.publish(device);
        Ok(())
    }
}
