// SPDX-License-Identifier: GPL-2.0

//! A hard disk for the demo, in memory: the kernel's network block device, with the seeks and the
//! turns of a real disk.
//!
//! The program does not know Anemone. It sleeps for as long as the disk would take, which costs nothing if
//! time is a count of instructions. The kernel's and this program's time for a request is added, as that of
//! a real disk's interface would be.
#![deny(unsafe_code)]

mod drive;
mod extents;
mod mechanics;
mod nbd;
#[allow(unsafe_code, reason = "system calls")]
mod sys;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::mm::{mlockall, MlockAllFlags};
use rustix::process::{configure_io_flusher_behavior, setpriority_process};
use rustix::time::{clock_gettime, ClockId};

use drive::Drive;
use mechanics::Access;
use sys::{ioctl, Ioctl};

const BLOCK: usize = 4096;

/// A hard disk of 7200 turns a minute, in memory.
#[derive(Debug, Parser)]
#[command(name = "anemone-disk", version)]
struct Arguments {
    /// Network block device that becomes the disk
    #[arg(long, value_name = "PATH")]
    device: PathBuf,
    /// Size in MiB: the disk's first, outermost tracks
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    mib: u32,
    /// Size of the write cache in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1 << 10))]
    cache_mib: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "anemone-disk: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    // CAST: at most 2^20 MiB.
    let mut platter = vec![0_u8; (arguments.mib as usize) << 20];
    let mut drive = Drive::new(u64::from(arguments.cache_mib) << 20);
    let (mut stop, stopper) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, stopper)?;
    // Swap must not wait for itself: this program is not paged out, and its allocations wait for no
    // page-out.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?;
    configure_io_flusher_behavior(true)?;
    // A disk waits for no processor, and its timers have no slack.
    setpriority_process(None, -20)?;
    fs::write("/proc/self/timerslack_ns", "1")?;

    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&arguments.device)?;
    let (mut kernel, theirs) = UnixStream::pair()?;
    ioctl(&device, Ioctl::SetBlockSize, BLOCK)?;
    ioctl(&device, Ioctl::SetBlocks, platter.len() / BLOCK)?;
    ioctl(&device, Ioctl::SetFlags, nbd::FLAGS)?;
    // CAST: a descriptor is not negative.
    ioctl(&device, Ioctl::SetSocket, theirs.as_raw_fd() as usize)?;
    let work = device.try_clone()?;
    let worker = thread::spawn(move || work_until_disconnected(&work));

    loop {
        let (is_asked, is_stopped) = wait(&kernel, &stop, drive.next_ns())?;
        if is_stopped {
            stop.read_exact(&mut [0])?;
            ioctl(&device, Ioctl::Disconnect, 0)?;
        }
        if is_asked && !take(&mut kernel, &mut drive, &mut platter)? {
            break;
        }
        answer(&mut kernel, &mut drive, &platter)?;
    }
    drop(kernel);
    let ended = worker.join();
    let printed = writeln!(io::stdout(), "{:?}", drive.counts);
    ended.unwrap_or_else(|_| Err(io::Error::other("the worker panicked")))?;
    printed
}

/// The kernel's part of the work, in a thread of this program.
fn work_until_disconnected(device: &File) -> io::Result<()> {
    let result = ioctl(device, Ioctl::DoIt, 0);
    ioctl(device, Ioctl::ClearSocket, 0)?;
    result
}

/// Waits for a request of the kernel, a signal, or the time limit. Returns whether a request and whether a
/// signal has arrived.
fn wait(kernel: &UnixStream, stop: &UnixStream, until_ns: Option<u64>) -> io::Result<(bool, bool)> {
    let time = until_ns.map(|until_ns| timespec(until_ns.saturating_sub(now_ns())));
    let mut watched = [
        PollFd::new(kernel, PollFlags::IN),
        PollFd::new(stop, PollFlags::IN),
    ];
    match poll(&mut watched, time.as_ref()) {
        // A signal, which has put its byte into the socket.
        Err(rustix::io::Errno::INTR) => Ok((false, false)),
        other => {
            other?;
            let [is_asked, is_stopped] = watched.map(|one| !one.revents().is_empty());
            Ok((is_asked, is_stopped))
        }
    }
}

/// Takes a request, and the bytes that it writes. Returns false after the last one.
fn take(kernel: &mut UnixStream, drive: &mut Drive, platter: &mut [u8]) -> io::Result<bool> {
    let Some(request) = nbd::read_request(kernel)? else {
        return Ok(false);
    };
    let place = nbd::place(platter, &request.range)?;
    if request.access == Access::Write {
        kernel.read_exact(&mut platter[place])?;
    }
    drive.submit(request, now_ns());
    Ok(true)
}

/// Answers the requests that have ended by now.
fn answer(kernel: &mut UnixStream, drive: &mut Drive, platter: &[u8]) -> io::Result<()> {
    for request in drive.advance(now_ns()) {
        let data = match request.access {
            Access::Read => &platter[nbd::place(platter, &request.range)?],
            Access::Write => &[],
        };
        nbd::write_reply(kernel, request.cookie, data)?;
    }
    Ok(())
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // CAST: this clock begins at zero.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn timespec(time_ns: u64) -> Timespec {
    // CAST: both fit.
    Timespec {
        tv_sec: (time_ns / 1_000_000_000) as _,
        tv_nsec: (time_ns % 1_000_000_000) as _,
    }
}
