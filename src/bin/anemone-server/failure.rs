// SPDX-License-Identifier: GPL-2.0

//! Why the server cannot serve: one line for the user, and an exit status.

use std::fmt::{self, Display, Formatter};
use std::process::ExitCode;

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
}

impl Kind {
    /// The exit status; 2 is for a wrong command line.
    fn status(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::NoInterface | Self::Interface => 3,
            Self::Privilege => 4,
            Self::Memory => 5,
            Self::Busy => 6,
        }
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
  6  another server serves on this interface";

/// A failure.
#[derive(Debug)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    message: String,
}

impl Failure {
    /// A failure with its message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Appends to the message.
    pub fn with(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// As an exit status.
    pub fn exit_code(&self) -> ExitCode {
        self.kind.status().into()
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
