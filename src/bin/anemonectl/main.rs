// SPDX-License-Identifier: GPL-2.0

//! Shows and changes the Anemone device of this machine while it is in use, and makes keys.
//!
//! For the device it calls the module's control device with the structures of [`anemone::uapi`] and reports
//! the result. The module makes all decisions. Keys follow from the administrator's
//! ([`anemone::key_hierarchy`]).

#![deny(unsafe_code)]

mod arguments;
mod commands;
mod device;
mod exit_status;
#[path = "../failure.rs"]
mod failure;
mod json;
mod keygen;
mod keyring;
mod report;
#[path = "../secret_file.rs"]
mod secret_file;
mod server_client;
#[path = "../size.rs"]
mod size;
#[expect(unsafe_code, reason = "the only place where it is allowed")]
mod sys;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use rustix::process::{set_dumpable_behavior, DumpableBehavior};

use arguments::{Arguments, Command, Keyring};
use commands::complain;
use device::Device;
use exit_status::{Failure, Kind};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(&arguments).unwrap_or_else(|failure| {
        complain(&failure.to_string());
        failure.kind.into()
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let open = || Device::open(&arguments.device);
    match &arguments.command {
        Command::Add(add) => commands::add(&open()?, add),
        Command::Remove(remove) => commands::remove(&open()?, remove),
        Command::Attach { path } => commands::attach(&open()?, path),
        Command::Detach { force } => commands::detach(&open()?, *force),
        Command::Status(status) => commands::status(&open()?, status),
        Command::Rekey => commands::rekey(&open()?),
        Command::Keygen(what) => hidden().and_then(|()| keygen::keygen(what)),
        Command::Keyring(Keyring::Add(key)) => hidden().and_then(|()| keyring::add(key)),
        Command::Man => write(|out| clap_mangen::Man::new(Arguments::command()).render(out)),
        Command::Completions { shell } => write(|out| {
            clap_complete::generate(*shell, &mut Arguments::command(), "anemonectl", out);
            Ok(())
        }),
    }
}

/// From now on nobody but root reads this process's memory, and there is no core dump of it.
fn hidden() -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::new(Kind::Other, format!("cannot hide the keys: {error}")))
}

/// Writes to standard output in one piece, and turns an error into a [`Failure`].
fn write(fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    fill(&mut text)
        .and_then(|()| {
            let mut out = io::stdout();
            out.write_all(&text)?;
            out.flush()
        })
        .map_err(|error| Failure::new(Kind::Other, format!("cannot write: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
