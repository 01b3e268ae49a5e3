// SPDX-License-Identifier: GPL-2.0

//! AES-256-GCM (NIST SP 800-38D): bytes that are sealed with a key and a nonce can be opened with both only,
//! and only as they are.
//!
//! One name, two implementations: the kernel's in the module, the `aes-gcm` crate's on the host; both use the
//! processor's instructions where there are some. Where there are none, the module takes ChaCha20-Poly1305
//! (RFC 8439) for what only the module opens.
//!
//! A nonce must not be used for two texts of one key: an attacker that has both can then read them, and seal
//! others.

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// An algorithm. Both sides of a session use the client's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM.
    #[default]
    AesGcm = 0,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305 = 1,
}

impl Cipher {
    /// The algorithm with this number, if there is one.
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AesGcm),
            1 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }
}

#[cfg(not(MODULE))]
pub use host::Key;
#[cfg(all(MODULE, test))]
pub(crate) use module::{
    Key,
    Request, //
};

#[cfg(all(MODULE, test))]
mod module {
    use super::{
        NONCE_LEN,
        TAG_LEN, //
    };
    pub(crate) use crate::linux::crypto::aead::{
        Aead as Key,
        AeadRequest as Request, //
    };

    /// As on the host, for at most 64 bytes: a request has room for them.
    impl Key {
        /// Seals the bytes where they are, and returns the tag. `None` if they are too many, or `request` is
        /// for another algorithm.
        pub(crate) fn seal(
            &self,
            request: &mut Request,
            nonce: &[u8; NONCE_LEN],
            bytes: &mut [u8],
        ) -> Option<[u8; TAG_LEN]> {
            request.seal_bytes(self, nonce, bytes).ok()
        }

        /// Opens the bytes where they are. If they are not what was sealed with this key, `nonce` and `tag`,
        /// or are too many, it returns false, and they stay as they are.
        #[must_use]
        pub(crate) fn open(
            &self,
            request: &mut Request,
            nonce: &[u8; NONCE_LEN],
            tag: &[u8; TAG_LEN],
            bytes: &mut [u8],
        ) -> bool {
            request.open_bytes(self, nonce, tag, bytes).is_ok()
        }
    }
}

#[cfg(not(MODULE))]
mod host {
    use aes_gcm::{
        aead::{
            AeadInOut,
            KeyInit, //
        },
        Aes256Gcm,
    };
    use chacha20poly1305::ChaCha20Poly1305;

    use super::{
        Cipher,
        KEY_LEN,
        NONCE_LEN,
        TAG_LEN, //
    };

    /// A key. Dropping it wipes it.
    #[derive(Debug)]
    pub struct Key(Cipherer);

    #[derive(Debug)]
    #[expect(clippy::large_enum_variant, reason = "most keys are of the large one")]
    enum Cipherer {
        AesGcm(Aes256Gcm),
        ChaCha20Poly1305(ChaCha20Poly1305),
    }

    impl Key {
        /// The key of AES-256-GCM that consists of these secret bytes.
        pub fn new(key: &[u8; KEY_LEN]) -> Self {
            Self::with_cipher(Cipher::AesGcm, key)
        }

        /// The key that consists of these secret bytes.
        pub fn with_cipher(cipher: Cipher, key: &[u8; KEY_LEN]) -> Self {
            Self(match cipher {
                Cipher::AesGcm => Cipherer::AesGcm(Aes256Gcm::new(key.into())),
                Cipher::ChaCha20Poly1305 => {
                    Cipherer::ChaCha20Poly1305(ChaCha20Poly1305::new(key.into()))
                }
            })
        }

        /// The tag of a text that is not secret. Its nonce must not be used for another text, nor to seal.
        ///
        /// # Panics
        ///
        /// If the text has more than 64 GiB.
        pub fn mac(&self, nonce: &[u8; NONCE_LEN], text: &[u8]) -> [u8; TAG_LEN] {
            self.encrypt(nonce, text, &mut [])
        }

        /// Whether the tag is that of the text.
        #[must_use]
        pub fn verify_mac(
            &self,
            nonce: &[u8; NONCE_LEN],
            tag: &[u8; TAG_LEN],
            text: &[u8],
        ) -> bool {
            self.decrypt(nonce, tag, text, &mut [])
        }

        fn encrypt(&self, nonce: &[u8; NONCE_LEN], text: &[u8], bytes: &mut [u8]) -> [u8; TAG_LEN] {
            let nonce = nonce.into();
            match &self.0 {
                Cipherer::AesGcm(key) => key.encrypt_inout_detached(nonce, text, bytes.into()),
                Cipherer::ChaCha20Poly1305(key) => {
                    key.encrypt_inout_detached(nonce, text, bytes.into())
                }
            }
            .expect("at most 64 GiB")
            .into()
        }

        fn decrypt(
            &self,
            nonce: &[u8; NONCE_LEN],
            tag: &[u8; TAG_LEN],
            text: &[u8],
            bytes: &mut [u8],
        ) -> bool {
            let (nonce, tag) = (nonce.into(), tag.into());
            match &self.0 {
                Cipherer::AesGcm(key) => key.decrypt_inout_detached(nonce, text, bytes.into(), tag),
                Cipherer::ChaCha20Poly1305(key) => {
                    key.decrypt_inout_detached(nonce, text, bytes.into(), tag)
                }
            }
            .is_ok()
        }

        /// Seals the bytes where they are, and returns the tag.
        ///
        /// # Panics
        ///
        /// If they are more than 64 GiB.
        pub fn seal(&self, nonce: &[u8; NONCE_LEN], bytes: &mut [u8]) -> [u8; TAG_LEN] {
            self.encrypt(nonce, &[], bytes)
        }

