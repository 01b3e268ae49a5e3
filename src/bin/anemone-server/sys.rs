// SPDX-License-Identifier: GPL-2.0

//! What must be asked of the kernel and the processor by hand: all unsafe code of the server is
//! in here.
//!
//! Each part is safe to use from outside. None decides anything.
#![expect(unsafe_code, reason = "the only place where it is allowed")]

pub mod checksum;
pub mod interface;
pub mod mapping;
pub mod ring;
pub mod socket;
pub mod ticker;
