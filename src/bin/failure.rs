// SPDX-License-Identifier: GPL-2.0

//! Why a program failed: one line for the user, and an exit status. The programs share this file.

use std::fmt::{self, Display, Formatter};
use std::process::ExitCode;

/// The kinds of failures of a program.
pub trait FailureKind: Copy {
    /// The exit status; 2 is for a wrong command line.
    fn status(self) -> u8;
}

/// A failure.
#[derive(Debug)]
pub struct Failure<K> {
    /// Its kind.
    pub kind: K,
    message: String,
}

impl<K: FailureKind> Failure<K> {
    /// A failure with its message.
    pub fn new(kind: K, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// As an exit status.
    pub fn exit_code(&self) -> ExitCode {
        self.kind.status().into()
    }
}

impl<K> Display for Failure<K> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
