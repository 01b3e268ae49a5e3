// SPDX-License-Identifier: GPL-2.0

//! Threads change pages repeatedly while another thread makes the kernel page them out.
//!
//! A page that is written during its page-out must be paged out once more, and a later read must return the
//! last contents.

use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::content::{Content, Wrong};
use crate::random::{mix, Random};
use crate::sys::Memory;
use crate::PAGE_SIZE;

/// How often all pages are paged out at least.
const MIN_ROUNDS: u32 = 4;

/// Options of `dirty`.
#[derive(clap::Args)]
pub struct Options {
    /// Memory in MiB
    #[arg(long, default_value_t = 8)]
    mib: usize,
    /// Changes pages as long as this file exists, and for a few rounds at least
    #[arg(long = "while", value_name = "FILE")]
    while_there: Option<PathBuf>,
    /// Threads that change pages, each in its own part
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Seed of contents and orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pages all out at the end, creates this file, and waits until it is removed
    #[arg(long)]
    hold: Option<PathBuf>,
}

/// One thread's pages.
struct Writer<'a> {
    memory: &'a Memory,
    /// The version of each page, locked in memory.
    versions: &'a Memory,
    seed: u64,
    part: Range<usize>,
}

impl Writer<'_> {
    /// Changes each page once, and then random pages until `stop` is set. Returns how often.
    fn change(&self, stop: &AtomicBool) -> Result<u64, Wrong> {
        let mut random = Random::new(mix(self.seed ^ self.part.start as u64));
        let mut count = 0;
        for page in self.part.clone() {
            self.write(page);
            count += 1;
        }
        while !stop.load(Relaxed) {
            let page = self.part.start + random.below(self.part.len());
            // One in eight is checked before: reads, too, meet a page that is being paged out.
            if random.next() & 7 == 0 {
                self.check(page)?;
            }
            self.write(page);
            count += 1;
        }
        Ok(count)
    }

    fn write(&self, page: usize) {
        let version = &self.versions.words()[page];
        let content = Content::new(self.seed, page, version.load(Relaxed) + 1);
        for (index, word) in self.memory.page(page).iter().enumerate() {
            word.store(content.word(index), Relaxed);
        }
        version.store(version.load(Relaxed) + 1, Relaxed);
    }

    fn check(&self, page: usize) -> Result<(), Wrong> {
        let version = self.versions.words()[page].load(Relaxed);
        if version == 0 {
            return Ok(());
        }
        let words = self.memory.page(page);
        Content::new(self.seed, page, version).check(|index| words[index].load(Relaxed))
    }
}

/// Runs the program.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let pages = options.mib * (1 << 20) / PAGE_SIZE;
    let memory = Memory::new(pages)?;
    let versions = Memory::new((pages * 8).div_ceil(PAGE_SIZE))?;
    versions.lock()?;
    let writer = |part| Writer {
        memory: &memory,
        versions: &versions,
        seed: options.seed,
        part,
    };
    let share = pages.div_ceil(options.threads.max(1));
    let stop = AtomicBool::new(false);
    let continues = || {
        options
            .while_there
            .as_ref()
            .is_some_and(|path| path.exists())
    };
    let mut rounds = 0_u32;
    let changes = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..pages)
            .step_by(share)
            .map(|first| {
                let writer = writer(first..(first + share).min(pages));
                let stop = &stop;
                scope.spawn(move || writer.change(stop))
            })
            .collect();
        while (continues() || rounds < MIN_ROUNDS)
            && !writers.iter().any(|writer| writer.is_finished())
        {
            // On failure fewer pages are paged out, and the test checks the counters.
            let _ = memory.page_out(0..pages);
            rounds += 1;
        }
        stop.store(true, Relaxed);
        writers
            .into_iter()
            .map(|writer| match writer.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .sum::<Result<u64, Wrong>>()
    })?;
    let all = writer(0..pages);
    (0..pages).try_for_each(|page| all.check(page))?;
    memory.page_out(0..pages)?;
    if let Some(path) = &options.hold {
        std::fs::write(path, "")?;
        while path.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    (0..pages).try_for_each(|page| all.check(page))?;
    Ok(format!(
        "dirty: {pages} pages, {changes} changes, paged out {rounds} times, all as they must be"
    ))
}
