// SPDX-License-Identifier: GPL-2.0

//! Reads a device's pages past the page cache, one by one, and compares those that can be read.
//!
//! A page that cannot be read is no failure: the test checks the number of such pages. A page that can be
//! read must have the file's contents.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::sys::Memory;
use crate::PAGE_SIZE;

/// Options of `survey`.
#[derive(clap::Args)]
pub struct Options {
    /// The device
    #[arg(long, default_value = "/dev/anemone")]
    device: PathBuf,
    /// Number of pages that are read, from the first
    #[arg(long)]
    pages: usize,
    /// Threads, so that pages that cannot be read are waited for together
    #[arg(long, default_value_t = 16)]
    threads: usize,
    /// Only counts the pages with other contents
    #[arg(long)]
    count_other: bool,
    /// File with the expected contents
    file: PathBuf,
}

/// The result.
#[derive(Default)]
struct Found {
    equal: usize,
    errors: usize,
    other: Vec<usize>,
}

/// Runs the program.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let expected = File::open(&options.file)?;
    let device = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(&options.device)?;
    let threads = options.threads.clamp(1, options.pages.max(1));
    let parts = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|first| {
                let pages = (first..options.pages).step_by(threads);
                let (device, expected) = (&device, &expected);
                scope.spawn(move || look(device, expected, pages))
            })
            .collect();
        parts
            .into_iter()
            .map(|part| match part.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect::<std::io::Result<Vec<_>>>()
    })?;
    let equal: usize = parts.iter().map(|part| part.equal).sum();
    let errors: usize = parts.iter().map(|part| part.errors).sum();
    let mut other: Vec<_> = parts.into_iter().flat_map(|part| part.other).collect();
    other.sort_unstable();
    let counts = format!("equal {equal} errors {errors} other {}", other.len());
    match other.first() {
        Some(first) if !options.count_other => {
            Err(format!("{counts}: page {first} can be read, and is something else").into())
        }
        _ => Ok(counts),
    }
}

/// Reads the pages of one thread.
fn look(
    device: &File,
    expected: &File,
    pages: impl Iterator<Item = usize>,
) -> std::io::Result<Found> {
    let memory = Memory::new(1)?;
    let mut wanted = vec![0; PAGE_SIZE];
    let mut found = Found::default();
    for page in pages {
        let offset = (page * PAGE_SIZE) as u64;
        expected.read_exact_at(&mut wanted, offset)?;
        match memory.read_from(device, 0..1, offset) {
            Ok(PAGE_SIZE) if memory.bytes_are(0, &wanted) => found.equal += 1,
            Ok(PAGE_SIZE) => found.other.push(page),
            Ok(_) => return Err(std::io::Error::other("a page was read in part")),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => found.errors += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
