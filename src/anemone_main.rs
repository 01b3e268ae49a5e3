// SPDX-License-Identifier: GPL-2.0

//! Kernel root of Anemone: the module, and the modules that it shares with user space.
//!
//! The host root is `lib.rs`; both declare the same shared modules.

pub mod aead;
#[macro_use]
mod bit_set;
pub mod crc;
mod driver;
pub mod engine;
pub mod hmac;
mod linux;
pub mod secret;
pub mod sync;
pub mod uapi;
pub mod wire;

use kernel::prelude::*;

module! {
    type: driver::module::Anemone,
    name: "anemone",
    authors: ["The Anemone developers"],
    description: "Swap to the idle memory of neighbouring machines over raw Ethernet",
    license: "GPL v2",
}
