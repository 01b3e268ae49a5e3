// SPDX-License-Identifier: GPL-2.0

//! What pages contain: bytes that follow from a number.

use anemone::wire::PAGE_SIZE;

/// The bytes of content `number`. One in four contents is one repeated value.
pub fn bytes(number: u64) -> Box<[u8; PAGE_SIZE]> {
    let mut page = Box::new([0; PAGE_SIZE]);
    for (place, word) in page.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&word_at(number, place).to_be_bytes());
    }
    page
}

fn word_at(number: u64, place: usize) -> u64 {
    let place = match is_filled(number) {
        true => 0,
        false => place as u64,
    };
    (number << 16 | place).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn is_filled(number: u64) -> bool {
    number % 4 == 3
}

/// The value that fills it, if one does.
pub fn fill(number: u64) -> Option<u64> {
    is_filled(number).then(|| word_at(number, 0))
}
