// SPDX-License-Identifier: GPL-2.0

//! The logic of client and server, without I/O.

pub mod server;
pub mod store;
