// SPDX-License-Identifier: GPL-2.0

//! Why a program failed: one line for the user, and an exit status. The programs share this file.

use std::fmt::{self, Display, Formatter};

/// A failure.
#[derive(Debug)]
pub struct Failure<K> {
    /// Its kind, which determines the exit status.
    pub kind: K,
    message: String,
}

impl<K> Failure<K> {
    /// A failure with its message.
    pub fn new(kind: K, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl<K> Display for Failure<K> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