        /// Opens the bytes where they are. If they are not what was sealed with this key, `nonce` and `tag`,
        /// it returns false, and they stay as they are.
        #[must_use]
        pub fn open(&self, nonce: &[u8; NONCE_LEN], tag: &[u8; TAG_LEN], bytes: &mut [u8]) -> bool {
            self.decrypt(nonce, tag, &[], bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

    /// A key with what it needs besides.
    struct Sealer {
        key: Key,
        #[cfg(MODULE)]
        request: Request,
    }

    #[cfg(not(MODULE))]
    impl Sealer {
        fn new(key: &[u8; KEY_LEN]) -> Self {
            let key = Key::new(key);
            Self { key }
        }
        fn is_aes(&self) -> bool {
            true
        }
        fn seal(&mut self, nonce: &[u8; NONCE_LEN], bytes: &mut [u8]) -> [u8; TAG_LEN] {
            self.key.seal(nonce, bytes)
        }
        fn open(&mut self, nonce: &[u8; NONCE_LEN], tag: &[u8; TAG_LEN], bytes: &mut [u8]) -> bool {
            self.key.open(nonce, tag, bytes)
        }
    }

    #[cfg(MODULE)]
    impl Sealer {
        fn new(key: &[u8; KEY_LEN]) -> Self {
            let key = Key::new(key).unwrap();
            let request = Request::new(&key).unwrap();
            Self { key, request }
        }
        fn is_aes(&self) -> bool {
            let name = self.key.driver_name().to_bytes();
            name.windows(3).any(|part| part == b"gcm")
        }
        fn seal(&mut self, nonce: &[u8; NONCE_LEN], bytes: &mut [u8]) -> [u8; TAG_LEN] {
            self.key.seal(&mut self.request, nonce, bytes).unwrap()
        }
        fn open(&mut self, nonce: &[u8; NONCE_LEN], tag: &[u8; TAG_LEN], bytes: &mut [u8]) -> bool {
            self.key.open(&mut self.request, nonce, tag, bytes)
        }
    }

    fn hex<const N: usize>(digits: &str) -> [u8; N] {
        assert_eq!(digits.len(), 2 * N);
        core::array::from_fn(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
    }

    fn check<const N: usize>(key: &str, nonce: &str, plain: &str, sealed: &str, tag: &str) {
        let mut sealer = Sealer::new(&hex(key));
        if !sealer.is_aes() {
            return;
        }
        let (nonce, tag) = (hex(nonce), hex(tag));
        let mut bytes: [u8; N] = hex(plain);
        assert_eq!(sealer.seal(&nonce, &mut bytes), tag);
        assert_eq!(bytes, hex(sealed));
        assert!(sealer.open(&nonce, &tag, &mut bytes));
        assert_eq!(bytes, hex(plain));
    }

    /// Test cases 13 to 15 of McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B.
    #[test]
    fn published_vectors() {
        const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
        const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        check::<0>(
            ZEROS,
            &ZEROS[..24],
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        );
        check::<16>(
            ZEROS,
            &ZEROS[..24],
            &ZEROS[..32],
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        );
        check::<64>(
            KEY,
            "cafebabefacedbaddecaf888",
            concat!(
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
            ),
            concat!(
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
            ),
            "b094dac5d93471bdec1a502270e3cc6c",
        );
    }

    #[test]
    fn what_was_sealed_opens_whatever_its_length() {
        let mut sealer = Sealer::new(&[1; KEY_LEN]);
        let plain: [u8; 64] = core::array::from_fn(|i| i as u8);
        for len in 0..=plain.len() {
            let mut bytes = plain;
            let tag = sealer.seal(&NONCE, &mut bytes[..len]);
            assert_eq!(bytes[len..], plain[len..]);
            assert!(len < 8 || bytes[..len] != plain[..len]);
            assert!(sealer.open(&NONCE, &tag, &mut bytes[..len]));
            assert_eq!(bytes, plain);
        }
    }

    #[test]
    fn what_differs_by_a_bit_does_not_open_and_stays_as_it_is() {
        let mut sealer = Sealer::new(&[1; KEY_LEN]);
        let mut sealed = *b"forty bytes, and each bit of them counts";
        let tag = sealer.seal(&NONCE, &mut sealed);
        for bit in 0..8 * TAG_LEN {
            let (mut bytes, mut other) = (sealed, tag);
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!sealer.open(&NONCE, &other, &mut bytes));
            assert_eq!(bytes, sealed);
        }
        for bit in 0..8 * sealed.len() {
            let mut other = sealed;
            other[bit / 8] ^= 1 << (bit % 8);
            let mut bytes = other;
            assert!(!sealer.open(&NONCE, &tag, &mut bytes));
            assert_eq!(bytes, other);
        }
        for bit in 0..8 * NONCE_LEN {
            let (mut bytes, mut other) = (sealed, NONCE);
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!sealer.open(&other, &tag, &mut bytes));
            assert_eq!(bytes, sealed);
        }
        assert!(!sealer.open(&NONCE, &tag, &mut sealed[..39]));
        assert!(sealer.open(&NONCE, &tag, &mut sealed));
    }

    #[test]
    fn another_key_does_not_open_it() {
        let mut sealer = Sealer::new(&[1; KEY_LEN]);
        let mut bytes = *b"a page that is same-filled";
        let tag = sealer.seal(&NONCE, &mut bytes);
        let sealed = bytes;
        for bit in 0..8 * KEY_LEN {
            let mut key = [1; KEY_LEN];
            key[bit / 8] ^= 1 << (bit % 8);
            assert!(!Sealer::new(&key).open(&NONCE, &tag, &mut bytes));
            assert_eq!(bytes, sealed);
        }
        assert!(sealer.open(&NONCE, &tag, &mut bytes));
    }
}
