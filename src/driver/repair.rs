// SPDX-License-Identifier: GPL-2.0

//! Repair's own queue: a shard like those of the hardware queues, whose ops have pages of the
//! module instead of requests.
//!
//! Context: the worker (process) and the queue's timer begin copies; the rest happens where frames
//! are received (softirq). The queue's lock protects repair's state as well.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    callback::Timer,
    client::Client,
    queue::Queue,
    storage::make_vec, //
};
use crate::{
    engine::client::{
        dirty_chunks::words_for,
        repair::Repair,
        repair_copies::COPIES, //
    },
    linux::mm::{
        alloc::zeroed_table,
        page::Page, //
    },
};

/// The queue with number `number` for repair of a device of `pages` pages.
pub(super) fn new_queue(
    number: u16,
    pages: usize,
    fragments: u8,
    timer: Arc<Timer>,
) -> Result<Arc<Queue>> {
    let words = || zeroed_table(words_for(pages));
    let tables = [words()?, words()?, words()?, words()?];
    let repair = KBox::new(Repair::new(tables), GFP_KERNEL)?;
    let own_pages = make_vec(COPIES, Page::new)?;
    Queue::for_repair(number, fragments, timer, repair, own_pages)
}

impl Client {
    /// Repair's queue.
    pub(super) fn repair_queue(&self) -> Option<&Arc<Queue>> {
        self.queues.iter().find(|queue| queue.is_repairs())
    }

    /// Calls `each` with the name and value of each counter of repair, and with what is left for
    /// servers and for the local disk: parts of the map to be checked, plus copies under way.
    pub(super) fn repair_counters(&self, each: impl FnMut(&'static str, u64)) {
        let mut each = each;
        if let Some(queue) = self.repair_queue() {
            queue.with_repair(|repair| {
                repair.counters().for_each(&mut each);
                each("repair_left", repair.left(&self.shared.device));
                each(
                    "out_of_sync_left",
                    repair.out_of_sync_left(&self.shared.device),
                );
            });
        }
    }
}
