// SPDX-License-Identifier: GPL-2.0

//! The simulator: clients and servers on one virtual clock, from one seed, with every kind of fault, and an
//! oracle that checks the contract.
//!
//! `ANEMONE_SIM_SEEDS=N` tries N seeds, beginning with `ANEMONE_SIM_FIRST=S`, on `ANEMONE_SIM_THREADS=N`
//! processors. `ANEMONE_SIM_SEED=S` runs one seed and shows its last events if it fails:
//! `ANEMONE_SIM_EVENTS=N` of them. `ANEMONE_SIM_WITHOUT=A,B` runs it without those faults.

mod attacker;
mod audit;
mod authentic;
mod client;
mod clock;
mod content;
mod context;
mod course;
mod crowd;
mod disk;
mod disturbance;
mod event;
mod faults;
mod forger;
mod full;
mod hibernation;
#[cfg(feature = "mutations")]
mod mutations;
mod network;
mod night;
mod oracle;
mod random;
mod rewound;
mod scenario;
mod seals;
mod server;
mod trace;
mod watch;
mod world;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use faults::{Counts, Fault};
use world::Report;

/// Seeds tried by default.
const SEEDS: u64 = 200;

/// The most seeds tried, beginning with 0, until each fault has happened.
const MOST_FOR_RARE: u64 = 2000;
/// Events shown of a failing seed by default.
const SHOWN: u64 = 150;
/// A seed that takes longer is reported.
const SLOW: Duration = Duration::from_secs(20);
/// The most failures shown.
const FAILURES: usize = 5;
/// The most time spent on making a failure smaller.
const SHRINKING: Duration = Duration::from_secs(60);

/// Seeds that have found a bug, a line each: a number, `without=` and the faults that it did not need, and
/// a description of the bug.
const REGRESSIONS: &str = include_str!("seeds.txt");

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

/// How many seeds are tried at the same time.
fn threads() -> usize {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    variable("ANEMONE_SIM_THREADS").map_or(all, |threads| threads as usize)
}

/// A seed, and how its scenario is simplified.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    seed: u64,
    without: Vec<&'static str>,
}

impl Case {
    fn of(seed: u64) -> Self {
        Self {
            seed,
            without: Vec::new(),
        }
    }

    /// Parses a case: a number, and words of `scenario::SIMPLER`.
    fn parse(seed: &str, without: &str) -> Option<Self> {
        let words = without.split(',').filter(|word| !word.is_empty());
        let known = words.map(|word| {
            let found = scenario::SIMPLER.iter().find(|(name, _)| *name == word);
            found
                .unwrap_or_else(|| panic!("nothing is called {word}"))
                .0
        });
        Some(Self {
            seed: seed.parse().ok()?,
            without: known.collect(),
        })
    }

    /// Runs it; a panic is a failure too.
    fn run(&self, traced: bool) -> Report {
        let simpler = scenario::SIMPLER
            .iter()
            .filter(|(name, _)| self.without.contains(name));
        let simpler: Vec<scenario::Simplify> = simpler.map(|(_, simplify)| *simplify).collect();
        run(self.seed, &simpler, traced)
    }

    /// Searches for a simpler case that also fails, for a limited time.
    fn shrink(&self) -> Self {
        let until = Instant::now() + SHRINKING;
        let mut smallest = self.clone();
        for (name, _) in scenario::SIMPLER {
            let mut smaller = smallest.clone();
            smaller.without.push(name);
            if Instant::now() < until && smaller.run(false).failure.is_some() {
                smallest = smaller;
            }
        }
        smallest
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.seed)?;
        match self.without.is_empty() {
            true => Ok(()),
            false => write!(f, " --without {}", self.without.join(",")),
        }
    }
}

/// Runs a seed; a panic is a failure too.
fn run(seed: u64, simpler: &[scenario::Simplify], traced: bool) -> Report {
    catch_unwind(AssertUnwindSafe(|| world::run(seed, simpler, traced))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Report {
            counts: Counts::default(),
            failure: Some(format!("panicked: {}", text.unwrap_or("?"))),
            trace: Vec::new(),
        }
    })
}

/// Runs `cases`, several at a time. Returns the sums, and the failed cases with their reasons.
fn run_all(cases: &[Case]) -> (Counts, Vec<(Case, String)>) {
    let next = AtomicU64::new(0);
    let results = Mutex::new((Counts::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| loop {
                let index = next.fetch_add(1, Ordering::Relaxed) as usize;
                let Some(case) = cases.get(index) else {
                    return;
                };
                let began = Instant::now();
                let report = case.run(false);
                let took = began.elapsed();
                if took > SLOW {
                    println!("seed {case} took {:.1} s", took.as_secs_f64());
                }
                let mut results = results.lock().unwrap_or_else(|error| error.into_inner());
                results.0.merge(&report.counts);
                if let Some(failure) = report.failure {
                    results.1.push((case.clone(), failure));
                }
            });
        }
    });
    let (counts, mut failures) = results.into_inner().unwrap_or_else(|e| e.into_inner());
    failures.sort();
    (counts, failures)
}

