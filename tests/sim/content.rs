// SPDX-License-Identifier: GPL-2.0

//! Contents of pages: every 64-bit word names its client, page and page-out, so that a torn, old or foreign
//! page is recognised.

use anemone::wire::PAGE_SIZE;

/// A page's bytes.
pub type Bytes = Box<[u8; PAGE_SIZE]>;

/// A page of zeros.
pub fn zeros() -> Bytes {
    Box::new([0; PAGE_SIZE])
}

/// Words of a page.
const WORDS: u64 = (PAGE_SIZE / 8) as u64;

/// The word's number in a page of one value.
const FILLED: u64 = 0xffff;

/// The contents of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeros: never written, or freed.
    Zeros,
    /// Zeros that were written.
    Blank,
    /// What one page-out wrote.
    Written {
        /// Client, page and number of the page-out: the high 48 bits of every word.
        name: u64,
        /// Whether all words are the same.
        filled: bool,
    },
}

impl Content {
    /// The contents that page-out number `write` of `client` writes to `page`.
    pub fn new(client: usize, page: u32, write: u32, filled: bool) -> Self {
        // One more than the client's number, so that no word is zero.
        let name = (client as u64 + 1) << 56 | u64::from(page) << 40 | u64::from(write) << 16;
        Self::Written { name, filled }
    }

    fn word(self, index: u64) -> u64 {
        match self {
            Self::Zeros | Self::Blank => 0,
            Self::Written { name, filled } => name | if filled { FILLED } else { index },
        }
    }

    /// The value of every word, if all words are the same.
    pub fn fill(self) -> Option<u64> {
        match self {
            Self::Written { filled: false, .. } => None,
            _ => Some(self.word(0)),
        }
    }

    /// Its bytes.
    pub fn bytes(self) -> Bytes {
        let mut page = zeros();
        for (index, chunk) in page.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&self.word(index as u64).to_be_bytes());
        }
        page
    }

    /// Whether both read the same.
    pub fn reads_as(self, other: Self) -> bool {
        self.word(0) == other.word(0) && self.fill() == other.fill()
    }

    /// Whether `page` is this, every byte.
    pub fn is(self, page: &[u8]) -> bool {
        page.len() == PAGE_SIZE
            && page
                .chunks_exact(8)
                .enumerate()
                .all(|(index, chunk)| chunk == self.word(index as u64).to_be_bytes())
    }
}

fn name_of(word: u64, index: u64) -> String {
    if word == 0 {
        return "zeros".into();
    }
    let (client, page, write) = (
        (word >> 56).wrapping_sub(1),
        word >> 40 & 0xffff,
        word >> 16 & 0xff_ffff,
    );
    let kind = match word & FILLED {
        FILLED => " (filled)".into(),
        place if place == index => String::new(),
        place => format!(" (word {place} of it)"),
    };
    format!("client {client} page {page} write {write}{kind}")
}

/// The contents of `page` as text: runs of words with the same origin.
pub fn describe(page: &[u8]) -> String {
    let mut runs: Vec<(u64, String)> = Vec::new();
    for (index, chunk) in (0..WORDS).zip(page.chunks_exact(8)) {
        let word = chunk.try_into().map_or(0, u64::from_be_bytes);
        let name = name_of(word, index);
        if runs.last().is_none_or(|(_, last)| *last != name) {
            runs.push((index, name));
        }
        if runs.len() > 8 {
            runs.push((index, "…".into()));
            break;
        }
    }
    let runs: Vec<String> = runs
        .iter()
        .map(|(from, name)| format!("from word {from} {name}"))
        .collect();
    runs.join(", ")
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&name_of(self.word(0), 0))
    }
}
