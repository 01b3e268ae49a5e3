// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;

use anemone::key_hierarchy::Name;
use anemone::uapi;
use anemone::wire::MacAddress;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::exit_status::EXIT_STATUS;
use crate::server_client::ServerClient;

const EXAMPLES: &str = "\
Examples:
  anemonectl status
  anemonectl add 52:54:00:12:34:03
  anemonectl remove 52:54:00:12:34:01
  anemonectl attach /dev/sdb2
  anemonectl keygen server --master master.key --name alpha --client web3 >alpha.toml
  anemonectl status --json | jq -r '.servers[] | select(.health != \"up\") | .mac'";

/// Shows and changes the Anemone device of this machine while it is in use, and makes keys.
///
/// The module anemone must be loaded, and CAP_SYS_ADMIN is needed; 'keygen' and 'keyring' need neither.
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
    /// Has the module read the keys of its servers from the keyring again, and sign frames with what follows
    /// from them
    Rekey,
    /// Makes keys: the administrator's, a server's, a client's
    #[command(subcommand)]
    Keygen(Keygen),
    /// Puts keys into the kernel, from where the module takes them
    #[command(subcommand)]
    Keyring(Keyring),
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

/// What to make.
#[derive(Debug, Subcommand)]
pub enum Keygen {
    /// Makes the key from which all others follow, in a new file that only you can read
    Master {
        /// The new file: keep it on the administrator's machine, with a copy, and nowhere else
        file: PathBuf,
    },
    /// Prints the file for 'anemone-server --keys': the server's key and its clients
    Server {
        /// File with the administrator's key
        #[arg(long, value_name = "FILE")]
        master: PathBuf,

        /// The server's name; never use a name for a second server
        #[arg(long, value_name = "SERVER")]
        name: Name,

        /// A client, the generation of its key (1 without), and the memory that it may use; may be
        /// repeated. Clients can also be added to the file by hand
        #[arg(long, value_name = "NAME[=GENERATION][:QUOTA]")]
        client: Vec<ServerClient>,
    },
    /// Writes the key that a client and a server share to standard output, 32 bytes
    Pair(Pair),
}

/// Arguments of `keygen pair`.
#[derive(Debug, Args)]
pub struct Pair {
    /// File with the administrator's key
    #[arg(long, value_name = "FILE")]
    pub master: PathBuf,

    /// The server's name
    #[arg(long, value_name = "SERVER")]
    pub server: Name,

    /// The client's name
    #[arg(long, value_name = "CLIENT")]
    pub client: Name,

    /// The generation, as in the server's file
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub generation: u32,
}

/// What to do with the kernel's keyrings.
#[derive(Debug, Subcommand)]
pub enum Keyring {
    /// Adds the key of a server, or replaces it: 32 bytes from standard input, which no program can
    /// read afterwards
    Add(AddKey),
}

/// Arguments of `keyring add`.
#[derive(Debug, Args)]
pub struct AddKey {
    /// Hardware address of the server
    #[arg(value_name = "MAC", value_parser = parse_mac)]
    pub server: MacAddress,

    /// Keyring that gets the key. The module looks in the session keyring of the process that loads
    /// it, adds a server or has the keys changed, and in the keyrings to which that one is linked
    #[arg(long, value_enum, default_value_t = InKeyring::User)]
    pub keyring: InKeyring,

    /// First part of the key's description, as in the module's parameter keys=; the address follows
    /// after a colon
    #[arg(long, value_name = "PREFIX", default_value = "anemone")]
    pub prefix: Name,
}

/// A keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InKeyring {
    /// This session's: the key is gone when the session ends
    Session,
    /// This user's: the key stays as long as the user has a process, root's until the machine is shut
    /// down. It is found from sessions that are linked to it, as those of a login are (in a unit:
    /// KeyringMode=shared)
    User,
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
        let arguments = parse("keygen pair --master m --server a --client b").unwrap();
        let Command::Keygen(Keygen::Pair(pair)) = arguments.command else {
            panic!("{arguments:?}");
        };
        assert_eq!(pair.generation, 1);
        assert!(parse("keygen master m").is_ok());
        assert!(parse("keygen server --master m --name a").is_ok());
        assert!(parse("keygen server --master m --name a --client b --client c=2:1G").is_ok());
        assert!(parse("keyring add 52:54:00:12:34:01 --keyring session").is_ok());
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
            (
                "keygen",
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ),
            ("keygen master", ErrorKind::MissingRequiredArgument),
            (
                "keygen server --master m",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "keygen server --master m --name a/b",
                ErrorKind::ValueValidation,
            ),
            (
                "keygen server --master m --name a --client b=0",
                ErrorKind::ValueValidation,
            ),
            (
                "keygen pair --master m --server a --client b --generation 0",
                ErrorKind::ValueValidation,
            ),
            (
                "keygen pair --master m --server a",
                ErrorKind::MissingRequiredArgument,
            ),
            ("keyring add", ErrorKind::MissingRequiredArgument),
            ("keyring add 52:54:00:12:34", ErrorKind::ValueValidation),
            (
                "keyring add 52:54:00:12:34:01 --keyring thread",
                ErrorKind::InvalidValue,
            ),
            (
                "keyring add 52:54:00:12:34:01 --prefix a:b",
                ErrorKind::ValueValidation,
            ),
        ] {
            assert_eq!(parse(words).err(), Some(kind), "{words}");
        }
    }
}
