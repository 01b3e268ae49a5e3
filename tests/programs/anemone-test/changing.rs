// SPDX-License-Identifier: GPL-2.0

//! Direct writes from buffers that are changed while they are written.
//!
//! Such a write may leave any mixture, or an error. But all copies of it must be equal. The test reads each
//! copy and compares them.

use std::error::Error;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::random::{mix, Random};
use crate::sys::Memory;
use crate::PAGE_SIZE;

/// Options of `changing`.
#[derive(clap::Args)]
pub struct Options {
    /// The device
    #[arg(long, default_value = "/dev/anemone")]
    device: PathBuf,
    /// Number of blocks that are written, from the first
    #[arg(long, default_value_t = 256)]
    blocks: usize,
    /// Blocks of a write
    #[arg(long, default_value_t = 8)]
    length: usize,
    /// Continues as long as this file exists
    #[arg(long = "while", value_name = "FILE")]
    while_there: PathBuf,
    /// Seed of places and words
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the program.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&options.device)?;
    let length = options.length.clamp(1, options.blocks);
    let memory = Memory::new(length)?;
    // Present before the first write: a page of zeros for all would never change under it.
    for (index, word) in memory.words().iter().enumerate() {
        word.store(mix(options.seed ^ index as u64), Relaxed);
    }
    let stop = AtomicBool::new(false);
    let (mut writes, mut errors) = (0_u64, 0_u64);
    let mut random = Random::new(options.seed);
    let changes = std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut random = Random::new(!options.seed);
            let mut changes = 0_u64;
            while !stop.load(Relaxed) {
                let words = memory.words();
                words[random.below(words.len())].store(random.next(), Relaxed);
                changes += 1;
            }
            changes
        });
        while options.while_there.exists() {
            let first = random.below(options.blocks - length + 1);
            let offset = (first * PAGE_SIZE) as u64;
            match memory.write_to(&file, 0..length, offset) {
                Ok(len) if len == length * PAGE_SIZE => writes += 1,
                // An I/O error is a right answer, and so is a short write.
                Ok(_) => errors += 1,
                Err(error) if error.raw_os_error() == Some(libc::EIO) => errors += 1,
                Err(error) => {
                    stop.store(true, Relaxed);
                    return Err(error);
                }
            }
        }
        stop.store(true, Relaxed);
        changer
            .join()
            .map_err(|_| std::io::Error::other("the changing thread failed"))
    })?;
    Ok(format!(
        "changing: {writes} writes, {errors} errors, {changes} changes meanwhile"
    ))
}
