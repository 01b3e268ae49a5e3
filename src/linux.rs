// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of the kernel interfaces that the kernel crate does not cover (yet), each named
//! as the kernel names it. All `unsafe` code of the module is here and below.
//!
//! A wrapper knows nothing of Anemone: no protocol, no policy, no state beyond that of the kernel
//! object that it wraps.

pub(crate) mod alloc;
pub(crate) mod bio;
pub(crate) mod block_device;
mod copy;
mod crc32c;
pub(crate) mod debugfs;
pub(crate) mod hrtimer;
pub(crate) mod ingress;
pub(crate) mod machine;
pub(crate) mod memalloc_socket;
pub(crate) mod misc_device;
pub(crate) mod module;
pub(crate) mod mq;
pub(crate) mod net_device;
mod notifier_block;
pub(crate) mod page;
pub(crate) mod param;
pub(crate) mod pm_notifier;
pub(crate) mod random;
pub(crate) mod rcu_cell;
pub(crate) mod sched;
mod shim;
pub(crate) mod siphash;
pub(crate) mod skb;
pub(crate) mod softirq;
pub(crate) mod try_cell;
pub(crate) mod vmfork_notifier;
pub(crate) mod workqueue;

pub(crate) use crc32c::crc32c;
