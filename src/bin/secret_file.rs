// SPDX-License-Identifier: GPL-2.0

//! A file with secrets, which nobody else may read. The programs share this file.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// An open file that only its owner may use.
pub struct SecretFile {
    file: File,
    /// Its owner and length.
    pub metadata: Metadata,
}

impl SecretFile {
    /// Opens it. It is refused if others may use it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("cannot open {}: {error}", path.display());
        // A pipe is refused below, and not waited for.
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        let name = path.display();
        if !metadata.is_file() {
            return Err(format!("{name} is not a file"));
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(format!(
                "{name} has secrets, and others than its owner may use it (mode {mode:04o}): chmod 600 {name}, \
                 and take new keys if somebody may have read it"
            ));
        }
        Ok(Self { file, metadata })
    }

    /// Its bytes, up to `most`. They are wiped when they are dropped.
    pub fn read(self, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::new());
        // With room for all of them no part is left behind when the vector grows.
        let len = usize::try_from(self.metadata.len()).unwrap_or(usize::MAX);
        bytes.reserve(len.min(most).saturating_add(1));
        // CAST: there are no longer files.
        self.file.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_owner_may_have_access() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, b"secret").unwrap();
        for (mode, is_right) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o620, false),
            (0o604, false),
            (0o601, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match SecretFile::open(&path) {
                Ok(file) => {
                    assert!(is_right, "{mode:o}");
                    assert_eq!(file.metadata.uid(), rustix::process::geteuid().as_raw());
                    assert_eq!(file.read(100).unwrap()[..], *b"secret");
                }
                Err(error) => {
                    assert!(!is_right, "{error}");
                    assert!(error.contains(&format!("{mode:04o}")), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for (path, why) in [
            (directory.path().to_owned(), "is not a file"),
            ("/dev/null".into(), "is not a file"),
            (directory.path().join("missing"), "cannot open"),
        ] {
            let error = SecretFile::open(&path).err().unwrap();
            assert!(error.contains(why), "{error}");
        }
    }
}
