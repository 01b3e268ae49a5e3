// SPDX-License-Identifier: GPL-2.0

//! What all shards know of the local disk: one word, written by [`super::mirror::Mirror`] under its
//! lock and read on the data path.

use crate::sync::{Acquire, Atomic, Full, Relaxed};
pub use crate::uapi::Policy;

/// The state of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskState(u32);

impl DiskState {
    const TRACKED: u32 = 1;
    const ATTACHED: u32 = 1 << 1;
    const USABLE: u32 = 1 << 2;
    const STRICT: u32 = 1 << 3;
    const OFF: u32 = 1 << 4;
    const GIVEN_UP: u32 = 1 << 5;
    const FAULTY: u32 = 1 << 6;

    /// There is no disk.
    pub const NONE: Self = Self(0);

    pub(super) fn new(tracked: bool, attached: bool, usable: bool, policy: Policy) -> Self {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        Self(
            bit(tracked, Self::TRACKED)
                | bit(attached, Self::ATTACHED)
                | bit(usable, Self::USABLE)
                | bit(policy == Policy::Strict, Self::STRICT)
                | bit(policy == Policy::Off, Self::OFF),
        )
    }

    /// Whether the mirror may have state for some page, so that it must be notified of every page-out.
    pub fn is_tracked(self) -> bool {
        self.0 & Self::TRACKED != 0
    }

    /// Whether a disk is attached, so that pages marked as on the disk are there.
    pub fn is_attached(self) -> bool {
        self.0 & Self::ATTACHED != 0
    }

    /// Whether the disk accepts page-outs.
    pub fn is_usable(self) -> bool {
        self.0 & Self::USABLE != 0
    }

    /// When page-outs that servers hold also go to the disk.
    pub fn policy(self) -> Policy {
        if self.0 & Self::OFF != 0 {
            Policy::Off
        } else if self.0 & Self::STRICT != 0 {
            Policy::Strict
        } else {
            Policy::Lag
        }
    }

    /// The same, of a disk that has been silent for the I/O timeout.
    pub(super) fn given_up(self) -> Self {
        Self(self.0 | Self::GIVEN_UP)
    }

    /// Whether the disk has been silent for the I/O timeout: nothing waits for it any more until it
    /// answers.
    pub fn is_given_up(self) -> bool {
        self.0 & Self::GIVEN_UP != 0
    }

    /// The same, of a disk that is faulty.
    pub(super) fn faulty(self) -> Self {
        Self(self.0 | Self::FAULTY)
    }

    /// Whether the disk refuses page-outs only for now: it does not answer, but for less than the
    /// I/O timeout, or it is being detached, which may be cancelled.
    pub fn may_return(self) -> bool {
        let may_be_used = self.is_tracked() && self.0 & Self::FAULTY == 0;
        may_be_used && !self.is_usable() && !self.is_given_up()
    }

    /// Whether every page is wanted on the disk, now or when it is usable again.
    pub fn is_wanted(self) -> bool {
        self.is_attached() && self.policy() != Policy::Off
    }
}

/// The published state.
pub struct AtomicDiskState(Atomic<u32>);

impl AtomicDiskState {
    /// The current state. Costs one load.
    pub fn load(&self) -> DiskState {
        DiskState(self.0.load(Acquire))
    }

    /// Publishes a state. Returns whether it differs from the last one.
    pub(super) fn store(&self, state: DiskState) -> bool {
        let is_new = self.0.load(Relaxed) != state.0;
        if is_new {
            self.0.xchg(state.0, Full);
        }
        is_new
    }
}

impl Default for AtomicDiskState {
    /// No disk.
    fn default() -> Self {
        Self(Atomic::<u32>::new(0))
    }
}
