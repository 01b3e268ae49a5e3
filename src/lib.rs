// SPDX-License-Identifier: GPL-2.0

//! Host root of Anemone: the modules that kernel and user space share, and nothing else.
//!
//! The kernel module's root is `anemone_main.rs`; both declare the same shared modules. The
//! memory server, the simulator and the tests are built on this one.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod aead;
#[macro_use]
mod bit_set;
pub mod crc;
pub mod engine;
pub mod hmac;
pub mod key_hierarchy;
pub mod secret;
pub mod sync;
pub mod uapi;
pub mod wire;
