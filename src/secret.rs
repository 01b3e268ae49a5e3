// SPDX-License-Identifier: GPL-2.0

//! Secret bytes, which are wiped when they are dropped, and keys that follow from them.

use crate::hmac::hmac_sha256;

/// 32 secret bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; Self::LEN]);

/// Bytes of a label and of the inputs of [`Secret::derive`], each with its length before it.
const INFO_LEN: usize = 192;

impl Secret {
    /// Their number.
    pub const LEN: usize = 32;

    /// These bytes.
    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        Self(*bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// A key that follows from these bytes, for the use that `label` names, and from the inputs: HKDF-Expand
    /// with SHA-256 (RFC 5869, section 2.3). `None` if they have more than 192 bytes together.
    pub fn derive(&self, label: &str, inputs: &[&[u8]]) -> Option<Self> {
        let mut info = [0; INFO_LEN];
        let mut rest = &mut info[..];
        for part in core::iter::once(label.as_bytes()).chain(inputs.iter().copied()) {
            let (len, after) = rest.split_first_mut()?;
            *len = u8::try_from(part.len()).ok()?;
            let (place, after) = after.split_at_mut_checked(part.len())?;
            place.copy_from_slice(part);
            rest = after;
        }
        // The number of the block: there is one.
        *rest.first_mut()? = 1;
        let len = INFO_LEN.checked_sub(rest.len())?.checked_add(1)?;
        Some(Self(hmac_sha256(&self.0, info.get(..len)?)))
    }

    /// The first bytes: a proof, or a name that does not tell the rest.
    pub fn prefix(&self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = self.0;
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        #[cfg(MODULE)]
        crate::linux::crypto::wipe(&mut self.0);
        #[cfg(not(MODULE))]
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Whether two proofs are equal, in a time that does not depend on where they differ.
pub fn are_equal(one: &[u8; 16], other: &[u8; 16]) -> bool {
    let differences = one
        .iter()
        .zip(other)
        .fold(0, |differences, (a, b)| differences | (a ^ b));
    core::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 1 of RFC 5869, whose 42 bytes begin with those of one block.
    #[test]
    fn published_vector() {
        const PRK: [u8; 32] = [
            0x07, 0x77, 0x09, 0x36, 0x2c, 0x2e, 0x32, 0xdf, 0x0d, 0xdc, 0x3f, 0x0d, 0xc4, 0x7b,
            0xba, 0x63, 0x90, 0xb6, 0xc7, 0x3b, 0xb5, 0x0f, 0x9c, 0x31, 0x22, 0xec, 0x84, 0x4a,
            0xd7, 0xc2, 0xb3, 0xe5,
        ];
        let info = [
            0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 1,
        ];
        let okm = hmac_sha256(&PRK, &info);
        assert_eq!(okm[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
        // The same construction, with lengths in the information.
        let derived = Secret::new(&PRK).derive("ab", &[&[7], &[]]).unwrap();
        assert_eq!(
            derived.bytes(),
            &hmac_sha256(&PRK, &[2, b'a', b'b', 1, 7, 0, 1])
        );
    }

    #[test]
    fn keys_depend_on_all_inputs_and_their_borders() {
        let secret = Secret::new(&[1; 32]);
        let key = |label, inputs: &[&[u8]]| secret.derive(label, inputs).unwrap();
        assert_eq!(key("a", &[b"bc", b"d"]), key("a", &[b"bc", b"d"]));
        assert_ne!(key("a", &[b"bc", b"d"]), key("a", &[b"b", b"cd"]));
        assert_ne!(key("a", &[b"bc"]), key("ab", &[b"c"]));
        assert_ne!(key("a", &[b"", b"b"]), key("a", &[b"b", b""]));
        assert_ne!(key("a", &[]), key("a", &[b""]));
    }

    #[test]
    fn inputs_that_do_not_fit_are_refused() {
        let secret = Secret::new(&[1; 32]);
        assert!(secret.derive("a", &[&[0; 187]]).is_some());
        assert!(secret.derive("a", &[&[0; 189]]).is_none());
        assert!(secret.derive("a", &[&[0; 300]]).is_none());
    }

    #[test]
    fn proofs_are_compared_whole() {
        let one = [3; 16];
        assert!(are_equal(&one, &one));
        for bit in 0..128 {
            let mut other = one;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!are_equal(&one, &other));
        }
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(std::format!("{:?}", Secret::new(&[0x41; 32])), "Secret");
    }
}
