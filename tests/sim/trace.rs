// SPDX-License-Identifier: GPL-2.0

//! The last events of a run, for people. Off while seeds are tried: a failing one is run again
//! with it.

use std::collections::VecDeque;

/// Events that are kept.
const KEPT: usize = 1_000_000;

/// A bounded log.
#[derive(Default)]
pub struct Trace {
    enabled: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// A log that keeps something only if `enabled`.
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            lines: VecDeque::new(),
        }
    }

    /// Notes what `line` says.
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
