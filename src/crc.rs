// SPDX-License-Identifier: GPL-2.0

//! CRC32C (Castagnoli, RFC 3720 appendix B.4): the checksum of headers and of pages.
//!
//! One name, two implementations: the kernel's in the module, the `crc32c` crate's on the host;
//! both use the processor's instruction where there is one.

#[cfg(MODULE)]
use crate::linux::crc32c as extend;

#[cfg(not(MODULE))]
fn extend(state: u32, bytes: &[u8]) -> u32 {
    // The kernel's function takes and returns the raw register, the crate's the finished value.
    !crc32c::crc32c_append(!state, bytes)
}

/// CRC32C of `bytes`: all ones first, inverted at the end.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !extend(!0, bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::crc32c(b""), 0);
    }
}
