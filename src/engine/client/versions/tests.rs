// SPDX-License-Identifier: GPL-2.0

//! Jumps, and lives of one client that take versions from the same snapshot.

use super::jump::*;
use super::*;

use std::vec::Vec;

type Versions = super::Versions<Vec<Atomic<u32>>>;

fn zeros(words: usize) -> Vec<Atomic<u32>> {
    (0..words).map(|_| Atomic::<u32>::new(0)).collect()
}

#[test]
fn versions_in_a_gap_are_not_ours() {
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
            true => versions.pass(Some((reporter(0, 7), Version(5000))), JUMP),
            false => versions.pass(None, JUMP),
        };
        assert_eq!(made, 1);
        // The machine is rolled back once more, to this very moment; another life of it continues
        // here.
        let lost = versions.take();
        for entropy in [3, 5] {
            versions.jump(entropy);
            let next = versions.take();
            assert!(next.0 < lost.0 + 10, "the CPU that jumps does so once more");
            // And nothing is entered before.
            assert_eq!(versions.is_ours(next), None);
            assert!(versions.note_high_water(reporter(1, 7), Version(next.0 + 1000)));
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
fn no_version_from_before_a_jump_is_entered() {
    let versions = Versions::new();
    let old = versions.take();
    assert!(versions.begin_jump(true));
    let tried = versions.take();
    assert!(!versions.enter(1, tried), "the counter jumps");
    let (_, made) = versions.pass(None, JUMP);
    versions.end_jump(made);
    assert!(!versions.enter(0, old));
    assert!(!versions.enter(1, tried));
    let new = versions.take();
    assert!(versions.enter(0, new));
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
fn evidence_counts_once_and_versions_given_out_are_none() {
    let versions = Versions::new();
    for _ in 0..100 {
        assert!(versions.enter(3, versions.take()));
    }
    assert!(versions.note_high_water(reporter(0, 7), versions.next()));
    assert_eq!(versions.jumps(), 0);
    for number in 0..1000 {
        assert!(versions.note_high_water(reporter(number % SERVER_SLOTS, 7), Version(5000)));
    }
    assert_eq!(versions.jumps(), 1);
    // By a multiple of a jump: the low bits keep their order.
    assert_eq!(versions.next(), Version(101 + 2 * JUMP));
    assert_eq!(versions.is_ours(Version(100)), Some(true));
    assert_eq!(versions.is_ours(Version(101)), Some(false));
    // No life has used that many.
    for absurd in [END, u64::MAX] {
        assert!(versions.note_high_water(reporter(1, 7), Version(absurd)));
    }
    assert_eq!(versions.jumps(), 1);
}

fn reporter(number: usize, incarnation: u64) -> Reporter {
    Reporter {
        slot: ServerSlot::new(number).unwrap(),
        incarnation,
    }
}

#[test]
fn a_server_that_lies_is_believed_so_often_only_and_takes_no_page_away() {
    let versions = Versions::new();
    let old = versions.take();
    assert!(versions.enter(0, old));
    let lie = |reporter: Reporter| {
        let version = versions.take();
        assert!(versions.enter(0, version));
        versions.note_high_water(reporter, Version(version.0 + 2))
    };
    for round in 0..1000 {
        assert_eq!(lie(reporter(0, 7)), round < WORDS, "{round}");
    }
    assert_eq!(versions.jumps(), WORDS);
    // Another server, and the same one after restarts, in other slots too: not for ever.
    assert!(lie(reporter(1, 7)));
    assert!(lie(reporter(0, 8)));
    for round in 0..1000 {
        lie(reporter(round % SERVER_SLOTS, round as u64));
    }
    assert_eq!(versions.jumps(), UNANNOUNCED);
    assert_eq!(versions.is_ours(old), Some(true));
    // A report that is not above the counter is not wrong for that.
    assert!(versions.note_high_water(reporter(0, 7), versions.next()));
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
fn all_lives_are_remembered_with_enough_memory() {
    let versions = Versions::new();
    let (given, lost) = live(&versions, 1 << 16, true);
    assert_eq!(versions.wanted_words(), None);
    let is_known = |version: &Version| versions.is_ours(*version) == Some(true);
    assert!(given.iter().flatten().all(is_known));
    assert!(!lost.iter().any(is_known));
}

#[test]
fn without_memory_older_lives_are_forgotten_but_no_gap() {
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
fn a_version_that_was_entered_is_never_in_a_gap() {
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
