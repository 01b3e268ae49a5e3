// SPDX-License-Identifier: GPL-2.0

//! A program that needs much memory, and checks each page of it.
//!
//! Pass 1 writes all pages in order. Each later pass visits all pages, alternately in a shuffled order and in
//! order, checks each, and rewrites about half of them.

use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use crate::content::{Content, Wrong};
use crate::random::{mix, shuffled};
use crate::sys::{Child, Memory};
use crate::PAGE_SIZE;

/// Options of `pages`.
#[derive(clap::Args)]
pub struct Options {
    /// Memory in MiB
    #[arg(long)]
    mib: usize,
    /// Passes; the first one fills the memory
    #[arg(long, default_value_t = 3)]
    passes: u64,
    /// Makes more passes as long as this file exists
    #[arg(long = "while", value_name = "FILE")]
    while_there: Option<PathBuf>,
    /// Threads, each with its own part
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seed of contents and orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// After the first pass, continues in two processes, which do not share what they write
    #[arg(long)]
    fork: bool,
    /// Makes the kernel page all out after each pass
    #[arg(long)]
    page_out: bool,
}

impl Options {
    fn pages(&self) -> usize {
        self.mib * (1 << 20) / PAGE_SIZE
    }
}

/// Whether pass `pass` writes the page.
fn is_written(seed: u64, page: usize, pass: u64) -> bool {
    pass == 1 || mix(seed ^ mix(page as u64 ^ (pass << 40))) & 1 == 0
}

/// The page's contents after `pass` of process `process`. Process 0 makes the first pass.
fn content(seed: u64, page: usize, pass: u64, process: u64) -> Content {
    let written = (1..=pass)
        .rev()
        .find(|&pass| is_written(seed, page, pass))
        .unwrap_or(1);
    let writer = if written == 1 { 0 } else { process };
    Content::new(seed ^ (writer << 56), page, written)
}

/// One of the workers that share the memory.
struct Worker<'a> {
    memory: &'a Memory,
    options: &'a Options,
    part: Range<usize>,
    process: u64,
}

impl Worker<'_> {
    /// Makes the passes from `first` on, and then checks all pages once more.
    fn passes(&self, first: u64) -> Result<(), Wrong> {
        let continues = || {
            let path = self.options.while_there.as_ref();
            path.is_some_and(|path| path.exists())
        };
        let mut pass = first;
        while pass <= self.options.passes || continues() {
            self.pass(pass, true)?;
            pass += 1;
        }
        self.pass(pass, false)
    }

    /// Makes pass `pass`, or only checks.
    fn pass(&self, pass: u64, is_to_write: bool) -> Result<(), Wrong> {
        let (seed, first) = (self.options.seed, self.part.start);
        let shuffled = shuffled(mix(seed ^ pass), self.part.len());
        let straight = 0..self.part.len();
        if pass.is_multiple_of(2) {
            shuffled
                .into_iter()
                .try_for_each(|index| self.visit(first + index, pass, is_to_write))?;
        } else {
            straight
                .into_iter()
                .try_for_each(|index| self.visit(first + index, pass, is_to_write))?;
        }
        if self.options.page_out {
            // On failure fewer pages are paged out, which this program does not check.
            let _ = self.memory.page_out(self.part.clone());
        }
        Ok(())
    }

    fn visit(&self, page: usize, pass: u64, is_to_write: bool) -> Result<(), Wrong> {
        let (seed, process) = (self.options.seed, self.process);
        let words = self.memory.page(page);
        if pass > 1 {
            content(seed, page, pass - 1, process).check(|index| words[index].load(Relaxed))?;
        }
        if is_to_write && is_written(seed, page, pass) {
            let content = content(seed, page, pass, process);
            for (index, word) in words.iter().enumerate() {
                word.store(content.word(index), Relaxed);
            }
        }
        Ok(())
    }
}

/// Runs `work` in each thread, on its part.
fn with_workers(
    memory: &Memory,
    options: &Options,
    process: u64,
    work: impl Fn(&Worker<'_>) -> Result<(), Wrong> + Copy + Send,
) -> Result<(), Wrong> {
    let pages = options.pages();
    let share = pages.div_ceil(options.threads.max(1));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..pages)
            .step_by(share)
            .map(|first| {
                let worker = Worker {
                    memory,
                    options,
                    part: first..(first + share).min(pages),
                    process,
                };
                scope.spawn(move || work(&worker))
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

/// Runs the program.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let memory = Memory::new(options.pages())?;
    with_workers(&memory, options, 0, |worker| worker.pass(1, true))?;
    let child = match options.fork {
        false => None,
        true => Some(Child::fork(|| {
            match with_workers(&memory, options, 1, |worker| worker.passes(2)) {
                Ok(()) => 0,
                Err(wrong) => {
                    eprintln!("anemone-test: the copied process: {wrong}");
                    1
                }
            }
        })?),
    };
    with_workers(&memory, options, 0, |worker| worker.passes(2))?;
    if let Some(status) = child.map(Child::wait).transpose()? {
        if status != 0 {
            return Err(format!("the copied process ended with wait status {status:#x}").into());
        }
    }
    Ok(format!(
        "pages: {} pages, at least {} passes, {} threads, all as they must be",
        options.pages(),
        options.passes,
        options.threads
    ))
}
