// SPDX-License-Identifier: GPL-2.0

//! What is reported of the disk, to people and programs: its state, and changes of it.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::Mirror;
pub use crate::uapi::DiskHealth as Health;

impl<S: Storage> Mirror<S> {
    /// The disk's state now. Whether it lacks pages is not known here (`client/out_of_sync.rs`).
    pub fn health(&self, device: &SwapDevice<S>) -> Health {
        if !device.disk.load().is_tracked() {
            Health::Absent
        } else if self.is_paused || !self.is_attached {
            Health::Detaching
        } else if self.has_timed_out() {
            Health::TimedOut
        } else if self.is_faulty {
            Health::Faulty
        } else {
            Health::Attached
        }
    }

    /// What the disk was at the last call, and what it is, if that differs.
    pub fn take_health_change(&mut self, device: &SwapDevice<S>) -> Option<(Health, Health)> {
        let now = self.health(device);
        let before = core::mem::replace(&mut self.noted, now);
        (before != now).then_some((before, now))
    }
}
