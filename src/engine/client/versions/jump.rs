// SPDX-License-Identifier: GPL-2.0

//! Jumps of the version counter: because the machine was rolled back, or because a server knows of higher
//! versions than have been given out.

use super::super::ids::Version;
use super::super::storage::Words;
use super::{Reporter, Versions, END, NONE, NOTICED, ONE_JUMP, UNDER_WAY};
use crate::sync::{Full, NoPreemption, Relaxed, Release};

/// How far a jump goes past the highest version known to be used: more than any instance uses, at a
/// million page-outs a second for 12 days.
pub(crate) const JUMP: u64 = 1 << 40;

/// The bound of the random number that a notice adds, so that two instances that begin with one
/// snapshot do not use the same versions.
pub(super) const ENTROPY_BOUND: u64 = 1 << 48;

/// Jumps caused by one server in one incarnation: one for each time that the machine is rolled back
/// to a state after the last jump. A server that lies causes no more.
pub(super) const WORDS: u32 = 4;

/// Jumps caused by all servers, so that lies leave versions for the jumps that the machine announces.
pub(super) const UNANNOUNCED: u32 = 32;

/// How far above the counter a version of another instance can be: it has jumped itself, perhaps often. A
/// server that reports one above is not believed, so that lies do not use up the versions: all that may be
/// believed are half of them together.
const MOST_AHEAD: u64 = 1 << 57;

impl<W: Words> Versions<W> {
    /// The machine has been, or may have been, rolled back. `entropy` is a number
    /// that no other instance of it has had. Any context.
    ///
    /// The machine notifies only once. If another CPU jumps at that moment, perhaps for the state
    /// before, that CPU jumps once more: no version is entered in the map in between.
    pub fn jump(&self, entropy: u64) {
        let _guard = NoPreemption::new();
        self.entropy.store(entropy, Relaxed);
        if self.begin_jump(true) {
            let made = self.pass_with_entropy(entropy);
            self.end_jump(made);
        }
    }

    /// Calls `change`, while the counter does not jump. Does nothing while it does. A notice that comes
    /// meanwhile leads to a jump afterwards.
    pub fn without_jumps(&self, change: impl FnOnce()) {
        let _guard = NoPreemption::new();
        if self.begin_jump(false) {
            change();
            self.end_jump(0);
        }
    }

    /// A server reports that all versions below `high` have been used. If that many have not been
    /// given out, a rolled-back instance has used them: the counter jumps past them, once for all servers
    /// that report it. Any context.
    ///
    /// Returns whether the server is believed. After a jump caused by it, it can know of no version
    /// above the counter unless the machine is rolled back again. So a server that reports this too
    /// often is not believed.
    pub fn note_high_water(&self, reporter: Reporter, high: Version) -> bool {
        if high.0 <= self.counter.next.load(Relaxed) || high.0 >= END {
            return true;
        }
        // The counter may have been read before the server's version was given out: reads it again
        // with a full barrier.
        if high.0 <= self.counter.next.fetch_add(0, Full) {
            return true;
        }
        let highest = self.counter.next.load(Relaxed).saturating_add(MOST_AHEAD);
        if high.0 > highest {
            return false;
        }
        let _guard = NoPreemption::new();
        if !self.begin_jump(false) {
            // Another CPU is jumping. The server will report again.
            return true;
        }
        let (is_believed, made) = self.pass(Some((reporter, high)), JUMP);
        self.end_jump(made);
        is_believed
    }

    /// How many jumps the server has caused in this incarnation.
    fn jumps_for(&self, reporter: Reporter) -> u32 {
        let word = &self.words[reporter.slot];
        match word.incarnation.load(Relaxed) == reporter.incarnation {
            true => word.jumps.load(Relaxed),
            false => 0,
        }
    }

