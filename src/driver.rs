// SPDX-License-Identifier: GPL-2.0

//! Glue between the engine, which knows no kernel, and the kernel, which knows no pages.
//!
//! The engine decides what is sent, when, and to which server. The driver decides which locks are
//! held (`docs/locking.md`), in which context code runs, and in which order parts are made and freed.

pub(crate) mod control;
pub(crate) mod control_device;
pub(crate) mod core;
pub(crate) mod debugfs;
pub(crate) mod disk;
pub(crate) mod earlier;
pub(crate) mod frames;
pub(crate) mod identity;
mod ingress;
pub(crate) mod link;
pub(crate) mod local;
pub(crate) mod module;
pub(crate) mod params;
mod plight;
pub(crate) mod queue;
pub(crate) mod receive;
pub(crate) mod removal;
pub(crate) mod repair;
pub(crate) mod request_part;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod timer;
pub(crate) mod worker;

impl kernel::fmt::Display for crate::wire::ClientId {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        ::core::fmt::Display::fmt(self, f)
    }
}

impl kernel::fmt::Display for crate::wire::MacAddress {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        ::core::fmt::Display::fmt(self, f)
    }
}
