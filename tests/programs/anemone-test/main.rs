// SPDX-License-Identifier: GPL-2.0

//! The program that kernel tests run on the device, or with the device as swap space.
//!
//! Each command determines by itself what every byte must be, and compares with nothing that lies on the
//! device. It prints one line about what it did, and ends with 1 if a byte is wrong.
#![deny(unsafe_code)]

mod attack;
mod changing;
mod content;
mod control;
mod direct;
mod dirty;
mod frames;
mod json;
mod memalloc;
mod pages;
mod random;
mod rogue;
mod scan;
mod storm;
mod survey;
mod switch;
mod sys;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

/// Bytes of a page, and of the device's blocks.
const PAGE_SIZE: usize = 4096;

/// Works on memory or on a block device, and checks every byte.
#[derive(Parser)]
#[command(name = "anemone-test", version)]
enum Command {
    /// Fills memory page by page, then reads and rewrites it in several orders.
    Pages(pages::Options),
    /// Changes pages again and again while they are paged out.
    Dirty(dirty::Options),
    /// Reads and writes a device past the page cache, from buffers at odd places.
    Direct(direct::Options),
    /// Reads a device's pages one by one, and compares those that can be read.
    Survey(survey::Options),
    /// Writes to a device from buffers that are changed meanwhile.
    Changing(changing::Options),
    /// Makes the kernel allocate memory that it cannot wait for, as fast as possible.
    Storm(storm::Options),
    /// Keeps a socket that is marked for memory allocation, until standard input ends.
    Memalloc(memalloc::Options),
    /// Has a loop device's driver look for partitions, as an opener does.
    Scan(scan::Options),
    /// Makes a switch of Open vSwitch that connects an interface to a new one, or removes it.
    Switch(switch::Options),
    /// Makes wrong calls of the control device.
    Control(control::Options),
    /// Counts the frames that a program on this machine receives, by opcode.
    Listen(frames::Listen),
    /// Sends frames that only a server may send, without being one.
    Forge(frames::Forge),
    /// Answers the challenges of servers, as a client that is alive.
    Alive(frames::Alive),
    /// Serves memory, looks into the pages and returns others.
    Rogue(rogue::Options),
    /// Sees all frames on a switch, and repeats, changes and forges them.
    Attack(attack::Options),
    /// Prints a part of JSON on standard input.
    Json(json::Options),
}

fn main() -> ExitCode {
    let done: Result<String, Box<dyn Error>> = match Command::parse() {
        Command::Pages(options) => pages::run(&options),
        Command::Dirty(options) => dirty::run(&options),
        Command::Direct(options) => direct::run(&options),
        Command::Survey(options) => survey::run(&options),
        Command::Changing(options) => changing::run(&options),
        Command::Storm(options) => storm::run(&options),
        Command::Memalloc(options) => memalloc::run(&options),
        Command::Scan(options) => scan::run(&options),
        Command::Switch(options) => switch::run(&options),
        Command::Control(options) => control::run(&options),
        Command::Listen(options) => frames::listen(&options),
        Command::Forge(options) => frames::forge(&options),
        Command::Alive(options) => frames::alive(&options),
        Command::Rogue(options) => rogue::run(&options),
        Command::Attack(options) => attack::run(&options),
        Command::Json(options) => json::run(&options),
    };
    match done {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("anemone-test: {error}");
            ExitCode::FAILURE
        }
    }
}
