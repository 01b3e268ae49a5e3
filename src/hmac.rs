// SPDX-License-Identifier: GPL-2.0

//! HMAC-SHA256 (RFC 2104, FIPS 180-4).
//!
//! One name, two implementations: the kernel's in the module, the `hmac` and `sha2` crates' on the host; both
//! use the processor's instructions where there are some.

#[cfg(MODULE)]
pub(crate) use crate::linux::crypto::hmac::hmac_sha256;

/// HMAC-SHA256 of `data` under `key`.
#[cfg(not(MODULE))]
pub fn hmac_sha256(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    use hmac::{KeyInit, Mac};

    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    /// Test case 2 of RFC 4231, whose key is shorter: zeros behind it change nothing.
    #[test]
    fn published_vector() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = super::hmac_sha256(&key, b"what do ya want for nothing?");
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        assert_eq!(mac[28..], [0x64, 0xec, 0x38, 0x43]);
    }
}
