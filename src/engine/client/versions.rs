// SPDX-License-Identifier: GPL-2.0

//! The version counter of a device, and which versions it has given out.
//!
//! A machine may be put back to an earlier state: a virtual machine to a snapshot, any machine to
//! its hibernation image. Then the counter stands where it was, and a later life that is now
//! forgotten has used versions above it. So the counter *jumps* past all that this life can have
//! used. The versions jumped over are known not to be ours for as long as the device exists.
//!
//! The rules: `docs/protocol.md`, "High water".

mod gaps;

use super::ids::{Generation, ServerSlot, Version, SERVER_SLOTS};
use super::storage::Words;
use crate::sync::{Acquire, Atomic, Full, NoPreemption, Relaxed, Release};
use gaps::Gaps;

/// How far a jump goes past the highest version known to be used: more than any life uses, at a
/// million page-outs a second for 12 days.
pub const JUMP: u64 = 1 << 40;

/// The bound of the random number that a notice adds, so that two lives that begin with one
/// snapshot do not use the same versions.
const CHANCE: u64 = 1 << 48;

/// No version reaches this, and no server that reports it is believed. Random jumps reach it after
/// about 2^16.
pub(super) const END: u64 = 1 << 63;

/// Jumps caused by one server in one incarnation: one for each time that the machine is put back to
/// a state after the last jump. A server that lies causes no more.
const WORDS: u32 = 4;

/// Jumps caused by all servers, so that lies leave versions for the jumps that the machine announces.
const UNANNOUNCED: u32 = 32;

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
/// The machine was put back meanwhile: the CPU that jumps repeats the jump.
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
pub struct Witness {
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
    chance: Atomic<u64>,
    /// How many jumps servers have caused.
    unannounced: Atomic<u32>,
    words: [Word; SERVER_SLOTS],
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
            chance: Atomic::<u64>::new(0),
            unannounced: Atomic::<u32>::new(0),
            words: [const {
                Word {
                    incarnation: Atomic::<u64>::new(0),
                    jumps: Atomic::<u32>::new(0),
                }
            }; SERVER_SLOTS],
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

    /// The next version to be given out.
    pub fn next(&self) -> Version {
        Version(self.counter.next.load(Relaxed))
    }

    /// Shard `shard` is about to enter this version in the map. Returns whether it may: not if the
    /// counter has jumped since the version was given out, because answers about it may concern
    /// another life. The caller then takes another version.
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
        // Not only versions since the last jump: a jump may be about to be made for a notice.
        self.look_up(version) == Some(true)
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

    /// How many of these jumps were caused by servers only.
    pub fn unannounced_jumps(&self) -> u32 {
        self.unannounced.load(Relaxed)
    }

    /// The machine has been, or may have been, put back to an earlier state. `chance` is a number
    /// that no other life of it has had. Any context.
    ///
    /// The machine notifies only once. If another CPU jumps at that moment, perhaps for the state
    /// before, that CPU jumps once more: no version is entered in the map in between.
    pub fn jump(&self, chance: u64) {
        let _guard = NoPreemption::new();
        self.chance.store(chance, Relaxed);
        if self.begin_jump(true) {
            let made = self.pass_by_chance(chance);
            self.end_jump(made);
        }
    }

    /// A server reports that all versions below `high` have been used. If that many have not been
    /// given out, a forgotten life has used them: the counter jumps past them, once for all servers
    /// that report it. Any context.
    ///
    /// Returns whether the server is believed. After a jump caused by it, it can know of no version
    /// above the counter unless the machine is put back again. So a server that reports this too
    /// often is not believed.
    pub fn note_high_water(&self, witness: Witness, high: Version) -> bool {
        if high.0 <= self.counter.next.load(Relaxed) || high.0 >= END {
            return true;
        }
        // The counter may have been read before the server's version was given out: reads it again
        // with a full barrier.
        if high.0 <= self.counter.next.fetch_add(0, Full) {
            return true;
        }
        let _guard = NoPreemption::new();
        if !self.begin_jump(false) {
            // Another CPU is jumping. The server will report again.
            return true;
        }
        let (is_believed, made) = self.pass(Some((witness, high)), JUMP);
        self.end_jump(made);
        is_believed
    }

