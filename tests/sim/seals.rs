// SPDX-License-Identifier: GPL-2.0

//! What clients have sealed: the oracle recognises it in a server's memory without any key.

use std::collections::HashMap;

use anemone::crc::crc32c;
use anemone::wire::{PageSum, PageTag};

/// All sealed pages of a run, by their tags.
#[derive(Default)]
pub struct Seals(HashMap<[u8; 16], Plain>);

/// A page, or the value that fills it, before it was sealed.
#[derive(Clone, Copy)]
pub struct Plain {
    /// CRC32C of all its bytes.
    pub crc: u32,
    /// Its first word.
    pub word: u64,
}

impl Plain {
    /// The page with these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            crc: crc32c(bytes),
            word: bytes
                .first_chunk()
                .map_or(0, |word| u64::from_be_bytes(*word)),
        }
    }
}

impl Seals {
    /// A client has sealed a page.
    pub fn add(&mut self, tag: PageTag, plain: Plain) {
        self.0.insert(tag.0, plain);
    }

    /// What a server holds as `bytes`: `None` if it is sealed, and not as a client has sealed it.
    pub fn plain(&self, sum: &PageSum, bytes: &[u8]) -> Option<Plain> {
        if sum.tag == PageTag::default() {
            return Some(Plain::new(bytes));
        }
        let plain = self.0.get(&sum.tag.0).copied();
        plain.filter(|_| crc32c(bytes) == sum.crc)
    }
}
