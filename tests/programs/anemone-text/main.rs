// SPDX-License-Identifier: GPL-2.0

//! The demo's text: makes it from a seed, the same on every machine, and takes its digest.
//!
//! Knows nothing of Anemone. Both commands can say how many bytes have passed, and when: in a file
//! that always holds the last of it, or line after line on a terminal.
#![forbid(unsafe_code)]

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{clock_gettime, ClockId, Timespec};
use siphasher::sip128::{Hasher128, SipHasher13};

/// Makes text for the demo, and takes its digest.
#[derive(Debug, Parser)]
#[command(name = "anemone-text", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// File that holds the number of bytes so far and the time in nanoseconds; a terminal gets a
    /// line each time
    #[arg(long, value_name = "FILE", global = true)]
    progress: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a journal of some days to standard output: lines of 768 to 1279 bytes, day after day,
    /// those of a day in no order
    Make {
        /// Number that the whole text follows from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Length of the text in MiB
        #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
        mib: u32,
        /// Days that the text is about; 1 is a text without any order
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=99))]
        days: u8,
        /// Begin when the time since the machine's start is next a multiple of so many seconds
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
        begin_at_multiple: Option<u32>,
    },
    /// Print the number of bytes of standard input, their SipHash-1-3 of 128 bits (with a key of
    /// zeros), and the time of their end in nanoseconds
    Digest,
}

/// Bytes between two words on the progress.
const STEP: u64 = 1 << 20;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "anemone-text: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match arguments.command {
        Command::Make {
            seed,
            mib,
            days,
            begin_at_multiple,
        } => {
            if let Some(seconds) = begin_at_multiple {
                wait_for_multiple(seconds.into())?;
            }
            let mut progress = Progress::new("made", arguments.progress.as_ref())?;
            let mut text = Text::new(seed, u64::from(mib) << 20, days.into());
            while let Some(line) = text.next_line() {
                output.write_all(line)?;
                progress.add(line.len() as u64)?;
            }
            progress.show()?;
        }
        Command::Digest => {
            let mut progress = Progress::new("sorted", arguments.progress.as_ref())?;
            let mut input = io::stdin().lock();
            let mut buffer = vec![0; 64 << 10];
            let mut hasher = SipHasher13::new();
            loop {
                let length = input.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                hasher.write(&buffer[..length]);
                progress.add(length as u64)?;
            }
            let digest = hasher.finish128().as_u128();
            writeln!(output, "{} {digest:032x} {}", progress.bytes, now_ns())?;
            progress.show()?;
        }
    }
    output.flush()
}

/// Nanoseconds since the machine was started.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // CAST: this clock begins at zero.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps until the next whole multiple of so many seconds since the machine's start.
fn wait_for_multiple(seconds: i64) -> io::Result<()> {
    let now = clock_gettime(ClockId::Monotonic).tv_sec;
    let moment = Timespec {
        tv_sec: now - now % seconds + seconds,
        tv_nsec: 0,
    };
    while let Err(error) = clock_nanosleep_absolute(ClockId::Monotonic, &moment) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    Ok(())
}

/// The number of bytes so far, in memory and now and then in a file.
struct Progress {
    what: &'static str,
    file: Option<File>,
    bytes: u64,
    shown: u64,
}

impl Progress {
    fn new(what: &'static str, path: Option<&PathBuf>) -> io::Result<Self> {
        let mut progress = Self {
            what,
            file: path.map(File::create).transpose()?,
            bytes: 0,
            shown: 0,
        };
        progress.show()?;
        Ok(progress)
    }

    fn add(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes += bytes;
        if self.bytes - self.shown >= STEP {
            self.show()?;
        }
        Ok(())
    }

    fn show(&mut self) -> io::Result<()> {
        self.shown = self.bytes;
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if file.is_terminal() {
            let line = format!("{} {} {}\n", self.what, self.bytes, now_ns());
            return file.write_all(line.as_bytes());
        }
        // Always as long, so that a reader never sees a part of the last one.
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{:>20} {:>20}\n", self.bytes, now_ns()).as_bytes())
    }
}

/// Least bytes of a line, its end included; up to `LINE_SPREAD` - 1 more follow from the seed.
const LINE_LEAST: u64 = 768;
const LINE_SPREAD: u64 = 512;

