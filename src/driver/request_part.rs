// SPDX-License-Identifier: GPL-2.0

//! The parts of a request. Each part is one page, an op of its own, with a status of its own.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

use super::block_device::AnemoneDevice;
use crate::{
    linux::block::mq::{
        BlkStatus,
        Request,
        RequestBlock, //
    },
    wire::PAGE_SIZE, //
};

/// The most pages of a request: the statuses of so many fit into a word.
pub(crate) const MAX_REQUEST_PAGES: usize = size_of::<u64>();

/// The statuses of a request's parts, one byte each. The first part has the lowest byte.
pub(crate) struct PartStatuses(Atomic<u64>);

impl PartStatuses {
    /// No part has failed.
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }
}

/// A part of a request: one page. The request ends with its last part. A part that is dropped before
/// [`Self::end`] ends with an I/O error.
pub(crate) struct RequestPart {
    block: RequestBlock<AnemoneDevice>,
    index: u8,
    status: BlkStatus,
}

impl RequestPart {
    /// Divides a read or a write of at most [`MAX_REQUEST_PAGES`] pages into its parts, in order.
    #[inline]
    pub(super) fn divide(request: Request<AnemoneDevice>) -> impl ExactSizeIterator<Item = Self> {
        // `Relaxed`: no other context has a part yet.
        request.data().0.store(0, Relaxed);
        let mut next = 0_u8;
        request.into_blocks().map(move |block| {
            let index = next;
            next = next.wrapping_add(1);
            Self {
                block,
                index,
                status: BlkStatus::IOERR,
            }
        })
    }

    /// Its page. The request stays as long as a clone of this does.
    #[inline]
    pub(crate) fn block(&self) -> &RequestBlock<AnemoneDevice> {
        &self.block
    }

    /// Ends it. Any context, also with interrupts disabled.
    #[inline]
    pub(crate) fn end(mut self, status: BlkStatus) {
        self.status = status;
    }
}

impl Drop for RequestPart {
    #[inline]
    fn drop(&mut self) {
        if self.status != BlkStatus::OK {
            // The byte is zero: no other part has this index.
            let status = u64::from(self.status.to_raw());
            let status = status.wrapping_shl(u32::from(self.index).wrapping_mul(8));
            // `Relaxed`: dropping the block, with which the request may end, orders this.
            self.block.data().0.fetch_add(status, Relaxed);
        }
    }
}

/// Ends a request whose parts have all ended.
#[inline]
pub(super) fn end(request: Request<AnemoneDevice>) {
    match request.data().0.load(Relaxed) {
        0 => request.end(BlkStatus::OK),
        statuses => end_by_parts(request, statuses),
    }
}

/// Ends a request with a status for each page, so that a bio fails only if one of its own pages did.
#[cold]
fn end_by_parts(mut request: Request<AnemoneDevice>, mut statuses: u64) {
    let mut pages = request.bytes() / PAGE_SIZE as u32;
    // The status of the request as a whole, which a flush gets: that of the first part that failed.
    let [whole, ..] = (statuses >> (statuses.trailing_zeros() & !7)).to_le_bytes();
    loop {
        let [status, ..] = statuses.to_le_bytes();
        let mut bytes = 0_u32;
        // Neighbours with the same status end together, so that the kernel logs one message for them.
        loop {
            bytes = bytes.wrapping_add(PAGE_SIZE as u32);
            pages = pages.saturating_sub(1);
            statuses >>= 8;
            let [next, ..] = statuses.to_le_bytes();
            if next != status || pages == 0 {
                break;
            }
        }
        if !request.update(BlkStatus::from_raw(status), bytes) {
            break;
        }
    }
    request.end(BlkStatus::from_raw(whole));
}
