// SPDX-License-Identifier: GPL-2.0

//! The simulator: clients and servers on one virtual clock, from one seed, with everything going
//! wrong that can, and an oracle that knows the contract.
//!
//! `ANEMONE_SIM_SEEDS=N` tries N seeds; `ANEMONE_SIM_SEED=S` runs one and shows its last events
//! if it fails, `ANEMONE_SIM_EVENTS=N` so many; `ANEMONE_SIM_FIRST=S` is where trying begins.

mod audit;
mod client;
mod content;
mod context;
mod disk;
mod event;
mod faults;
mod forger;
mod network;
mod oracle;
mod scenario;
mod server;
mod trace;
mod trouble;
mod watch;
mod world;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use faults::{Counts, Fault};
use world::Report;

/// Seeds tried unless told otherwise.
const SEEDS: u64 = 200;
/// Events shown of a failing seed, unless told otherwise.
const SHOWN: u64 = 150;
/// A seed that takes longer is worth a look.
const SLOW: Duration = Duration::from_secs(20);
/// Failures shown at the most.
const FAILURES: usize = 5;

/// Seeds that have found something once: a number and what it was, a line each.
const REGRESSIONS: &str = include_str!("seeds.txt");

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

/// Runs a seed; a panic is a failure too.
fn run(seed: u64, traced: bool) -> Report {
    catch_unwind(AssertUnwindSafe(|| world::run(seed, traced))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Report {
            counts: Counts::default(),
            failure: Some(format!("panicked: {}", text.unwrap_or("?"))),
            trace: Vec::new(),
        }
    })
}

/// Runs `seeds` on all processors. Returns the sums, and the failing seeds with why.
fn run_all(seeds: &[u64]) -> (Counts, Vec<(u64, String)>) {
    let next = AtomicU64::new(0);
    let results = Mutex::new((Counts::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| loop {
                let index = next.fetch_add(1, Ordering::Relaxed) as usize;
                let Some(&seed) = seeds.get(index) else {
                    return;
                };
                let began = Instant::now();
                let report = run(seed, false);
                let took = began.elapsed();
                if took > SLOW {
                    println!("seed {seed} took {:.1} s", took.as_secs_f64());
                }
                let mut results = results.lock().unwrap_or_else(|error| error.into_inner());
                results.0.merge(&report.counts);
                if let Some(failure) = report.failure {
                    results.1.push((seed, failure));
                }
            });
        }
    });
    let (counts, mut failures) = results.into_inner().unwrap_or_else(|e| e.into_inner());
    failures.sort();
    (counts, failures)
}

/// Runs a seed and shows how it went, if badly with its last events. Returns whether it went well.
fn show(seed: u64) -> bool {
    let report = run(seed, true);
    let shown = variable("ANEMONE_SIM_EVENTS").unwrap_or(SHOWN) as usize;
    let first = report.trace.len().saturating_sub(shown);
    let Some(failure) = report.failure else {
        println!("seed {seed} is all right: {}", report.counts);
        return true;
    };
    for line in &report.trace[first..] {
        println!("{line}");
    }
    println!("seed {seed} fails: {failure}");
    false
}

fn check(failures: &[(u64, String)], tried: usize) {
    for (seed, failure) in failures.iter().take(FAILURES) {
        println!("\nseed {seed} fails: {failure}");
        println!("  again, with its last events: scripts/sim --seed {seed}");
    }
    if let Some((seed, _)) = failures.first() {
        println!("\nthe last events of seed {seed}:");
        show(*seed);
    }
    let all: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    assert!(
        all.is_empty(),
        "{} of {tried} seeds fail: {all:?}",
        all.len()
    );
}

#[test]
fn regressions() {
    let seeds: Vec<u64> = REGRESSIONS
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    let (_, failures) = run_all(&seeds);
    check(&failures, seeds.len());
}

#[test]
fn seeds() {
    if let Some(seed) = variable("ANEMONE_SIM_SEED") {
        assert!(show(seed), "seed {seed} fails");
        return;
    }
    let count = variable("ANEMONE_SIM_SEEDS").unwrap_or(SEEDS);
    let first = variable("ANEMONE_SIM_FIRST").unwrap_or(0);
    let seeds: Vec<u64> = (first..first + count).collect();
    let began = Instant::now();
    let (counts, failures) = run_all(&seeds);
    println!(
        "{count} seeds in {:.1} s: {counts}",
        began.elapsed().as_secs_f64()
    );
    check(&failures, seeds.len());
    if count >= SEEDS {
        // A fault that did not happen, proves nothing.
        for &fault in faults::ALL {
            assert_ne!(counts.of(fault), 0, "{fault:?} never happened");
        }
        let _ = Fault::FrameLost;
    }
}
