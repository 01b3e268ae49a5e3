// SPDX-License-Identifier: GPL-2.0

//! The kinds of failures, and their exit statuses.

use std::process::ExitCode;

use crate::failure;

/// The kind of a failure, with its exit status. 2 is for a wrong command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The module refused it, or any other failure.
    Other = 1,
    /// There is no control device, or it is not one.
    NoDevice = 3,
    /// CAP_SYS_ADMIN is missing.
    Privilege = 4,
    /// It is under way, but did not finish in time.
    Unfinished = 5,
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        Self::from(kind as u8)
    }
}

/// For `--help`.
pub const EXIT_STATUS: &str = "\
Exit status:
  0  done, or under way
  1  refused; the message says why
  2  wrong command line
  3  there is no control device: the module is not loaded, or has another version
  4  missing privilege: CAP_SYS_ADMIN is needed
  5  under way, but not finished within --wait";

/// A failure of this program.
pub type Failure = failure::Failure<Kind>;
