// SPDX-License-Identifier: GPL-2.0

//! The logic of client and server, without I/O.
//!
//! Everything here takes time, frames and completions as arguments and returns what is to be
//! done. It never calls the kernel, allocates, waits or logs, and takes no lock; storage is the
//! caller's. So the module, the memory server and the simulator drive the same code.

#[macro_use]
pub mod mutation;

pub mod channel;
pub mod client;
#[cfg(any(not(MODULE), test))]
pub mod server;
