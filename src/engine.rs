// SPDX-License-Identifier: GPL-2.0

//! The logic of client and server, without I/O.
//!
//! Everything here takes time, frames and completions as arguments and returns what is to be
//! done. It never calls the kernel, allocates, waits or logs, and takes no lock; storage is the
//! caller's. So the module, the memory server, the simulator and the fuzzers drive the same code.

#[macro_use]
pub mod mutation;

pub mod census;
pub mod cluster;
pub mod config;
pub mod copies;
pub mod counters;
pub mod device;
pub mod disk;
pub mod disk_drain;
pub mod drain;
pub mod free;
pub mod histogram;
pub mod ids;
pub mod inbox;
pub mod mirror;
pub mod notice;
pub mod page_map;
pub mod placement;
pub mod quantile;
pub mod repair;
pub mod rtt;
#[cfg(not(MODULE))]
pub mod server;
pub mod server_table;
pub mod shard;
pub mod stations;
#[cfg(not(MODULE))]
pub mod store;
pub mod versions;
pub mod window;
