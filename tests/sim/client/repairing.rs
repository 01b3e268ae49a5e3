// SPDX-License-Identifier: GPL-2.0

//! A model of the driver's part for repair: a separate shard, whose ops have pages of the client.

use anemone::engine::client::histogram::BUCKETS;
use anemone::engine::client::ids::PageIndex;
use anemone::engine::client::pages_in_repair::COPIES;
use anemone::engine::client::shard::{Completion, Op, Parts, Shard};
use anemone::engine::client::stale_copy::StaleCopy;

use super::requests::Request;
use super::{Client, Heap};
use crate::content::zeros;
use crate::context::Context;
use crate::oracle::RequestId;

/// The number of the requests that repair's pages belong to. No program's request has it.
const REPAIR: RequestId = RequestId::MAX;

/// Repair's shard.
pub(super) fn shard(number: usize) -> Shard<Heap> {
    let parts = Parts {
        ops: vec![Op::default(); COPIES],
        buckets: [vec![0; BUCKETS], vec![0; BUCKETS]],
        stale: vec![StaleCopy::default(); 1024],
    };
    Shard::new(number as u16, parts)
}

/// The pages of its ops.
pub(super) fn pages() -> Vec<Option<Request>> {
    let page = || Request::new(0, REPAIR, u32::MAX, false, zeros());
    (0..COPIES).map(|_| Some(page())).collect()
}

impl Client {
    /// The number of repair's shard: the last one.
    pub(super) fn repair_shard(&self) -> usize {
        self.shards.len() - 1
    }

    /// Its timer is due: begins copies.
    pub(super) fn continue_repair(&mut self, ctx: &mut Context) {
        if self.is_unloaded {
            return;
        }
        let shard = self.repair_shard();
        let before = *self.repair.counters();
        let clock_ns = self.clock_ns(ctx);
        let (repair, device) = (&mut self.repair, &self.device);
        repair.handle_timeout(clock_ns, &mut self.shards[shard], device);
        self.has_repaired |= *self.repair.counters() != before;
    }

    /// An op of repair's shard has ended. Returns a page that requests wait for.
    pub(super) fn end_copy(&mut self, now_ns: u64, completion: &Completion) -> Option<PageIndex> {
        let shard = self.repair_shard();
        let before = *self.repair.counters();
        let (repair, device) = (&mut self.repair, &self.device);
        let wake = repair.completed(now_ns, completion, &mut self.shards[shard], device);
        self.has_repaired |= *self.repair.counters() != before;
        wake
    }

    /// Parts of the map that repair has still to check, for servers.
    pub fn repair_left(&self) -> u64 {
        self.repair.left(&self.device)
    }

    /// The same, for the local disk.
    pub fn out_of_sync_left(&self) -> u64 {
        self.repair.out_of_sync_left(&self.device)
    }

    /// Whether its disk has been readable without a break since then.
    pub fn has_readable_disk(&self, since_ns: u64) -> bool {
        self.frozen_until_ns <= since_ns
            && self.local.as_ref().is_some_and(|local| {
                let well_ns = local.disk.well_since_ns();
                let is_whole = local.mirror.is_attached() && !local.mirror.has_timed_out();
                is_whole && well_ns.is_some_and(|well_ns| well_ns <= since_ns)
            })
    }

    /// Whether its disk should have every page, and has been writable without a break since then.
    pub fn has_usable_disk(&self, since_ns: u64) -> bool {
        let usable_ns = self.local.as_ref().and_then(|local| local.usable_since_ns);
        self.has_readable_disk(since_ns)
            && usable_ns.is_some_and(|usable_ns| usable_ns <= since_ns)
            && self.device.disk.load().is_wanted()
    }

    /// Pages that repair has written to the local disk.
    pub fn pages_mirrored(&self) -> u64 {
        self.repair.counters().pages_mirrored
    }

    /// Copies that repair has made.
    pub fn pages_repaired(&self) -> u64 {
        self.repair.counters().pages_repaired
    }
}
