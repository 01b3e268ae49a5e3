// SPDX-License-Identifier: GPL-2.0

//! What is reported of the disk, to people and programs: its state, and changes of it.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::{Mirror, Policy};

/// The state of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// There is none.
    #[default]
    Absent,
    /// It is being detached.
    Detaching,
    /// It is read and written.
    Attached,
    /// It is read and written, and does not have every page yet that it should have.
    OutOfSync,
    /// It had too many errors, or is gone. It can be added again.
    Faulty,
    /// It does not answer. It is used again when it does.
    TimedOut,
}

impl Health {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::Detaching => "detaching",
            Self::Attached => "attached",
            Self::OutOfSync => "out_of_sync",
            Self::Faulty => "faulty",
            Self::TimedOut => "timed_out",
        }
    }

    /// The same, of a disk that lacks pages.
    pub fn lacking_pages(self, policy: Policy) -> Self {
        match self {
            Self::Attached if policy != Policy::Off => Self::OutOfSync,
            health => health,
        }
    }
}

impl<S: Storage> Mirror<S> {
    /// The disk's state now. Whether it lacks pages is not known here ([`Health::lacking_pages`]).
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
