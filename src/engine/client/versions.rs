// SPDX-License-Identifier: GPL-2.0

//! The version counter of a device, and which versions it has given out.
//!
//! A machine may be rolled back: a virtual machine to a snapshot, any machine to
//! its hibernation image. Then the counter has its old value, and an instance that no longer
//! exists has used versions above it. So the counter *jumps* past all that this instance can have
//! used. The versions jumped over are known not to be ours for as long as the device exists.
//!
//! The rules: `docs/protocol.md`, "High water".

mod gaps;
pub(super) mod jump;
#[cfg(test)]
mod tests;

use super::ids::{BySlot, Generation, ServerSlot, Version, SERVER_SLOTS};
use super::storage::Words;
use crate::sync::{Acquire, Atomic, Full, Relaxed};
use gaps::Gaps;

/// No version reaches this, and no server that reports it is believed. Random jumps reach it after
/// about 2^16.
pub(super) const END: u64 = 1 << 63;

/// On its own cache line: every page-out on every CPU writes it.
#[repr(align(64))]
struct Counter {
    /// The next version to be given out.
    next: Atomic<u64>,
    /// All versions given out from here on are ours: the end of the last jump. [`NONE`] while a
    /// jump is under way and the counter may have moved.
    since: Atomic<u64>,
}

/// Of [`Counter::since`]: no version is known to be ours.
const NONE: u64 = u64::MAX;

/// Number of [`Entered`] lines that the shards share.
const STRIPES: usize = 8;

/// The highest version that some shards have entered in the map, on its own cache line.
#[repr(align(64))]
struct Entered(Atomic<u64>);

/// Of [`Versions::jumps`]: a jump is under way.
const UNDER_WAY: u32 = 1;
/// The machine was rolled back meanwhile: the CPU that jumps repeats the jump.
const NOTICED: u32 = 2;
/// The bits above count the jumps.
const ONE_JUMP: u32 = 4;

/// The jumps that a server has caused.
struct Word {
    incarnation: Atomic<u64>,
    jumps: Atomic<u32>,
}

/// A server that reports which versions have been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// Its slot.
    pub slot: ServerSlot,
    /// Its incarnation.
    pub incarnation: u64,
}

/// The version counter.
///
/// # Invariants
///
/// All `gaps` are below the counter. They and `words` change only while a jump is `UNDER_WAY`, and
/// one jump is at a time.
pub struct Versions<W> {
    counter: Counter,
    /// Whether a jump is under way, and how many have been made.
    jumps: Atomic<u32>,
    /// The random number of the machine's last notice.
    entropy: Atomic<u64>,
    /// How many jumps servers have caused.
    unannounced: Atomic<u32>,
    words: BySlot<Word>,
    gaps: Gaps<W>,
    entered: [Entered; STRIPES],
}

impl<W: Words> Versions<W> {
    /// No version has been given out.
    pub fn new() -> Self {
        Self {
            counter: Counter {
                next: Atomic::<u64>::new(1),
                since: Atomic::<u64>::new(0),
            },
            jumps: Atomic::<u32>::new(0),
            entropy: Atomic::<u64>::new(0),
            unannounced: Atomic::<u32>::new(0),
            words: BySlot(
                [const {
                    Word {
                        incarnation: Atomic::<u64>::new(0),
                        jumps: Atomic::<u32>::new(0),
                    }
                }; SERVER_SLOTS],
            ),
            gaps: Gaps::new(),
            entered: [const { Entered(Atomic::<u64>::new(0)) }; STRIPES],
        }
    }

    /// A version above all that were given out before.
    pub fn take(&self) -> Version {
        Version(self.counter.next.fetch_add(1, Full))
    }

    /// A version above all that were given out before, with this generation. The versions skipped
    /// are never given out.
    pub fn take_of(&self, generation: Generation) -> Version {
        let mut next = self.counter.next.load(Relaxed);
        loop {
            // CAST: the low bits are what is wanted.
            let ahead = generation.0.wrapping_sub(next as u8);
            let version = next.wrapping_add(u64::from(ahead));
            if mutated!(CopyVersionPast) {
                return Version(version.saturating_sub(1 << 8));
            }
            match self
                .counter
                .next
                .cmpxchg(next, version.wrapping_add(1), Full)
            {
                Ok(_) => return Version(version),
                Err(seen) => next = seen,
            }
        }
    }

