// SPDX-License-Identifier: GPL-2.0

//! The state of the local disk, and the log of its changes.

use kernel::prelude::*;

use super::pool::State;
use crate::engine::client::config::NS_PER_S;

/// The state of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// There is none.
    #[default]
    Absent,
    /// It is being detached.
    Detaching,
    /// It is read and written.
    Usable,
    /// It had too many errors, or is gone. It can be added again.
    Faulty,
    /// It does not answer. It is used again when it does.
    TimedOut,
}

impl Health {
    /// Its name, for people and programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::Detaching => "detaching",
            Self::Usable => "usable",
            Self::Faulty => "faulty",
            Self::TimedOut => "timed_out",
        }
    }
}

impl State {
    /// The disk's state now.
    pub(super) fn health(&self) -> Health {
        if self.device.is_none() {
            Health::Absent
        } else if self.detaching || !self.mirror.is_attached() {
            Health::Detaching
        } else if self.mirror.has_timed_out() {
            Health::TimedOut
        } else if self.mirror.is_faulty() {
            Health::Faulty
        } else {
            Health::Usable
        }
    }

    /// What the disk was when the log last named it, and what it is, if that differs.
    pub(super) fn health_change(&mut self) -> Option<(Health, Health)> {
        let now = self.health();
        let before = core::mem::replace(&mut self.logged, now);
        (before != now).then_some((before, now))
    }
}

/// Logs how the disk has changed.
pub(super) fn log(before: Health, now: Health, io_timeout_ns: u64) {
    match (before, now) {
        (_, Health::TimedOut) => pr_err!(
            "local disk: no answer for {} s; not written to until it answers\n",
            io_timeout_ns / NS_PER_S
        ),
        (Health::TimedOut, Health::Usable) => pr_info!("local disk: it answers again\n"),
        (_, Health::Faulty) => {
            pr_err!("local disk: faulty, no longer used; to use it again, attach it again\n")
        }
        (Health::Faulty, Health::Usable) => pr_info!("local disk: it is used again\n"),
        _ => {}
    }
}
