// SPDX-License-Identifier: GPL-2.0

//! The driver's part in sealing pages: the keys, with the real cipher.

use anemone::aead::{Key, KEY_LEN};
use anemone::crc::crc32c;
use anemone::engine::client::page_keys::page_nonce;
use anemone::engine::client::shard::{Receive, Received, Seal, Verify};
use anemone::wire::{PageSum, PageTag};

/// A client's keys, by number.
#[derive(Default)]
pub struct Sealing(Vec<Key>);

impl Sealing {
    /// Another key.
    pub fn add_key(&mut self) {
        // CAST: there are at most 128.
        self.0.push(Key::new(&[self.0.len() as u8; KEY_LEN]));
    }

    /// Seals bytes where they are.
    pub fn seal(&self, seal: &Seal, bytes: &mut [u8]) -> PageSum {
        let nonce = page_nonce(seal.page, seal.version);
        let tag = PageTag(self.0[seal.key.index()].seal(&nonce, bytes));
        PageSum {
            crc: crc32c(bytes),
            tag,
        }
    }

    /// What a page, or the value that fills it, turns out to be when it is complete.
    pub fn verify(&self, receive: &Receive, bytes: &mut [u8]) -> Received {
        let Some(verify) = receive.verify else {
            return Received::Copied;
        };
        let value = |bytes: &[u8]| {
            let value = bytes.try_into().ok().map(u64::from_be_bytes);
            value.filter(|_| receive.filled)
        };
        if self.0.is_empty() {
            return verify.compare(crc32c(bytes), value(bytes));
        }
        match self.open(&verify, bytes) {
            true => Received::Whole {
                crc: verify.wants_crc.then(|| crc32c(bytes)),
                fill: value(bytes),
            },
            false => Received::Wrong,
        }
    }

    fn open(&self, verify: &Verify, bytes: &mut [u8]) -> bool {
        let nonce = page_nonce(verify.page, verify.version);
        self.0[verify.key.index()].open(&nonce, &verify.sum.tag.0, bytes)
    }
}
