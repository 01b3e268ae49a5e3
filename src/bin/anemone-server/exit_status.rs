// SPDX-License-Identifier: GPL-2.0

//! The kinds of failures, and their exit statuses.

use std::process::ExitCode;

use crate::failure;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any other failure.
    Other,
    /// There is no such interface.
    NoInterface,
    /// The interface is not suitable.
    Interface,
    /// CAP_NET_RAW is missing.
    Privilege,
    /// There is less memory than requested, or it may not be locked.
    Memory,
    /// Another server serves on this interface.
    Busy,
    /// The file with the keys is missing or wrong, or others may use it.
    Keys,
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        // 2 is for a wrong command line.
        Self::from(match kind {
            Kind::Other => 1,
            Kind::NoInterface | Kind::Interface => 3,
            Kind::Privilege => 4,
            Kind::Memory => 5,
            Kind::Busy => 6,
            Kind::Keys => 7,
        })
    }
}

/// For `--help`.
pub const EXIT_STATUS: &str = "\
Exit status:
  0  ended by SIGTERM or SIGINT
  1  another failure
  2  wrong command line
  3  the interface is missing, not Ethernet, or a port of another interface
  4  missing privilege: CAP_NET_RAW is needed
  5  too little memory, or it may not be locked
  6  another server serves on this interface
  7  the file with the keys is missing or wrong, or others may use it";

/// A failure of this program.
pub type Failure = failure::Failure<Kind>;
