// SPDX-License-Identifier: GPL-2.0

//! Our block device, `/dev/anemone`: divides requests into pages.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

use super::{
    client::Client,
    request_part::{
        self,
        PartStatuses,
        MAX_REQUEST_PAGES, //
    },
};
use crate::{
    engine::client::ids::PageIndex,
    linux::block::mq::{
        BlkStatus,
        BlockDeviceOperations,
        Op,
        Operations,
        Refused,
        Request, //
    },
    wire::PAGE_SIZE, //
};

/// Sectors of 512 bytes in a page.
pub(crate) const PAGE_SECTORS: u64 = 8;

/// The most sectors of a request.
pub(crate) const MAX_REQUEST_SECTORS: u32 = MAX_REQUEST_PAGES as u32 * PAGE_SECTORS as u32;

/// The block device's operations.
pub(crate) struct AnemoneDevice;

#[vtable]
impl Operations for AnemoneDevice {
    type QueueData = Arc<Client>;
    type HwData = KBox<u32>;
    type RequestData = PartStatuses;

    fn new_request_data() -> impl Init<PartStatuses> {
        PartStatuses::new()
    }

    fn init_hctx(_client: ArcBorrow<'_, Client>, hw_queue: u32) -> Result<KBox<u32>> {
        Ok(KBox::new(hw_queue, GFP_KERNEL)?)
    }

    #[inline]
    fn queue_rq(
        hw_queue: &u32,
        client: ArcBorrow<'_, Client>,
        request: Request<Self>,
        is_last: bool,
    ) -> Result<(), Refused<Self>> {
        let first = request.sector() / PAGE_SECTORS;
        let count = request.bytes() as usize / PAGE_SIZE;
        let op = request.op();
        match (op, u32::try_from(first).map(PageIndex)) {
            (Op::Read | Op::Write, Ok(first)) if (1..=MAX_REQUEST_PAGES).contains(&count) => {
                let Some(queue) = client.queues.get(*hw_queue as usize) else {
                    return Err((request, BlkStatus::IOERR));
                };
                match op {
                    Op::Read => queue.page_in(&client.shared, request, first, is_last),
                    _ => queue.page_out(&client.shared, request, first, is_last),
                }
                return Ok(());
            }
            (Op::Read | Op::Write, Ok(_)) => return Err((request, BlkStatus::INVAL)),
            (Op::Read | Op::Write | Op::Discard, Err(_)) => {
                return Err((request, BlkStatus::IOERR))
            }
            (Op::Discard, Ok(first)) => {
                for index in 0..count {
                    // CAST: a request has fewer than 2^32 pages.
                    let page = PageIndex(first.0.saturating_add(index as u32));
                    client.shared.note_free(page);
                }
                request.end(BlkStatus::OK);
            }
            (Op::Flush, _) => request.end(BlkStatus::OK),
            (Op::WriteZeroes | Op::Other(_), _) => return Err((request, BlkStatus::NOTSUPP)),
        }
        // What came before may wait for it.
        if is_last {
            Self::commit_rqs(hw_queue, client);
        }
        Ok(())
    }

    fn commit_rqs(hw_queue: &u32, client: ArcBorrow<'_, Client>) {
        if let Some(queue) = client.queues.get(*hw_queue as usize) {
            queue.resume(&client.shared);
        }
    }

    fn end_rq(request: Request<Self>) {
        request_part::end(request);
    }
}

#[vtable]
impl BlockDeviceOperations for AnemoneDevice {
    fn open(client: ArcBorrow<'_, Client>, for_writing: bool) -> Result {
        if for_writing && client.shared.device.is_hibernating() {
            pr_err!(
                "/dev/anemone: not opened for writing while the machine hibernates: an image on it cannot be read back; use another device (resume=)\n"
            );
            return Err(EBUSY);
        }
        Ok(())
    }

    fn swap_slot_free_notify(client: ArcBorrow<'_, Client>, slot: u64) {
        if let Ok(slot) = u32::try_from(slot) {
            client.shared.note_free(PageIndex(slot));
        }
    }
}
