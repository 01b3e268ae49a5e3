// SPDX-License-Identifier: GPL-2.0

//! The block device: divides requests into pages.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

use super::{
    core::Core,
    queue::{
        PageOut,
        MAX_REQUEST_PAGES, //
    },
};
use crate::{
    engine::client::ids::PageIndex,
    linux::block::mq::{
        BlkStatus,
        Block,
        Op,
        Operations,
        PartCount,
        Request,
        MAX_PARTS, //
    },
    wire::PAGE_SIZE, //
};

/// Sectors of 512 bytes in a page.
pub(crate) const PAGE_SECTORS: u64 = 8;

/// The most bytes of a request.
pub(crate) const MAX_REQUEST_BYTES: u32 = (MAX_REQUEST_PAGES * PAGE_SIZE) as u32;

const _: () = assert!(MAX_REQUEST_PAGES <= MAX_PARTS as usize);

/// The disk's operations.
pub(crate) struct Disk;

#[vtable]
impl Operations for Disk {
    type QueueData = Arc<Core>;
    type HwData = KBox<u32>;
    type RequestData = PartCount;

    fn new_request_data() -> impl Init<PartCount> {
        PartCount::new()
    }

    fn init_hctx(_core: ArcBorrow<'_, Core>, hw_queue: u32) -> Result<KBox<u32>> {
        Ok(KBox::new(hw_queue, GFP_KERNEL)?)
    }

    #[inline]
    fn queue_rq(hw_queue: &u32, core: ArcBorrow<'_, Core>, request: Request<Self>, is_last: bool) {
        let first = request.sector() / PAGE_SECTORS;
        let count = request.bytes() as usize / PAGE_SIZE;
        let op = request.op();
        match (op, u32::try_from(first).map(PageIndex)) {
            (Op::Read | Op::Write, Ok(first)) if (1..=MAX_REQUEST_PAGES).contains(&count) => {
                let Some(queue) = core.queues.get(*hw_queue as usize) else {
                    request.end(BlkStatus::IoErr);
                    return;
                };
                let blocks = request.blocks();
                if op == Op::Read {
                    queue.page_in(core, request, first, blocks, is_last);
                } else {
                    queue.page_out(core, request, first, blocks.map(page_out), is_last);
                }
                return;
            }
            (Op::Read | Op::Write, Ok(_)) => request.end(BlkStatus::Inval),
            (Op::Read | Op::Write, Err(_)) => request.end(BlkStatus::IoErr),
            (Op::Discard, Ok(first)) => {
                for index in 0..count {
                    // CAST: a request has fewer than 2^32 pages.
                    let page = PageIndex(first.0.saturating_add(index as u32));
                    core.note_free(page);
                }
                request.end(BlkStatus::Ok);
            }
            (Op::Discard, Err(_)) => request.end(BlkStatus::IoErr),
            (Op::Flush, _) => request.end(BlkStatus::Ok),
            (Op::WriteZeroes | Op::Other(_), _) => request.end(BlkStatus::NotSupp),
        }
        if is_last {
            Self::commit_rqs(hw_queue, core);
        }
    }

    fn commit_rqs(hw_queue: &u32, core: ArcBorrow<'_, Core>) {
        if let Some(queue) = core.queues.get(*hw_queue as usize) {
            queue.resume(core);
        }
    }

    fn open(core: ArcBorrow<'_, Core>, for_writing: bool) -> Result {
        if for_writing && core.earlier.is_hibernating() {
            pr_err!(
                "/dev/anemone: not opened for writing while the machine hibernates: an image on it cannot be read back; use another device (resume=)\n"
            );
            return Err(EBUSY);
        }
        Ok(())
    }

    fn swap_slot_free_notify(core: ArcBorrow<'_, Core>, slot: u64) {
        if let Ok(slot) = u32::try_from(slot) {
            core.note_free(PageIndex(slot));
        }
    }
}

/// Prepares a page that is to be written.
#[inline]
fn page_out(block: Block) -> PageOut {
    let fill = block.same_fill();
    let crc = match fill {
        Some(value) => crate::crc::crc32c(&value.to_ne_bytes()),
        None => block.crc32c(),
    };
    PageOut { block, fill, crc }
}
