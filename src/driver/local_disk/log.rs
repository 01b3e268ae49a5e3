// SPDX-License-Identifier: GPL-2.0

//! The text of each change of the local disk's state.

use kernel::prelude::*;

use crate::engine::client::{
    config::NS_PER_S,
    mirror::Health, //
};

/// Logs how the disk has changed.
pub(super) fn health_changed(before: Health, now: Health, disk_timeout_ns: u64) {
    let timeout_s = disk_timeout_ns / NS_PER_S;
    match (before, now) {
        (_, Health::TimedOut) => {
            pr_err!("local disk: no answer for {timeout_s} s; not written to until it answers\n")
        }
        (Health::TimedOut, Health::Usable) => pr_info!("local disk: it answers again\n"),
        (_, Health::Faulty) => {
            pr_err!("local disk: faulty, no longer used; to use it again, attach it again\n")
        }
        (Health::Faulty, Health::Usable) => pr_info!("local disk: it is used again\n"),
        _ => {}
    }
}
