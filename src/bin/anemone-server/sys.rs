// SPDX-License-Identifier: GPL-2.0

//! System calls and instructions without a safe wrapper: all unsafe code of the server is here.
//!
//! Each part has a safe interface. None of them decides anything.
#![expect(unsafe_code, reason = "the only place where it is allowed")]

pub mod checksum;
pub mod interface;
pub mod mapping;
pub mod ring;
pub mod socket;
pub mod ticker;

/// The error of a C function that has returned `result`, if that is negative.
fn check(result: libc::c_int) -> std::io::Result<()> {
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
