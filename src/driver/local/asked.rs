// SPDX-License-Identifier: GPL-2.0

//! What the disk has been asked for: what it has, and what it did not take and is to be tried
//! again. A disk whose queue is full ends what may not wait with `EAGAIN`.

use kernel::prelude::*;

use crate::engine::client::mirror::DiskIo;

/// How soon something that the disk did not take is tried again, at first and at the latest. Twice
/// as late each time; at once, when something that it has taken ends.
const FIRST_AGAIN_NS: u64 = 5_000_000;
const LAST_AGAIN_NS: u64 = 80_000_000;

/// An I/O that the disk has been asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) io: DiskIo,
    /// How often the disk did not take it.
    pub(super) tries: u32,
    /// When it is to be tried again; [`Self::GIVEN`] if the disk has it.
    again_ns: u64,
}

impl Asked {
    const GIVEN: u64 = u64::MAX;

    fn is_given(&self) -> bool {
        self.again_ns == Self::GIVEN
    }
}

/// All of them, by their number, which is also their bio's.
pub(super) struct AskedFor {
    ios: KVec<Option<Asked>>,
    /// Number of those that are to be tried again.
    refused: usize,
    /// Number of those that the disk has.
    given: usize,
    /// When something last ended that the disk had, or was given to it when it had nothing.
    moved_ns: u64,
}

impl AskedFor {
    /// Room for `count`. Sleeps.
    pub(super) fn new(count: usize) -> Result<Self> {
        Ok(Self {
            ios: KVec::from_elem(None, count, GFP_KERNEL)?,
            refused: 0,
            given: 0,
            moved_ns: 0,
        })
    }

    /// Whether something is to be tried again: until that has been taken, the disk is asked for
    /// nothing else.
    pub(super) fn is_refusing(&self) -> bool {
        self.refused != 0
    }

    /// Since when the disk has had something without ending anything; `None` if it has nothing.
    pub(super) fn idle_since_ns(&self) -> Option<u64> {
        (self.given != 0).then_some(self.moved_ns)
    }

    fn give(&mut self, now_ns: u64) {
        if self.given == 0 {
            self.moved_ns = now_ns;
        }
        self.given = self.given.saturating_add(1);
    }

    /// The disk is about to be asked for `io`.
    pub(super) fn ask(&mut self, now_ns: u64, io: DiskIo) -> Asked {
        self.give(now_ns);
        let asked = Asked {
            io,
            tries: 0,
            again_ns: Asked::GIVEN,
        };
        if let Some(place) = self.ios.get_mut(io.id) {
            *place = Some(asked);
        }
        asked
    }

    /// The disk is about to be asked once more for something that it did not take, if it is time.
    pub(super) fn ask_again(&mut self, now_ns: u64) -> Option<Asked> {
        if !self.is_refusing() {
            return None;
        }
        let is_due = |asked: &&mut Asked| asked.again_ns <= now_ns;
        let asked = self.ios.iter_mut().flatten().find(is_due)?;
        asked.again_ns = Asked::GIVEN;
        let asked = *asked;
        self.refused = self.refused.saturating_sub(1);
        self.give(now_ns);
        Some(asked)
    }

    /// When the first thing is to be tried again; `u64::MAX` if there is none.
    pub(super) fn again_ns(&self) -> u64 {
        if !self.is_refusing() {
            return u64::MAX;
        }
        let times = self.ios.iter().flatten().map(|asked| asked.again_ns);
        times.min().unwrap_or(u64::MAX)
    }

    /// Whether the disk has anything but `id`, whose end may make room.
    pub(super) fn has_others(&self, id: usize) -> bool {
        let mut given = self.ios.iter().flatten().filter(|asked| asked.is_given());
        given.any(|asked| asked.io.id != id)
    }

    /// The disk did not take `id`, which is tried again.
    pub(super) fn refused(&mut self, now_ns: u64, id: usize) {
        if let Some(Some(asked)) = self.ios.get_mut(id) {
            let pause_ns = FIRST_AGAIN_NS.wrapping_shl(asked.tries.min(8));
            asked.tries = asked.tries.saturating_add(1);
            asked.again_ns = now_ns.saturating_add(pause_ns.min(LAST_AGAIN_NS));
            self.refused = self.refused.saturating_add(1);
            self.given = self.given.saturating_sub(1);
        }
    }

    /// Something has ended: what the disk did not take may find room now.
    pub(super) fn has_room(&mut self, now_ns: u64) {
        if self.is_refusing() {
            for asked in self.ios.iter_mut().flatten() {
                if !asked.is_given() {
                    asked.again_ns = now_ns;
                }
            }
        }
    }

    /// One that the disk did not take.
    pub(super) fn first_refused(&self) -> Option<usize> {
        if !self.is_refusing() {
            return None;
        }
        let mut refused = self.ios.iter().flatten().filter(|asked| !asked.is_given());
        refused.next().map(|asked| asked.io.id)
    }

    /// `id` has ended.
    pub(super) fn ended(&mut self, now_ns: u64, id: usize) {
        match self.ios.get_mut(id).and_then(Option::take) {
            None => {}
            Some(asked) if asked.is_given() => {
                self.given = self.given.saturating_sub(1);
                self.moved_ns = now_ns;
            }
            Some(_) => self.refused = self.refused.saturating_sub(1),
        }
    }
}
