// SPDX-License-Identifier: GPL-2.0

//! Planted bugs, one at a time. An oracle that does not find them would not find real bugs either.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use anemone::engine::mutation::{self, Mutation};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::course::Course;
use crate::scenario::Scenario;
use crate::{run, threads};

/// Within how many seeds each bug has to be found: several times the number that it took, because the
/// meaning of a seed changes with the simulator.
fn bound(mutation: Mutation) -> u64 {
    match mutation {
        // These need a restart, perhaps one just before a detach or removal, a forged frame, a page-in of a
        // page that is being written, an undisturbed run, a page-in that ends while it waits for a buffer, or
        // a stop as long as an I/O timeout.
        Mutation::IncarnationUnchecked
        | Mutation::RejectBelieved
        | Mutation::CookieUnchecked
        | Mutation::WakeLost
        | Mutation::GrantKept
        | Mutation::StopCounted
        | Mutation::DetachedUnasked
        | Mutation::ClosedUnasked => 400,
        // Each of these seeds takes long.
        Mutation::HerdFollowed => 12,
        _ => 120,
    }
}

/// Whether this run can show the bug. Other runs need not be tried.
fn may_show(mutation: Mutation, seed: u64) -> bool {
    let scenario = || Scenario::draw(seed, &mut ChaCha8Rng::seed_from_u64(seed));
    let (enabled, disk) = (|| scenario().enabled, || scenario().disk);
    match mutation {
        Mutation::HerdFollowed => matches!(Course::draw(seed), Course::Crowd { .. }),
        Mutation::RoomForgotten | Mutation::ClientUnasked => {
            matches!(Course::draw(seed), Course::Full { .. })
        }
        Mutation::FullNeverAsked => Course::draw(seed) == Course::Full { death: true },
        Mutation::EarlierInstanceKept | Mutation::WaitForgotten => enabled().rebirth,
        Mutation::CookieUnchecked => {
            !scenario().signed && scenario().rates.forge + scenario().rates.replay > 0.0
        }
        // Only one of our servers could send it.
        Mutation::RejectBelieved => !scenario().signed,
        Mutation::CounterRepeated => scenario().signed,
        Mutation::WindowUnchecked | Mutation::KeyCookieUnchecked => {
            scenario().signed && scenario().rates.replay > 0.0
        }
        Mutation::TagUnchecked
        | Mutation::SourceUnchecked
        | Mutation::KeyRequestUnproved
        | Mutation::KeyReplyUnproved => scenario().signed && scenario().rates.forge > 0.0,
        Mutation::PathMtuNeverLowered => enabled().jumbo_limit,
        // Servers have the version with the checksum. The disk may have either.
        Mutation::ChangedPageSameVersion => enabled().change_page && disk().is_some(),
        Mutation::OutOfSyncForgotten => disk().is_some(),
        Mutation::ClosedOnePageEarly | Mutation::ClosedUnasked => enabled().remove,
        Mutation::RefusalForgotten => disk().is_some_and(|disk| disk.depth.is_some()),
        Mutation::DetachedWithOnlyCopy | Mutation::DetachedUnasked => {
            disk().is_some_and(|disk| disk.detach)
        }
        Mutation::InterruptIgnored | Mutation::InterruptedDiskPaused => {
            enabled().signal && disk().is_some_and(|disk| disk.detach)
        }
        Mutation::UnloadedWithDiskIo => enabled().reload && disk().is_some(),
        Mutation::SentUnsealed => scenario().sealed,
        Mutation::GoneDiskWritten => enabled().take_disk && disk().is_some(),
        Mutation::FreedWhileHibernating => enabled().hibernate && scenario().discards > 0,
        // A stop as long as the I/O timeout, by the client's clock.
        Mutation::StopCounted => {
            (enabled().freeze || enabled().clock_steps) && scenario().io_timeout_s <= 2
        }
        _ => true,
    }
}

struct Found {
    mutation: Mutation,
    /// Seeds tried, including the one that found it.
    seeds: u64,
    /// How often the code of the bug was reached.
    reached: u64,
    /// The failure that was found, if there was one.
    failure: Option<String>,
}

/// Tries seeds until one finds the bug.
fn hunt(mutation: Mutation) -> Found {
    let mut found = Found {
        mutation,
        seeds: 0,
        reached: 0,
        failure: None,
    };
    let mut seeds = (0..).filter(|seed| may_show(mutation, *seed));
    while found.failure.is_none() && found.seeds < bound(mutation) {
        mutation::show(Some(mutation));
        found.failure = run(seeds.next().unwrap_or(0), &[], false).failure;
        found.reached += mutation::reached();
        found.seeds += 1;
    }
    mutation::show(None);
    found
}

#[test]
fn mutations() {
    let only = std::env::var("ANEMONE_SIM_MUTATION").ok();
    let wanted = |mutation: &&Mutation| {
        let name = format!("{mutation:?}");
        only.as_ref().is_none_or(|only| name == *only)
    };
    let all: Vec<Mutation> = mutation::ALL.iter().filter(wanted).copied().collect();
    assert!(!all.is_empty(), "there is no mutation {only:?}");
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(&mutation) = all.get(index) else {
                    return;
                };
                let found = hunt(mutation);
                show(&found);
                results.lock().unwrap().push(found);
            });
        }
    });
    let results = results.into_inner().unwrap();
    let missed: Vec<Mutation> = results
        .iter()
        .filter(|found| found.failure.is_none())
        .map(|found| found.mutation)
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

fn show(found: &Found) {
    let name = format!("{:?}", found.mutation);
    let Some(failure) = &found.failure else {
        println!(
            "{name:<22} NOT FOUND in {} seeds, reached {} times",
            found.seeds, found.reached
        );
        return;
    };
    let what = failure.lines().next().unwrap_or_default();
    let what: String = what.chars().take(110).collect();
    println!(
        "{name:<22} {:>4} of {:>4} seeds: {what}",
        found.seeds,
        bound(found.mutation)
    );
}
