// SPDX-License-Identifier: GPL-2.0

//! Direct I/O from and to buffers that begin at any multiple of 512 bytes, in pieces.
//!
//! Such a block spans two user pages, or is gathered from several. A read must not change the bytes around
//! each piece of its buffer.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::io::{preadv, pwritev};

use crate::content::Content;
use crate::random::Random;
use crate::PAGE_SIZE;

/// The alignment of buffers.
const SECTOR: usize = 512;
/// Blocks of the longest request.
const MOST_BLOCKS: usize = 40;
/// The bytes between pieces.
const GUARD: u8 = 0xa5;

/// Options of `direct`.
#[derive(clap::Args)]
pub struct Options {
    /// The device
    #[arg(long, default_value = "/dev/anemone")]
    device: PathBuf,
    /// Number of blocks that each thread uses
    #[arg(long, default_value_t = 1024)]
    blocks: usize,
    /// Threads, each with blocks of its own
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Reads and writes of each thread
    #[arg(long, default_value_t = 1000)]
    operations: usize,
    /// Continues as long as this file exists, regardless of --operations
    #[arg(long = "while", value_name = "FILE")]
    while_there: Option<PathBuf>,
    /// Seed of contents, places and lengths
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A buffer in pieces: their places in memory.
struct Layout {
    pieces: Vec<(usize, usize)>,
    end: usize,
}

impl Layout {
    /// A layout for `len` bytes: a few pieces of whole sectors, mostly at odd sectors.
    fn new(random: &mut Random, len: usize) -> Self {
        let mut pieces = Vec::new();
        let mut place = 0;
        let mut left = len;
        let many = random.below(3) == 0;
        while left > 0 {
            place += SECTOR * (1 + random.below(8));
            let most = left / SECTOR;
            let sectors = match many {
                true => 1 + random.below(most.min(24)),
                false => most,
            };
            let piece = sectors * SECTOR;
            pieces.push((place, piece));
            place += piece;
            left -= piece;
        }
        let end = place + SECTOR;
        Self { pieces, end }
    }
}

/// Memory with a part that begins at a page boundary.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new(len: usize) -> Self {
        let memory = vec![GUARD; len + PAGE_SIZE];
        let start = memory.as_ptr().align_offset(PAGE_SIZE);
        Self { memory, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }

    /// The pieces of `layout`, to be written to.
    fn pieces<'a>(&'a mut self, layout: &Layout) -> Vec<&'a mut [u8]> {
        let mut rest = self.bytes();
        let mut done = 0;
        let mut pieces = Vec::new();
        for &(place, len) in &layout.pieces {
            let (piece, after) = rest.split_at_mut(place - done).1.split_at_mut(len);
            pieces.push(piece);
            rest = after;
            done = place + len;
        }
        pieces
    }

    /// Joins the bytes of `layout`. An error if other bytes were written to.
    fn gather(&mut self, layout: &Layout) -> Result<Vec<u8>, String> {
        let mut gathered = Vec::new();
        for piece in self.pieces(layout) {
            gathered.extend_from_slice(piece);
            piece.fill(GUARD);
        }
        match self.memory.iter().position(|&byte| byte != GUARD) {
            None => Ok(gathered),
            Some(place) => Err(format!(
                "byte {} of the buffer, beside its pieces {:?}, has been written to",
                place.wrapping_sub(self.start),
                layout.pieces
            )),
        }
    }
}

/// The device and its expected contents.
struct Device {
    file: File,
    seed: u64,
    /// Where these blocks begin on the device.
    start: u64,
    versions: Vec<u64>,
}

impl Device {
    fn offset(&self, block: usize) -> u64 {
        self.start + (block * PAGE_SIZE) as u64
    }

    fn content(&self, block: usize) -> Content {
        Content::new(self.seed, block, self.versions[block])
    }

