// SPDX-License-Identifier: GPL-2.0

//! I/O submitted to the disk, and I/O that the disk refused and that is to be submitted again. A
//! disk whose queue is full ends I/O that may not wait with `EAGAIN`.

use kernel::prelude::*;

use crate::engine::client::mirror::DiskIo;

/// The first and the longest wait before I/O that was refused is submitted again. The wait doubles
/// each time, and ends at once when other I/O of the disk ends.
const FIRST_AGAIN_NS: u64 = 5_000_000;
const LAST_AGAIN_NS: u64 = 80_000_000;

/// An I/O for the disk.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) io: DiskIo,
    /// How often the disk has refused it.
    pub(super) tries: u32,
    /// When to submit it again; [`Self::GIVEN`] if the disk has it.
    again_ns: u64,
}

impl Asked {
    const GIVEN: u64 = u64::MAX;

    fn is_given(&self) -> bool {
        self.again_ns == Self::GIVEN
    }
}

/// All I/O, by number, which is also that of its bio.
pub(super) struct AskedFor {
    ios: KVec<Option<Asked>>,
    /// Number of I/Os to be submitted again.
    refused: usize,
    /// Number of I/Os that the disk has.
    given: usize,
    /// When an I/O of the disk last ended, or was submitted to an idle disk.
    moved_ns: u64,
}

impl AskedFor {
    /// Room for `count` I/Os. Sleeps.
    pub(super) fn new(count: usize) -> Result<Self> {
        Ok(Self {
            ios: KVec::from_elem(None, count, GFP_KERNEL)?,
            refused: 0,
            given: 0,
            moved_ns: 0,
        })
    }

    /// Whether an I/O is to be submitted again. Until it is accepted, nothing else is submitted.
    pub(super) fn is_refusing(&self) -> bool {
        self.refused != 0
    }

    /// Since when the disk has had I/O without ending any; `None` if it has none.
    pub(super) fn idle_since_ns(&self) -> Option<u64> {
        (self.given != 0).then_some(self.moved_ns)
    }

    fn give(&mut self, now_ns: u64) {
        if self.given == 0 {
            self.moved_ns = now_ns;
        }
        self.given = self.given.saturating_add(1);
    }

    /// `io` is about to be submitted.
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

    /// A refused I/O is about to be submitted again, if it is due.
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

    /// When the first I/O is to be submitted again; `u64::MAX` if there is none.
    pub(super) fn again_ns(&self) -> u64 {
        if !self.is_refusing() {
            return u64::MAX;
        }
        let times = self.ios.iter().flatten().map(|asked| asked.again_ns);
        times.min().unwrap_or(u64::MAX)
    }

    /// Whether the disk has I/O other than `id`, whose end may make room.
    pub(super) fn has_others(&self, id: usize) -> bool {
        let mut given = self.ios.iter().flatten().filter(|asked| asked.is_given());
        given.any(|asked| asked.io.id != id)
    }

    /// The disk has refused `id`, which is to be submitted again.
    pub(super) fn refused(&mut self, now_ns: u64, id: usize) {
        if let Some(Some(asked)) = self.ios.get_mut(id) {
            let pause_ns = FIRST_AGAIN_NS.wrapping_shl(asked.tries.min(8));
            asked.tries = asked.tries.saturating_add(1);
            asked.again_ns = now_ns.saturating_add(pause_ns.min(LAST_AGAIN_NS));
            self.refused = self.refused.saturating_add(1);
            self.given = self.given.saturating_sub(1);
        }
    }

    /// An I/O has ended, so there may be room for refused ones.
    pub(super) fn has_room(&mut self, now_ns: u64) {
        if self.is_refusing() {
            for asked in self.ios.iter_mut().flatten() {
                if !asked.is_given() {
                    asked.again_ns = now_ns;
                }
            }
        }
    }

    /// A refused I/O.
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
