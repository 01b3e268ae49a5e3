// SPDX-License-Identifier: GPL-2.0

//! The crate `std` of the KUnit module, for its tests: the collections of `alloc`, and threads.

#![allow(
    internal_features,
    reason = "the heap stands in for what rustc adds to a program"
)]

pub use alloc::{boxed, collections, format, string, vec};

mod heap;
pub mod thread;