    fn write(
        &mut self,
        random: &mut Random,
        first: usize,
        blocks: usize,
    ) -> Result<(), Box<dyn Error>> {
        let mut bytes = vec![0; blocks * PAGE_SIZE];
        for (index, page) in bytes.chunks_exact_mut(PAGE_SIZE).enumerate() {
            self.versions[first + index] += 1;
            self.content(first + index).emit(page);
        }
        let layout = Layout::new(random, bytes.len());
        let mut buffer = Buffer::new(layout.end);
        let mut rest = &bytes[..];
        let mut pieces = buffer.pieces(&layout);
        for piece in &mut pieces {
            let (bytes, after) = rest.split_at(piece.len());
            piece.copy_from_slice(bytes);
            rest = after;
        }
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let written = pwritev(&self.file, &slices, self.offset(first))
            .map_err(|error| format!("writing {blocks} blocks from {first} on: {error}"))?;
        expect_len("written", written, bytes.len())
    }

    fn read(&self, random: &mut Random, first: usize, blocks: usize) -> Result<(), Box<dyn Error>> {
        let layout = Layout::new(random, blocks * PAGE_SIZE);
        let mut buffer = Buffer::new(layout.end);
        let mut pieces = buffer.pieces(&layout);
        let mut slices: Vec<_> = pieces
            .iter_mut()
            .map(|piece| IoSliceMut::new(piece))
            .collect();
        let read = preadv(&self.file, &mut slices, self.offset(first))
            .map_err(|error| format!("reading {blocks} blocks from {first} on: {error}"))?;
        expect_len("read", read, blocks * PAGE_SIZE)?;
        let bytes = buffer.gather(&layout)?;
        for (index, page) in bytes.chunks_exact(PAGE_SIZE).enumerate() {
            self.check(first + index, page)?;
        }
        Ok(())
    }

    fn check(&self, block: usize, page: &[u8]) -> Result<(), Box<dyn Error>> {
        Ok(self.content(block).check_bytes(page)?)
    }
}

fn expect_len(done: &str, len: usize, expected: usize) -> Result<(), Box<dyn Error>> {
    match len == expected {
        true => Ok(()),
        false => Err(format!("{done} were {len} bytes of {expected}").into()),
    }
}

/// Runs the program.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let operations = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads)
            .map(|number| {
                scope.spawn(move || work(options, number).map_err(|error| error.to_string()))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .sum::<Result<usize, String>>()
    })?;
    Ok(format!(
        "direct: {} threads, {} blocks each, {operations} reads and writes, all as they must be",
        options.threads, options.blocks
    ))
}

/// The work of one thread. Returns the number of reads and writes.
fn work(options: &Options, number: usize) -> Result<usize, Box<dyn Error>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&options.device)?;
    let seed = options.seed ^ ((number as u64) << 32);
    let mut device = Device {
        file,
        seed,
        start: (number * options.blocks * PAGE_SIZE) as u64,
        versions: vec![0; options.blocks],
    };
    let mut random = Random::new(seed);
    let most = MOST_BLOCKS.min(options.blocks);
    for first in (0..options.blocks).step_by(most) {
        device.write(&mut random, first, most.min(options.blocks - first))?;
    }
    let continues = |operation: usize| match &options.while_there {
        Some(path) => path.exists(),
        None => operation < options.operations,
    };
    let mut operation = 0;
    while continues(operation) {
        let longest = if operation % 4 < 2 { most } else { 3.min(most) };
        let blocks = 1 + random.below(longest);
        let first = random.below(options.blocks - blocks + 1);
        match operation % 2 {
            0 => device.write(&mut random, first, blocks)?,
            _ => device.read(&mut random, first, blocks)?,
        }
        operation += 1;
    }
    let mut page = Buffer::new(PAGE_SIZE);
    for block in 0..options.blocks {
        let bytes = &mut page.bytes()[..PAGE_SIZE];
        device.file.read_exact_at(bytes, device.offset(block))?;
        device.check(block, bytes)?;
    }
    Ok(operation)
}