    fn note_jump_for(&self, reporter: Reporter) {
        let jumps = self.jumps_for(reporter).saturating_add(1);
        let word = &self.words[reporter.slot];
        word.incarnation.store(reporter.incarnation, Relaxed);
        word.jumps.store(jumps, Relaxed);
        self.unannounced.fetch_add(1, Relaxed);
    }

    /// Marks a jump as under way. Returns false if one already is; a notice is then recorded for
    /// the CPU that jumps.
    pub(super) fn begin_jump(&self, is_notice: bool) -> bool {
        let mut jumps = self.jumps.load(Relaxed);
        loop {
            let is_free = jumps & UNDER_WAY == 0;
            let new = match (is_free, is_notice) {
                (true, _) => jumps | UNDER_WAY,
                (false, true) => jumps | NOTICED,
                (false, false) => return false,
            };
            // The number of a notice is stored before the bit, even if the bit is set already.
            match self.jumps.cmpxchg(jumps, new, Full) {
                Ok(_) if is_free => break,
                Ok(_) => return false,
                Err(seen) => jumps = seen,
            }
        }
        self.counter.since.xchg(NONE, Full);
        true
    }

    /// Ends what was begun, after `made` jumps, but first makes up for notices that came meanwhile.
    pub(super) fn end_jump(&self, mut made: u32) {
        loop {
            let jumps = self.jumps.load(Relaxed);
            let is_noticed = jumps & NOTICED != 0;
            let new = match is_noticed {
                true => jumps & !NOTICED,
                false => {
                    // Stored before the jump ends: the next jump invalidates it afterwards.
                    self.counter.since.store(self.gaps.end(), Release);
                    (jumps & !UNDER_WAY).wrapping_add(made.wrapping_mul(ONE_JUMP))
                }
            };
            if self.jumps.cmpxchg(jumps, new, Full).is_err() {
                // A notice came at that moment.
                self.counter.since.xchg(NONE, Full);
                continue;
            }
            if !is_noticed {
                return;
            }
            // Of several notices, the last number counts; any of them would do.
            let entropy = self.entropy.load(Relaxed);
            made = made.wrapping_add(self.pass_with_entropy(entropy));
        }
    }

    /// Passes all versions given out, because of the machine's notice. Returns how many jumps that is.
    fn pass_with_entropy(&self, entropy: u64) -> u32 {
        let (_, made) = self.pass(None, JUMP.saturating_add(entropy % ENTROPY_BOUND));
        made
    }

    /// Moves the counter `by` past what has been given out and past the reporter's version, if that
    /// is above the counter. It does not move if the reporter has caused too many jumps, or if its
    /// version is no longer above. Returns whether the reporter is believed, and how many jumps were
    /// made: 1 or none. For the CPU that has begun a jump.
    pub(super) fn pass(&self, word: Option<(Reporter, Version)>, by: u64) -> (bool, u32) {
        let high = word.map_or(0, |(_, high)| high.0);
        let is_worn_out = word.is_some_and(|(reporter, _)| {
            self.jumps_for(reporter) >= WORDS || self.unannounced.load(Relaxed) >= UNANNOUNCED
        });
        let mut from = self.counter.next.load(Relaxed);
        let to = loop {
            let mut past = from.max(high).saturating_add(by).saturating_sub(from);
            if word.is_some() {
                // The low bits keep their order, which `NewestVersions` compares: so no server's word makes
                // the client forget which versions are the newest.
                past = past.div_ceil(JUMP).saturating_mul(JUMP);
            }
            let to = from.saturating_add(past).min(END);
            if to <= from || word.is_some() && high <= from {
                return (true, 0);
            }
            if is_worn_out {
                return (false, 0);
            }
            match self.counter.next.cmpxchg(from, to, Full) {
                Ok(_) => break to,
                Err(seen) => from = seen,
            }
        };
        // Ops under way restart, so versions that are not entered belong to other instances only.
        self.gaps.note(from.min(self.not_entered()), to);
        if let Some((reporter, _)) = word {
            self.note_jump_for(reporter);
        }
        (true, 1)
    }
}
