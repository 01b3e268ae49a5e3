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
    client::Client,
    page_seal::Sealer,
    queue::Queue,
    storage::make_vec, //
    timers_and_work::Timer,
};
use crate::{
    engine::client::{
        counters::RepairCounters,
        dirty_chunks::words_for,
        pages_in_repair::COPIES, //
        repair::Repair,
    },
    linux::{
        block::Page,
        mm::alloc::zeroed_table, //
    },
};

/// The queue with number `number` for repair of a device of `pages` pages.
pub(super) fn new_queue(
    number: u16,
    pages: usize,
    fragments: u8,
    timer: Arc<Timer>,
    sealer: Option<&Sealer>,
) -> Result<Arc<Queue>> {
    let words = || zeroed_table(words_for(pages));
    let tables = [words()?, words()?, words()?, words()?];
    let repair = KBox::new(Repair::new(tables), GFP_KERNEL)?;
    let own_pages = make_vec(COPIES, Page::new)?;
    Queue::for_repair(number, fragments, timer, repair, own_pages, sealer)
}

/// What is known of repair.
#[derive(Default)]
pub(super) struct RepairReport {
    pub(super) counters: RepairCounters,
    /// Parts of the map to be checked for servers, plus copies under way.
    pub(super) left: u64,
    /// The same, for the local disk.
    pub(super) out_of_sync_left: u64,
}

impl Client {
    /// Repair's queue.
    pub(super) fn repair_queue(&self) -> Option<&Arc<Queue>> {
        self.queues.iter().find(|queue| queue.is_repairs())
    }

    /// What is known of repair.
    pub(super) fn repair_report(&self) -> RepairReport {
        let mut report = RepairReport::default();
        if let Some(queue) = self.repair_queue() {
            queue.lock_repair(|repair| {
                report.counters = *repair.counters();
                report.left = repair.left(&self.shared.device);
                report.out_of_sync_left = repair.out_of_sync_left(&self.shared.device);
            });
        }
        report
    }
}