    /// How many jumps the server has caused in this incarnation.
    fn jumps_on_word_of(&self, witness: Witness) -> u32 {
        match self.words.get(witness.slot.index()) {
            Some(word) if word.incarnation.load(Relaxed) == witness.incarnation => {
                word.jumps.load(Relaxed)
            }
            Some(_) | None => 0,
        }
    }

    fn note_word_of(&self, witness: Witness) {
        let jumps = self.jumps_on_word_of(witness).saturating_add(1);
        if let Some(word) = self.words.get(witness.slot.index()) {
            word.incarnation.store(witness.incarnation, Relaxed);
            word.jumps.store(jumps, Relaxed);
        }
        self.unannounced.fetch_add(1, Relaxed);
    }

    /// Marks a jump as under way. Returns false if one already is; a notice is then recorded for
    /// the CPU that jumps.
    fn begin_jump(&self, is_notice: bool) -> bool {
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
    fn end_jump(&self, mut made: u32) {
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
            let chance = self.chance.load(Relaxed);
            made = made.wrapping_add(self.pass_by_chance(chance));
        }
    }

    /// Passes all versions given out, because of the machine's notice. Returns how many jumps that is.
    fn pass_by_chance(&self, chance: u64) -> u32 {
        let (_, made) = self.pass(None, JUMP.saturating_add(chance % CHANCE));
        made
    }

    /// Moves the counter `by` past what has been given out and past the witness's version, if that
    /// is above the counter. It does not move if the witness has caused too many jumps, or if its
    /// version is no longer above. Returns whether the witness is believed, and how many jumps were
    /// made: 1 or none. For the CPU that has begun a jump.
    fn pass(&self, word: Option<(Witness, Version)>, by: u64) -> (bool, u32) {
        let high = word.map_or(0, |(_, high)| high.0);
        let is_worn_out = word.is_some_and(|(witness, _)| {
            self.jumps_on_word_of(witness) >= WORDS || self.unannounced.load(Relaxed) >= UNANNOUNCED
        });
        let mut from = self.counter.next.load(Relaxed);
        let to = loop {
            let to = from.max(high).saturating_add(by).min(END);
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
        // Ops under way restart, so versions that are not entered belong to other lives only.
        self.gaps.note(from.min(self.not_entered()), to);
        if let Some((witness, _)) = word {
            self.note_word_of(witness);
        }
        (true, 1)
    }
}

impl<W: Words> Default for Versions<W> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec::Vec;

    type Versions = super::Versions<Vec<Atomic<u32>>>;

    fn zeros(words: usize) -> Vec<Atomic<u32>> {
        (0..words).map(|_| Atomic::<u32>::new(0)).collect()
    }

    #[test]
    fn versions_jumped_over_are_not_ours() {
        let versions = Versions::new();
        assert_eq!(versions.is_ours(Version(1)), Some(false), "not given out");
        let old = versions.take();
        assert!(versions.enter(0, old));
        let under_way = versions.take();
        assert_eq!(versions.is_ours(under_way), Some(true));
        versions.jump(7);
        assert!(!versions.enter(0, under_way), "it may be another life's");
        assert_eq!(versions.jumps(), 1);
        let new = versions.take();
        assert!(new.0 > old.0 + JUMP);
        assert_eq!(versions.is_ours(old), Some(true));
        for version in [old.0 + 1, old.0 + 1000, new.0 - 1, new.0 + 1] {
            assert_eq!(versions.is_ours(Version(version)), Some(false), "{version}");
        }
        assert_eq!(versions.is_ours(new), Some(true));
    }

