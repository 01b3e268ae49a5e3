// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;

use anemone::uapi;
use anemone::wire::MacAddress;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit_status::EXIT_STATUS;

const EXAMPLES: &str = "\
Examples:
  anemonectl status
  anemonectl add 52:54:00:12:34:03
  anemonectl remove 52:54:00:12:34:01
  anemonectl attach /dev/sdb2
  anemonectl status --json | jq -r '.servers[] | select(.health != \"up\") | .mac'";

/// Shows and changes the Anemone device of this machine while it is in use.
///
/// The module anemone must be loaded. All commands need CAP_SYS_ADMIN.
#[derive(Debug, Parser)]
#[command(name = "anemonectl", version, after_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
pub struct Arguments {
    /// Control device of the module
    #[arg(long, value_name = "PATH", default_value = uapi::PATH, global = true)]
    pub device: PathBuf,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Adds memory servers
    Add(Add),
    /// Removes memory servers, each when its pages have been copied elsewhere
    Remove(Remove),
    /// Attaches a local disk, or re-adds a faulty one
    Attach {
        /// An unused block device, at least as large as the Anemone device
        path: PathBuf,
    },
    /// Detaches the local disk; if that is refused or takes too long, the disk is used as before
    Detach {
        /// Detach it even if it has the only copy of some pages, which are then lost
        #[arg(long)]
        force: bool,
    },
    /// Shows the device, its servers and its disk
    Status(Status),
    /// Prints the manual page
    #[command(hide = true)]
    Man,
    /// Prints the completions of a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Arguments of `add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Hardware addresses of the servers
    #[arg(required = true, value_name = "MAC", value_parser = parse_mac)]
    pub servers: Vec<MacAddress>,

    /// Wait this long for the servers to answer, and fail if one does not [default: 3, without
    /// failing]
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,
}

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// Hardware addresses of the servers
    #[arg(required = true, value_name = "MAC", value_parser = parse_mac)]
    pub servers: Vec<MacAddress>,

    /// Remove them at once, without copying pages elsewhere; refused if pages would be lost
    #[arg(long)]
    pub force: bool,

    /// With --force, remove them even if pages are lost
    #[arg(long, requires = "force")]
    pub lose_pages: bool,

    /// Wait this long until the servers are gone, and fail if one is not [default: 3, without
    /// failing]
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Print JSON, as described in docs/administration.md
    #[arg(long)]
    pub json: bool,

    /// Do not count pages, which takes a moment on a large device
    #[arg(long)]
    pub quick: bool,
}

fn parse_mac(text: &str) -> Result<MacAddress, String> {
    text.parse::<MacAddress>()
        .ok()
        .filter(|mac| mac.is_unicast())
        .ok_or_else(|| "not a unicast hardware address, such as 52:54:00:12:34:56".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;
    use clap::CommandFactory;

    fn parse(words: &str) -> Result<Arguments, ErrorKind> {
        let words = words.split_whitespace();
        Arguments::try_parse_from(std::iter::once("anemonectl").chain(words))
            .map_err(|error| error.kind())
    }

    #[test]
    fn clap_accepts_the_definitions() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn commands_are_understood() {
        let arguments = parse("add 52:54:00:12:34:01 52:54:00:12:34:02 --wait 7").unwrap();
        let Command::Add(add) = arguments.command else {
            panic!("{arguments:?}");
        };
        assert_eq!((add.servers.len(), add.wait), (2, Some(7)));
        let arguments = parse("remove 52:54:00:12:34:01 --force --lose-pages").unwrap();
        let Command::Remove(remove) = arguments.command else {
            panic!("{arguments:?}");
        };
        assert!(remove.force && remove.lose_pages && remove.wait.is_none());
        let arguments = parse("--device /x status --json").unwrap();
        assert_eq!(arguments.device, PathBuf::from("/x"));
        let arguments = parse("status --quick --device /x").unwrap();
        assert_eq!(arguments.device, PathBuf::from("/x"));
        assert!(parse("attach /dev/sdb").is_ok());
        assert!(parse("detach --force").is_ok());
        assert_eq!(parse("status").unwrap().device, PathBuf::from(uapi::PATH));
    }

    #[test]
    fn nonsense_is_refused() {
        for (words, kind) in [
            ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("explode", ErrorKind::InvalidSubcommand),
            ("add", ErrorKind::MissingRequiredArgument),
            ("add 52:54:00:12:34", ErrorKind::ValueValidation),
            ("add 52:54:00:12:34:zz", ErrorKind::ValueValidation),
            ("add ff:ff:ff:ff:ff:ff", ErrorKind::ValueValidation),
            ("add 00:00:00:00:00:00", ErrorKind::ValueValidation),
            ("add 52:54:00:12:34:01 --force", ErrorKind::UnknownArgument),
            ("add 52:54:00:12:34:01 --wait x", ErrorKind::ValueValidation),
            ("remove", ErrorKind::MissingRequiredArgument),
            (
                "remove 52:54:00:12:34:01 --lose-pages",
                ErrorKind::MissingRequiredArgument,
            ),
            ("attach", ErrorKind::MissingRequiredArgument),
            ("attach a b", ErrorKind::UnknownArgument),
            ("detach /dev/sdb", ErrorKind::UnknownArgument),
            ("status all", ErrorKind::UnknownArgument),
        ] {
            assert_eq!(parse(words).err(), Some(kind), "{words}");
        }
    }
}
