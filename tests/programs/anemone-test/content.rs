// SPDX-License-Identifier: GPL-2.0

//! A page's contents: its number, its version, and words that follow from both and a seed.
//!
//! A wrong page, an older one, or a mixture has at least one wrong word. The first two words show its origin.

use std::fmt;

use crate::random::{mix, GOLDEN};
use crate::PAGE_SIZE;

/// 64-bit words of a page.
pub const WORDS: usize = PAGE_SIZE / 8;

/// One version of one page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Content {
    page: u64,
    version: u64,
    base: u64,
}

impl Content {
    /// Version `version` of page `page`.
    pub fn new(seed: u64, page: usize, version: u64) -> Self {
        let page = page as u64;
        Self {
            page,
            version,
            base: mix(seed ^ mix(page ^ mix(version))),
        }
    }

    /// Word `index`.
    pub fn word(&self, index: usize) -> u64 {
        match index {
            0 => self.page,
            1 => self.version,
            _ => self.base ^ (index as u64).wrapping_mul(GOLDEN),
        }
    }

    /// Compares with a page's words, read by `read`.
    pub fn check(&self, read: impl Fn(usize) -> u64) -> Result<(), Wrong> {
        match (0..WORDS).find(|&index| read(index) != self.word(index)) {
            None => Ok(()),
            Some(index) => Err(Wrong {
                expected: *self,
                index,
                found: read(index),
                page: read(0),
                version: read(1),
                wrong_words: (0..WORDS).filter(|&i| read(i) != self.word(i)).count(),
                zero_words: (0..WORDS).filter(|&i| read(i) == 0).count(),
            }),
        }
    }

    /// Writes the page to `bytes`, a page.
    pub fn emit(&self, bytes: &mut [u8]) {
        for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&self.word(index).to_le_bytes());
        }
    }

    /// Compares with `bytes`, a page.
    pub fn check_bytes(&self, bytes: &[u8]) -> Result<(), Wrong> {
        self.check(|index| word_at(bytes, index))
    }
}

/// Word `index` of `bytes`.
fn word_at(bytes: &[u8], index: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
    u64::from_le_bytes(word)
}

/// A page that is not what it must be.
#[derive(Debug)]
pub struct Wrong {
    expected: Content,
    index: usize,
    found: u64,
    page: u64,
    version: u64,
    wrong_words: usize,
    zero_words: usize,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {} version {}", self.page, self.version)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is wrong: word {} is {:#x}, not {:#x}; {} words are wrong, {} are zero; it says \
             that it is page {} version {}",
            self.expected,
            self.index,
            self.found,
            self.expected.word(self.index),
            self.wrong_words,
            self.zero_words,
            self.page,
            self.version
        )
    }
}

impl std::error::Error for Wrong {}