    #[test]
    fn a_notice_that_comes_while_another_cpu_jumps_is_made_up_for() {
        for is_evidence in [false, true] {
            let versions = Versions::new();
            let old = versions.take();
            assert!(versions.enter(0, old));
            // Another CPU jumps for the state before.
            assert!(versions.begin_jump(!is_evidence));
            let (_, made) = match is_evidence {
                true => versions.pass(Some((witness(0, 7), Version(5000))), JUMP),
                false => versions.pass(None, JUMP),
            };
            assert_eq!(made, 1);
            // The machine is put back once more, to this very moment; another life of it continues
            // here.
            let lost = versions.take();
            for chance in [3, 5] {
                versions.jump(chance);
                let next = versions.take();
                assert!(next.0 < lost.0 + 10, "the CPU that jumps does so once more");
                // And nothing is entered before.
                assert_eq!(versions.is_ours(next), None);
                assert!(versions.note_high_water(witness(1, 7), Version(next.0 + 1000)));
            }
            versions.end_jump(made);
            assert_eq!(versions.jumps(), 2);
            assert_eq!(versions.is_ours(lost), Some(false));
            assert_eq!(versions.is_ours(old), Some(true));
            let new = versions.take();
            assert!(new.0 > lost.0 + JUMP, "{new:?}");
            assert!(versions.enter(0, new));
            // The jump has ended.
            versions.jump(1);
            assert_eq!(versions.jumps(), 3);
        }
    }

    #[test]
    fn no_notice_is_lost_however_many_come_at_once() {
        let versions = Versions::new();
        std::thread::scope(|scope| {
            for shard in 0..3 {
                let versions = &versions;
                scope.spawn(move || {
                    for round in 0..5_000 {
                        let before = versions.take();
                        versions.jump(round);
                        // Jumped already, or about to be by another CPU: until then nothing is entered.
                        let after = versions.take();
                        let is_past = after.0 >= before.0 + JUMP;
                        assert!(is_past || !versions.enter(shard, after));
                    }
                });
            }
        });
        assert_eq!(versions.jumps.load(Relaxed) & (UNDER_WAY | NOTICED), 0);
    }

    #[test]
    fn two_lives_of_one_snapshot_part() {
        let (one, other) = (Versions::new(), Versions::new());
        one.jump(u64::MAX / 3);
        other.jump(u64::MAX / 7);
        let (lower, upper) = match one.next() < other.next() {
            true => (one, other),
            false => (other, one),
        };
        let (low, high) = (lower.take(), upper.take());
        assert_eq!(lower.is_ours(high), Some(false));
        assert_eq!(upper.is_ours(low), Some(false));
    }

    #[test]
    fn evidence_counts_once_and_what_was_given_out_is_none() {
        let versions = Versions::new();
        for _ in 0..100 {
            assert!(versions.enter(3, versions.take()));
        }
        assert!(versions.note_high_water(witness(0, 7), versions.next()));
        assert_eq!(versions.jumps(), 0);
        for number in 0..1000 {
            assert!(versions.note_high_water(witness(number % SERVER_SLOTS, 7), Version(5000)));
        }
        assert_eq!(versions.jumps(), 1);
        assert_eq!(versions.next(), Version(5000 + JUMP));
        assert_eq!(versions.is_ours(Version(100)), Some(true));
        assert_eq!(versions.is_ours(Version(101)), Some(false));
        // No life has used that many.
        for absurd in [END, u64::MAX] {
            assert!(versions.note_high_water(witness(1, 7), Version(absurd)));
        }
        assert_eq!(versions.jumps(), 1);
    }

    fn witness(number: usize, incarnation: u64) -> Witness {
        Witness {
            slot: ServerSlot::new(number).unwrap(),
            incarnation,
        }
    }

    #[test]
    fn a_server_that_lies_is_believed_so_often_only_and_takes_no_page_away() {
        let versions = Versions::new();
        let old = versions.take();
        assert!(versions.enter(0, old));
        let lie = |witness: Witness| {
            let version = versions.take();
            assert!(versions.enter(0, version));
            versions.note_high_water(witness, Version(version.0 + 2))
        };
        for round in 0..1000 {
            assert_eq!(lie(witness(0, 7)), round < WORDS, "{round}");
        }
        assert_eq!(versions.jumps(), WORDS);
        // Another server, and the same one after restarts, in other slots too: not for ever.
        assert!(lie(witness(1, 7)));
        assert!(lie(witness(0, 8)));
        for round in 0..1000 {
            lie(witness(round % SERVER_SLOTS, round as u64));
        }
        assert_eq!(versions.jumps(), UNANNOUNCED);
        assert_eq!(versions.is_ours(old), Some(true));
        // A report that is not above the counter is not wrong for that.
        assert!(versions.note_high_water(witness(0, 7), versions.next()));
        // The machine's own notice counts.
        versions.jump(5);
        assert_eq!(versions.jumps(), UNANNOUNCED + 1);
    }

