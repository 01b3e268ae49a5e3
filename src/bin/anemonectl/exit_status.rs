// SPDX-License-Identifier: GPL-2.0

//! The kinds of failures, and their exit statuses.

use crate::failure::{self, FailureKind};

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The module refused it, or any other failure.
    Other,
    /// There is no control device, or it is not one.
    NoDevice,
    /// CAP_SYS_ADMIN is missing.
    Privilege,
    /// It is under way, but did not finish in time.
    Unfinished,
}

impl FailureKind for Kind {
    fn status(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::NoDevice => 3,
            Self::Privilege => 4,
            Self::Unfinished => 5,
        }
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
