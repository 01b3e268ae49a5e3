// SPDX-License-Identifier: GPL-2.0

//! What a page-out writes: a whole page, or the value that fills it if it is same-filled.

use crate::linux::block::Block;

/// What a page-out writes.
pub(super) struct PageContent {
    /// The value that fills the page, if one does.
    pub(super) fill: Option<u64>,
    pub(super) crc: u32,
}

impl PageContent {
    #[inline]
    pub(super) fn new(block: Block<'_>) -> Self {
        let fill = block.same_fill();
        let crc = match fill {
            Some(value) => crate::crc::crc32c(&value.to_ne_bytes()),
            None => block.crc32c(),
        };
        Self { fill, crc }
    }
}
