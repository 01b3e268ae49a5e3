// SPDX-License-Identifier: GPL-2.0

//! The last events of a run as text. It is off while seeds are tried: a failing seed is run again with it.

use std::collections::VecDeque;

/// The most events kept.
const KEPT: usize = 1_000_000;

/// A bounded log.
#[derive(Default)]
pub struct Trace {
    enabled: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// A log that keeps events only if `enabled`.
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            lines: VecDeque::new(),
        }
    }

    /// Adds the text of `line`.
    pub fn note(&mut self, now_ns: u64, line: impl FnOnce() -> String) {
        if !self.enabled {
            return;
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        let (ms, ns) = (now_ns / 1_000_000, now_ns % 1_000_000);
        self.lines.push_back(format!("{ms:>8}.{ns:06} {}", line()));
    }

    /// Its lines, oldest first.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