    /// No version below `first` is given out from now on.
    pub fn raise(&self, first: Version) {
        let mut next = self.counter.next.load(Relaxed);
        while next < first.0 {
            match self.counter.next.cmpxchg(next, first.0, Full) {
                Ok(_) => break,
                Err(seen) => next = seen,
            }
        }
    }

    /// The next version to be given out.
    pub fn next(&self) -> Version {
        Version(self.counter.next.load(Relaxed))
    }

    /// Shard `shard` is about to enter this version in the map. Returns whether it may: not if the
    /// counter has jumped since the version was given out, because answers about it may concern
    /// another instance. The caller then takes another version.
    ///
    /// This notes the version, then reads `jumps`; a jump is noted in `jumps` first, and then reads
    /// what was entered. Both are full barriers, so one sees the other.
    pub fn enter(&self, shard: u16, version: Version) -> bool {
        let stripe = usize::from(shard) % STRIPES;
        if let Some(Entered(highest)) = self.entered.get(stripe) {
            let mut seen = highest.load(Acquire);
            while seen < version.0 {
                match highest.cmpxchg(seen, version.0, Full) {
                    Ok(_) => break,
                    Err(higher) => seen = higher,
                }
            }
        }
        // Not only versions since the last jump: a jump may be about to be made for a notice. The gap alone
        // does not tell: another shard may have noted a higher version that it then did not enter.
        self.look_up(version) == Some(true) && version.0 >= self.gaps.end()
    }

    /// The lowest version such that neither it nor any above it is in the map.
    fn not_entered(&self) -> u64 {
        let highest = self.entered.iter().map(|one| one.0.load(Acquire)).max();
        highest.unwrap_or(0).saturating_add(1)
    }

    /// Whether this version is known to have been given out here. `None` while the counter jumps:
    /// the caller treats the frame as lost.
    #[inline]
    pub fn is_ours(&self, version: Version) -> Option<bool> {
        // Read first: a reader that sees the counter after a jump also sees that jump's `since`.
        let next = self.counter.next.load(Acquire);
        if version.0 < next && version.0 >= self.counter.since.load(Relaxed) {
            // The usual case: no jump since.
            return Some(true);
        }
        self.look_up(version)
    }

    /// The same, also for versions before the last jump.
    #[inline(never)]
    fn look_up(&self, version: Version) -> Option<bool> {
        // Read first: a reader that sees the counter after a jump also sees that jump in `jumps`.
        if version.0 >= self.counter.next.load(Acquire) {
            return Some(false);
        }
        let jumps = self.jumps.load(Acquire);
        if jumps == 0 {
            return Some(true);
        }
        if jumps & UNDER_WAY != 0 {
            return None;
        }
        let is_lost = self.gaps.contains(version.0);
        // No jump was made meanwhile.
        (self.jumps.load(Relaxed) == jumps).then_some(!is_lost)
    }

    /// How many zero words are needed so that no jump lacks room to be recorded. Checked at
    /// intervals, and answered with [`Self::give_room`].
    pub fn wanted_words(&self) -> Option<usize> {
        self.gaps.wanted_words()
    }

    /// Adds room for more jumps. Ignored if it has fewer words than wanted.
    pub fn give_room(&self, words: W) {
        self.gaps.grow(words);
    }

    /// How often the counter has jumped.
    pub fn jumps(&self) -> u32 {
        self.jumps.load(Acquire) / ONE_JUMP
    }

    /// How many of these jumps the machine has announced; `None` while it jumps. The others keep the order of
    /// the low bits of versions.
    pub fn announced_jumps(&self) -> Option<u32> {
        let jumps = self.jumps.load(Acquire);
        let unannounced = self.unannounced.load(Acquire);
        let is_settled = jumps & UNDER_WAY == 0 && self.jumps.load(Acquire) == jumps;
        is_settled.then(|| (jumps / ONE_JUMP).wrapping_sub(unannounced))
    }

    /// No version below this is given out any more, nor entered, since the last jump.
    pub fn after_last_jump(&self) -> Version {
        Version(self.gaps.end())
    }

    /// How many of these jumps were caused by servers only.
    pub fn unannounced_jumps(&self) -> u32 {
        self.unannounced.load(Relaxed)
    }
}

impl<W: Words> Default for Versions<W> {
    fn default() -> Self {
        Self::new()
    }
}
