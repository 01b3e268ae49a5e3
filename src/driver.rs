// SPDX-License-Identifier: GPL-2.0

//! Glue between the engine, which knows no kernel, and the kernel, which knows no pages.
//!
//! The engine decides what is sent, when, and to which server. The driver decides which locks are
//! held (`docs/locking.md`), in which context code runs, and in which order parts are made and freed.

pub(crate) mod block_device;
pub(crate) mod client;
pub(crate) mod cluster_lock;
pub(crate) mod control_device;
pub(crate) mod debugfs;
mod frame_keys;
mod frame_verdict;
pub(crate) mod identity;
mod ingress;
mod initial_sessions;
mod key_exchange;
pub(crate) mod link;
pub(crate) mod local_disk;
mod log;
pub(crate) mod membership;
pub(crate) mod module;
mod page_seal;
pub(crate) mod params;
pub(crate) mod queue;
pub(crate) mod receive;
pub(crate) mod repair;
pub(crate) mod request_part;
pub(crate) mod shared;
pub(crate) mod snapshot_restore;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod timers_and_work;
pub(crate) mod tx_frames;
mod unload;
pub(crate) mod worker;

impl kernel::fmt::Display for crate::wire::ClientId {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl kernel::fmt::Display for crate::wire::MacAddress {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}
