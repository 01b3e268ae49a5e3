// SPDX-License-Identifier: GPL-2.0

//! Root of the KUnit module: the unit tests of the wire format and of the engine, inside the kernel.
//!
//! rustc compiles it with `--test`, and hands the tests to the crate `test`, which is `tests/kunit/test.rs`.
//! Loading it runs them all; it does nothing else. The other roots are `anemone_main.rs` and `lib.rs`.

#![no_main]
#![test_runner(test::collect)]
#![reexport_test_harness_main = "collect_tests"]

extern crate test;
#[macro_use]
extern crate std;

pub mod aead;
#[macro_use]
mod bit_set;
pub mod crc;
pub mod engine;
pub mod hmac;
// What `aead`, `crc` and `sync` use of the wrappers.
mod linux {
    mod block {
        pub(in crate::linux) mod bytes;
        mod page;
        pub(in crate::linux) mod place;

        pub(crate) use self::{
            bytes::{
                Block,
                BlockWriter, //
            },
            page::Page, //
        };
    }
    mod crc32c;
    pub(crate) mod crypto;
    mod helpers;
    mod mm {
        pub(crate) mod alloc;
        pub(in crate::linux) mod copy;
    }
    pub(crate) mod sched;

    pub(crate) use crc32c::crc32c;
}
pub mod secret;
pub mod sync;
pub mod uapi;
pub mod wire;

use kernel::prelude::*;

module! {
    type: Tests,
    name: "anemone_kunit",
    authors: ["The Anemone developers"],
    description: "The unit tests of Anemone",
    license: "GPL v2",
}

struct Tests {
    _suites: test::Suites,
}

impl kernel::Module for Tests {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        collect_tests();
        Ok(Self {
            _suites: test::Suites::run(),
        })
    }
}
