// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets do with their input. Each `run` panics if something is wrong.

pub mod exchange;
pub mod frame;
pub mod server;

mod client;
mod content;
mod host;
mod mutation;
mod sealing;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
