// SPDX-License-Identifier: GPL-2.0

//! Puts keys into the kernel's keyrings.

use std::ffi::CString;
use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use anemone::secret::Secret;
use zeroize::Zeroizing;

use crate::arguments::{AddKey, InKeyring};
use crate::exit_status::{Failure, Kind};
use crate::sys::{add_logon_key, Keyring};

fn refuse<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(Kind::Other, why))
}

/// Adds the key on standard input.
pub fn add(key: &AddKey) -> Result<ExitCode, Failure> {
    if io::stdin().is_terminal() {
        return refuse(
            "the key comes from standard input, 32 bytes: anemonectl keygen pair ... | anemonectl keyring add MAC",
        );
    }
    let bytes = read_key(io::stdin())?;
    let keyring = match key.keyring {
        InKeyring::Session => Keyring::Session,
        InKeyring::User => Keyring::User,
    };
    let description = format!("{}:{}", key.prefix, key.server);
    let text = CString::new(description.as_bytes()).or_else(|error| refuse(error.to_string()))?;
    match add_logon_key(keyring, &text, &bytes) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => refuse(format!(
            "cannot add the key {description} to the {} keyring: {}",
            match key.keyring {
                InKeyring::Session => "session",
                InKeyring::User => "user",
            },
            explain(&error)
        )),
    }
}

/// Reads 32 bytes, and nothing behind them.
fn read_key(input: impl Read) -> Result<Zeroizing<[u8; Secret::LEN]>, Failure> {
    let most = Secret::LEN + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    // CAST: 33.
    let read = input.take(most as u64).read_to_end(&mut bytes);
    read.or_else(|error| refuse(format!("cannot read standard input: {error}")))?;
    match bytes.as_slice().try_into() {
        Ok(key) => Ok(Zeroizing::new(key)),
        Err(_) => refuse(format!(
            "standard input has {} bytes, and a key has 32: take what 'anemonectl keygen pair' writes",
            match bytes.len() > Secret::LEN {
                true => "more than 32".to_owned(),
                false => bytes.len().to_string(),
            }
        )),
    }
}

/// What an error of the kernel's means here.
fn explain(error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has no keyrings (CONFIG_KEYS)",
        Some(libc::ENODEV) => "this kernel has no keys of type logon",
        Some(libc::EDQUOT) => {
            "this user has too many keys: remove some (keyctl), or raise \
             /proc/sys/kernel/keys/maxkeys and maxbytes (root_maxkeys and root_maxbytes for root)"
        }
        Some(libc::EACCES) => "this user may not write to it (keyctl describe shows who may)",
        Some(libc::EPERM) => {
            "not permitted: a container's filter of system calls may forbid it; run it on the host"
        }
        Some(libc::EKEYREVOKED) => "the keyring was revoked: log in again, or use --keyring user",
        Some(libc::EKEYEXPIRED) => "the keyring has expired: log in again, or use --keyring user",
        _ => return error.to_string(),
    };
    why.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_32_bytes() {
        assert_eq!(*read_key(&[7; 32][..]).unwrap(), [7; 32]);
        for (len, why) in [
            (0, "has 0 bytes"),
            (31, "has 31 bytes"),
            (33, "has more than 32 bytes"),
        ] {
            let error = read_key(&vec![7; len][..]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn errors_tell_what_to_do() {
        for (number, why) in [
            (libc::ENOSYS, "CONFIG_KEYS"),
            (libc::ENODEV, "type logon"),
            (libc::EDQUOT, "root_maxkeys"),
            (libc::EACCES, "may not write"),
            (libc::EPERM, "not permitted"),
            (libc::EKEYREVOKED, "--keyring user"),
        ] {
            let text = explain(&io::Error::from_raw_os_error(number));
            assert!(text.contains(why), "{text}");
        }
    }
}