    #[test]
    fn versions_never_wrap() {
        let versions = Versions::new();
        for _ in 0..1_000_000 {
            versions.jump(u64::MAX);
        }
        assert_eq!(versions.next(), Version(END));
        let last = versions.take();
        assert!(versions.take() > last);
    }

    /// `lives` lives that enter a few page-outs each. Returns the versions entered, by life, and
    /// one in each life that was not.
    fn live(versions: &Versions, lives: u64, has_room: bool) -> (Vec<Vec<Version>>, Vec<Version>) {
        let (mut given, mut lost) = (Vec::new(), Vec::new());
        for life in 0..lives {
            if let Some(words) = versions.wanted_words().filter(|_| has_room) {
                versions.give_room(zeros(words - 1));
                assert_eq!(versions.wanted_words(), Some(words), "too little");
                versions.give_room(zeros(words));
            }
            let take = |_| {
                let version = versions.take();
                assert!(versions.enter(life as u16, version));
                version
            };
            given.push((0..1 + life % 3).map(take).collect());
            lost.push(versions.take());
            versions.jump(life);
        }
        (given, lost)
    }

    #[test]
    fn a_thousand_lives_are_remembered_each_for_itself() {
        let versions = Versions::new();
        let (given, lost) = live(&versions, 1000, true);
        assert_eq!(versions.jumps(), 1000);
        for version in given.iter().flatten() {
            assert_eq!(versions.is_ours(*version), Some(true), "{version:?}");
        }
        for version in lost {
            for version in [version.0, version.0 + 1, version.0 + JUMP - 2] {
                assert_eq!(versions.is_ours(Version(version)), Some(false));
            }
        }
        assert_eq!(versions.is_ours(versions.next()), Some(false));
        assert_eq!(versions.is_ours(versions.take()), Some(true));
    }

    #[test]
    fn as_many_lives_as_there_are_versions_for() {
        let versions = Versions::new();
        let (given, lost) = live(&versions, 1 << 16, true);
        assert_eq!(versions.wanted_words(), None);
        let is_known = |version: &Version| versions.is_ours(*version) == Some(true);
        assert!(given.iter().flatten().all(is_known));
        assert!(!lost.iter().any(is_known));
    }

    #[test]
    fn without_room_pages_are_forgotten_and_never_a_gap() {
        let versions = Versions::new();
        let (given, lost) = live(&versions, 200, false);
        for version in lost {
            assert_eq!(versions.is_ours(version), Some(false), "{version:?}");
        }
        for (life, version) in given.iter().enumerate() {
            let expected = Some(life < gaps::FIRST);
            assert_eq!(versions.is_ours(version[0]), expected, "{life}");
        }
        assert_eq!(versions.is_ours(versions.take()), Some(true));
    }

    #[test]
    fn what_was_entered_is_never_jumped_over() {
        let versions = Versions::new();
        let enter = |shard: u16| {
            let mut entered = Vec::new();
            for _ in 0..20_000 {
                let version = versions.take();
                if versions.enter(shard, version) {
                    entered.push(version);
                }
            }
            entered
        };
        let entered = std::thread::scope(|scope| {
            let shards = [0, 1, 8].map(|shard| scope.spawn(move || enter(shard)));
            // Fewer than there is room for.
            for round in 0..50 {
                versions.jump(round);
                std::thread::yield_now();
            }
            shards.map(|shard| shard.join().unwrap())
        });
        for version in entered.iter().flatten() {
            assert_eq!(versions.is_ours(*version), Some(true));
        }
    }

    #[test]
    fn a_reader_during_a_jump_takes_no_foreign_version_for_ours() {
        let versions = Versions::new();
        std::thread::scope(|scope| {
            let jumping = scope.spawn(|| {
                for round in 0..20_000 {
                    assert!(versions.enter(1, versions.take()));
                    versions.jump(round);
                }
            });
            while !jumping.is_finished() {
                // Behind the next version, which may be taken meanwhile, a gap begins or nothing
                // was given out.
                let version = Version(versions.next().0 + 1);
                assert_ne!(versions.is_ours(version), Some(true));
            }
        });
        assert_eq!(versions.jumps(), 20_000);
    }
}
