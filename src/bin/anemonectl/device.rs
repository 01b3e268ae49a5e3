// SPDX-License-Identifier: GPL-2.0

//! The module's control device.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::exit_status::{Failure, Kind};
use crate::sys::{self, Argument};

/// The control device, open.
pub struct Device {
    file: File,
    name: String,
}

impl Device {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(
                Kind::NoDevice,
                format!("{name} does not exist: load the module first, with insmod anemone.ko interface=... servers=..."),
            ),
            ErrorKind::PermissionDenied => no_privilege(),
            _ => Failure::new(Kind::NoDevice, format!("cannot open {name}: {error}")),
        })?;
        Ok(Self { file, name })
    }

    /// Calls an ioctl. `Ok` holds the error number if the module refused it for a reason of this ioctl's own.
    pub fn call<T: Argument>(&self, argument: &mut T) -> Result<Option<i32>, Failure> {
        loop {
            let Err(error) = sys::ioctl(&self.file, argument) else {
                return Ok(None);
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EPERM) => return Err(no_privilege()),
                Some(libc::ENOTTY) => {
                    return Err(Failure::new(
                        Kind::NoDevice,
                        format!(
                            "{} does not know this command: it is another device, or the module has another version",
                            self.name
                        ),
                    ));
                }
                Some(number) => return Ok(Some(number)),
                None => return Err(other(&error)),
            }
        }
    }

    /// [`Self::call`] for an ioctl that has no errors of its own.
    pub fn ask<T: Argument>(&self, argument: &mut T) -> Result<(), Failure> {
        match self.call(argument)? {
            None => Ok(()),
            Some(number) => Err(other(&io::Error::from_raw_os_error(number))),
        }
    }
}

fn no_privilege() -> Failure {
    Failure::new(
        Kind::Privilege,
        "not permitted: CAP_SYS_ADMIN is needed; run it as root, or with sudo",
    )
}

fn other(error: &io::Error) -> Failure {
    Failure::new(Kind::Other, format!("the module refuses: {error}"))
}