/// Runs a case and shows its result, with its last events if it fails. Returns whether it passed.
fn show(case: &Case) -> bool {
    let report = case.run(true);
    let shown = variable("ANEMONE_SIM_EVENTS").unwrap_or(SHOWN) as usize;
    let first = report.trace.len().saturating_sub(shown);
    let Some(failure) = report.failure else {
        println!("seed {case} is all right: {}", report.counts);
        return true;
    };
    for line in &report.trace[first..] {
        println!("{line}");
    }
    println!("seed {case} fails: {failure}");
    false
}

fn check(failures: &[(Case, String)], tried: usize) {
    for (case, failure) in failures.iter().take(FAILURES) {
        println!("\nseed {case} fails: {failure}");
        println!("  again, with its last events: scripts/sim --seed {case}");
    }
    if let Some((case, _)) = failures.first() {
        let smaller = case.shrink();
        println!("\nthe last events of seed {smaller}:");
        show(&smaller);
        println!("  again, with as little as it needs: scripts/sim --seed {smaller}");
    }
    let all: Vec<String> = failures.iter().map(|(case, _)| case.to_string()).collect();
    assert!(
        all.is_empty(),
        "{} of {tried} seeds fail: {all:?}",
        all.len()
    );
}

#[test]
fn regressions() {
    let cases: Vec<Case> = REGRESSIONS
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let seed = words.next()?;
            let without = words.next().and_then(|word| word.strip_prefix("without="));
            Case::parse(seed, without.unwrap_or_default())
        })
        .collect();
    let (_, failures) = run_all(&cases);
    check(&failures, cases.len());
}

/// The least and the most seeds with a server that is rolled back. Between these bounds
/// it is a tenth of the other seeds.
const REWOUND: [u64; 2] = [20, 60];

#[test]
fn seeds_with_a_server_that_is_put_back() {
    if std::env::var("ANEMONE_SIM_SEED").is_ok() {
        return;
    }
    let first = variable("ANEMONE_SIM_FIRST").unwrap_or(0);
    let others = variable("ANEMONE_SIM_SEEDS").unwrap_or(SEEDS);
    let [fewest, most] = REWOUND;
    let count = (others / 10).clamp(fewest, most);
    let mut counts = Counts::default();
    for seed in first..first + count {
        let report = run(seed, &[rewound::arrange], false);
        counts.merge(&report.counts);
        if let Some(failure) = report.failure {
            let trace = run(seed, &[rewound::arrange], true).trace;
            for line in &trace[trace.len().saturating_sub(SHOWN as usize)..] {
                println!("{line}");
            }
            panic!("seed {seed} with a server that is rolled back fails: {failure}");
        }
    }
    let Counts { lost, missed, .. } = counts;
    println!("{lost} copies lost, {missed} of them missed");
    // Lost copies are noticed only where they are read, and other servers have each of those pages too.
    assert!(lost >= count && missed >= lost / 10, "{missed} of {lost}");
}

#[test]
fn seeds() {
    if let Ok(seed) = std::env::var("ANEMONE_SIM_SEED") {
        let without = std::env::var("ANEMONE_SIM_WITHOUT").unwrap_or_default();
        let case = Case::parse(&seed, &without).expect("a seed is a number");
        assert!(show(&case), "seed {case} fails");
        return;
    }
    let count = variable("ANEMONE_SIM_SEEDS").unwrap_or(SEEDS);
    let first = variable("ANEMONE_SIM_FIRST").unwrap_or(0);
    let cases: Vec<Case> = (first..first + count).map(Case::of).collect();
    let began = Instant::now();
    let (mut counts, failures) = run_all(&cases);
    println!(
        "{count} seeds in {:.1} s: {counts}",
        began.elapsed().as_secs_f64()
    );
    check(&failures, cases.len());
    if first == 0 && count >= SEEDS {
        // A fault that did not happen proves nothing. Which faults other seeds have is not known. A rare
        // fault is in one seed of hundreds, so more seeds are tried until it has happened.
        let mut next = count;
        while let Some(fault) = faults::ALL.iter().find(|&&fault| counts.of(fault) == 0) {
            assert!(next < MOST_FOR_RARE, "{fault:?} never happened");
            println!("{fault:?} has not happened: seeds from {next} on");
            let cases: Vec<Case> = (next..next + SEEDS).map(Case::of).collect();
            let (more, failures) = run_all(&cases);
            check(&failures, cases.len());
            counts.merge(&more);
            next += SEEDS;
        }
        let _ = Fault::FrameLost;
    }
}
