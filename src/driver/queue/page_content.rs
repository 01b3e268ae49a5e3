// SPDX-License-Identifier: GPL-2.0

//! What a page-out writes: a whole page, or the value that fills it if it is same-filled.

use crate::{
    driver::shared::Shared,
    linux::block::Block, //
};

/// What a page-out writes.
pub(super) struct PageContent {
    /// The value that fills the page, if one does.
    pub(super) fill: Option<u64>,
    /// Its checksum. None of a whole page that will be sealed.
    pub(super) crc: Option<u32>,
}

impl PageContent {
    #[inline]
    pub(super) fn new(block: Block<'_>, shared: &Shared) -> Self {
        let fill = match shared.hides_filled {
            true => None,
            false => block.same_fill(),
        };
        let crc = match fill {
            Some(value) => Some(crate::crc::crc32c(&value.to_ne_bytes())),
            None if shared.device.seals() => None,
            None => Some(block.crc32c()),
        };
        Self { fill, crc }
    }
}