/// A text of a given length: lines of random letters behind the number of their day, the last line
/// cut to fit.
struct Text {
    state: u64,
    written: u64,
    bytes: u64,
    days: u64,
    line: Vec<u8>,
}

impl Text {
    fn new(seed: u64, bytes: u64, days: u64) -> Self {
        Self {
            state: seed,
            written: 0,
            bytes,
            days,
            // CAST: a small constant.
            line: Vec::with_capacity((LINE_LEAST + LINE_SPREAD) as usize),
        }
    }

    /// The next line with its end, or nothing after the last.
    fn next_line(&mut self) -> Option<&[u8]> {
        let wanted = LINE_LEAST + self.random() % LINE_SPREAD;
        // CAST: at most the length of a line.
        let length = wanted.min(self.bytes - self.written) as usize;
        // A day has its share of the bytes; there are at most 2^40 of them.
        let day = self.written * self.days / self.bytes + 1;
        self.written += length as u64;
        self.line.clear();
        self.line
            .extend_from_slice(format!("day {day:02} ").as_bytes());
        while self.line.len() < length {
            // Eight letters at once, each `a` to `p` by four bits of its byte.
            let letters = (self.random() & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161;
            self.line.extend_from_slice(&letters.to_le_bytes());
        }
        self.line.truncate(length);
        *self.line.last_mut()? = b'\n';
        Some(&self.line)
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): one addition and two multiplications a number.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(seed: u64, bytes: u64, days: u64) -> Vec<u8> {
        let mut text = Text::new(seed, bytes, days);
        let mut found = Vec::new();
        while let Some(line) = text.next_line() {
            found.extend_from_slice(line);
        }
        found
    }

    fn lines(text: &[u8]) -> Vec<&[u8]> {
        text.split_inclusive(|&byte| byte == b'\n').collect()
    }

    #[test]
    fn a_text_has_its_length_and_whole_lines() {
        for bytes in [1, 2, 767, 768, 1279, 1280, 100_000] {
            let text = whole(7, bytes, 4);
            assert_eq!(text.len() as u64, bytes);
            assert_eq!(text.last(), Some(&b'\n'));
        }
    }

    #[test]
    fn lines_are_about_a_kibibyte_of_letters() {
        let text = whole(1, 1 << 20, 1);
        let lines = lines(&text);
        assert!((900..1150).contains(&lines.len()));
        for line in &lines[..lines.len() - 1] {
            assert!((768..1280).contains(&line.len()));
            let letters = line.strip_prefix(b"day 01 ").expect("a day");
            assert!(letters[..letters.len() - 1]
                .iter()
                .all(|byte| (b'a'..=b'p').contains(byte)));
        }
    }

    #[test]
    fn days_are_in_order_and_frames_within_a_day_are_not() {
        let text = whole(1, 1 << 20, 4);
        let lines = lines(&text);
        assert!(lines.is_sorted_by_key(|line| &line[..6]));
        assert!(lines[0].starts_with(b"day 01"));
        assert!(lines[lines.len() - 1].starts_with(b"day 04"));
        let falling = lines.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((400..600).contains(&falling));
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(whole(3, 10_000, 4), whole(3, 10_000, 4));
        assert_ne!(whole(3, 10_000, 4), whole(4, 10_000, 4));
    }

    #[test]
    fn the_file_has_the_last_progress_only() {
        let path = std::env::temp_dir().join(format!("anemone-text-{}", std::process::id()));
        let mut progress = Progress::new("made", Some(&path)).expect("a file");
        for _ in 0..5 {
            progress.add(STEP / 2).expect("written");
        }
        let read = std::fs::read_to_string(&path).expect("a file");
        std::fs::remove_file(&path).expect("it was there");
        let words: Vec<u64> = read
            .split_whitespace()
            .map(|word| word.parse().expect("a number"))
            .collect();
        assert_eq!(
            (read.lines().count(), words.len(), words[0]),
            (1, 2, 2 * STEP)
        );
        assert!(words[1] > 0 && words[1] <= now_ns());
    }

    #[test]
    fn a_wait_ends_at_the_next_multiple() {
        let before = now_ns() / 1_000_000_000;
        wait_for_multiple(1).expect("slept");
        assert!(now_ns() / 1_000_000_000 > before);
    }

    #[test]
    fn the_first_number_is_that_of_the_published_generator() {
        assert_eq!(Text::new(0, 0, 1).random(), 0xe220_a839_7b1d_cdaf);
    }
}
