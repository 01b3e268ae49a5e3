// SPDX-License-Identifier: GPL-2.0

//! Makes keys.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anemone::key_hierarchy::{MasterKey, Name, ServerKey};
use anemone::secret::Secret;
use rustix::fs::{fstat, FileType};
use rustix::rand::{getrandom, GetRandomFlags};
use zeroize::Zeroizing;

use crate::arguments::{Keygen, Pair};
use crate::exit_status::{Failure, Kind};
use crate::secret_file::SecretFile;
use crate::server_client::ServerClient;
use crate::write;

fn refuse<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(Kind::Other, why))
}

/// Carries out a command.
pub fn keygen(what: &Keygen) -> Result<ExitCode, Failure> {
    match what {
        Keygen::Master { file } => make_master(file),
        Keygen::Server {
            master,
            name,
            client,
        } => server(&read_master(master)?, name, client),
        Keygen::Pair(arguments) => pair(arguments),
    }
}

/// Makes the administrator's key.
fn make_master(path: &Path) -> Result<ExitCode, Failure> {
    let name = path.display();
    let mut key = Zeroizing::new([0; Secret::LEN]);
    // At most 256 bytes come at once and whole.
    getrandom(&mut key[..], GetRandomFlags::empty())
        .or_else(|error| refuse(format!("the kernel gives no random bytes: {error}")))?;
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => refuse(format!(
            "{name} exists and stays as it is: keys may follow from it; give another name"
        )),
        _ => refuse(format!("cannot make {name}: {error}")),
    })?;
    let written = file.write_all(&key[..]).and_then(|()| file.sync_all());
    written.or_else(|error| {
        // It is ours, and of no use.
        let _ = fs::remove_file(path);
        refuse(format!("cannot write {name}: {error}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn read_master(path: &Path) -> Result<MasterKey, Failure> {
    let name = path.display();
    let file = SecretFile::open(path).or_else(refuse)?;
    let len = file.metadata.len();
    let bytes = file.read(Secret::LEN + 1);
    let bytes = bytes.or_else(|error| refuse(format!("cannot read {name}: {error}")))?;
    match bytes.as_slice().try_into() {
        Ok(bytes) => Ok(MasterKey::new(Secret::new(bytes))),
        Err(_) => refuse(format!(
            "{name} has {len} bytes, and an administrator's key has 32: make one with 'anemonectl keygen master'"
        )),
    }
}

/// Prints the file of a server.
fn server(master: &MasterKey, name: &Name, clients: &[ServerClient]) -> Result<ExitCode, Failure> {
    let mut names = HashSet::new();
    if let Some(twice) = clients.iter().find(|client| !names.insert(client.name)) {
        return refuse(format!("--client names '{}' twice", twice.name));
    }
    check_output()?;
    write(|out| print_server(out, name, &master.server_key(name), clients))
}

fn print_server(
    out: &mut Vec<u8>,
    name: &Name,
    key: &ServerKey,
    clients: &[ServerClient],
) -> io::Result<()> {
    let mut digits = Zeroizing::new([0; 2 * Secret::LEN]);
    let digits = base16ct::lower::encode_str(key.secret().bytes(), &mut digits[..]);
    writeln!(out, "# For anemone-server --keys. Only the server and its administrator may read it (mode 600).")?;
    writeln!(out, "server = \"{name}\"")?;
    writeln!(out, "key = \"{}\"", digits.map_err(io::Error::other)?)?;
    for client in clients {
        writeln!(out, "\n[[client]]\nname = \"{}\"", client.name)?;
        writeln!(out, "generation = {}", client.generation)?;
        if let Some(quota) = &client.quota {
            writeln!(out, "quota = \"{quota}\"")?;
        }
    }
    Ok(())
}

/// Writes the key of a pair.
fn pair(arguments: &Pair) -> Result<ExitCode, Failure> {
    if io::stdout().is_terminal() {
        return refuse(
            "the key is 32 bytes that are no text, and are not written to a terminal: pipe them into \
             'anemonectl keyring add MAC' on the client, or into a file (umask 077)",
        );
    }
    check_output()?;
    let server = read_master(&arguments.master)?.server_key(&arguments.server);
    let key = server.pair_secret(&arguments.client, arguments.generation);
    write(|out| out.write_all(key.bytes()))
}

/// Refuses to write secrets to a file that others may use.
fn check_output() -> Result<(), Failure> {
    let output =
        fstat(io::stdout()).or_else(|error| refuse(format!("no standard output: {error}")))?;
    let is_file = FileType::from_raw_mode(output.st_mode) == FileType::RegularFile;
    match is_file && output.st_mode & 0o077 != 0 {
        true => refuse(format!(
            "others may use the file that would get the key (mode {:04o}): give 'umask 077' before, and make a new file",
            output.st_mode & 0o7777
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_master_key_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let bytes = ["a", "b"].map(|name| {
            make_master(&path(name)).unwrap();
            assert_eq!(fs::metadata(path(name)).unwrap().mode() & 0o777, 0o600);
            fs::read(path(name)).unwrap()
        });
        assert_eq!((bytes[0].len(), bytes[1].len()), (32, 32));
        assert_ne!(bytes[0], bytes[1]);
        let error = make_master(&path("a")).unwrap_err().to_string();
        assert!(error.contains("exists and stays as it is"), "{error}");
        assert_eq!(fs::read(path("a")).unwrap(), bytes[0]);
        assert!(read_master(&path("a")).is_ok());
        assert!(make_master(&path("missing/a")).is_err());
    }

    #[test]
    fn what_is_no_master_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for (bytes, mode, why) in [
            (
                &[1; 31][..],
                0o600,
                "has 31 bytes, and an administrator's key has 32",
            ),
            (&[1; 33], 0o600, "has 33 bytes"),
            (&[1; 1000], 0o600, "has 1000 bytes"),
            (&[], 0o600, "has 0 bytes"),
            (&[1; 32], 0o640, "(mode 0640): chmod 600"),
        ] {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = read_master(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_file_of_a_server() {
        let master = MasterKey::new(Secret::new(&std::array::from_fn(|index| index as u8)));
        let name = "alpha".parse().unwrap();
        let clients = ["web3", "db=2:16G"].map(|text| text.parse().unwrap());
        let mut text = Vec::new();
        print_server(&mut text, &name, &master.server_key(&name), &clients).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "# For anemone-server --keys. Only the server and its administrator may read it (mode 600).\n\
             server = \"alpha\"\n\
             key = \"9b1d5d40270c4855509c76cc196d9d115dc840f390e0fc7e17a72ef9e9194d8d\"\n\
             \n[[client]]\nname = \"web3\"\ngeneration = 1\n\
             \n[[client]]\nname = \"db\"\ngeneration = 2\nquota = \"16G\"\n"
        );
        let twice = [clients[0].clone(), clients[0].clone()];
        let error = server(&master, &name, &twice).unwrap_err().to_string();
        assert_eq!(error, "--client names 'web3' twice");
    }
}
