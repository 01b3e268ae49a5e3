// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of the kernel interfaces that the kernel crate does not cover (yet), each named
//! as the kernel names it. All `unsafe` code of the module is here and below.
//!
//! A wrapper knows nothing of Anemone: no protocol, no policy, no state beyond that of the kernel
//! object that it wraps.

mod crc32c;
pub(crate) mod hrtimer;
pub(crate) mod ingress;
pub(crate) mod memalloc_socket;
pub(crate) mod mq;
pub(crate) mod net_device;
mod shim;
pub(crate) mod skb;

pub(crate) use crc32c::crc32c;
