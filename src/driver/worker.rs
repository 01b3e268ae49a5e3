// SPDX-License-Identifier: GPL-2.0

//! The worker: it does everything that is not a page-out or a page-in.
//!
//! Context: process, on the module's own WQ_MEM_RECLAIM queue. It allocates only the table for jumps of
//! the versions, and does not wait for that memory.

use kernel::prelude::*;

use super::{
    client::Client, //
    control::ControlState,
};
use crate::{
    engine::client::{
        cluster::Changes,
        free,
        ids::{
            PageIndex,
            ServerSlot,
            SlotSet,
            Version,
            SERVER_SLOTS, //
        },
        inbox::INBOX_FRAMES,
        maintenance::PART_PAGES, //
    },
    linux::time::hrtimer::now_ns, //
};

/// How often the worker runs when nothing happens, to raise the low water.
const IDLE_NS: u64 = 1_000_000_000;

/// How soon it runs again while there are pages to free.
const FREEING_NS: u64 = 2_000_000;

/// Parts of the map, of 1024 pages each, that are searched for freed pages in one run.
const CHUNKS: u32 = 256;

/// The progress of each slot's sweep: the slot's bit is clear in all pages before this one.
#[derive(Default)]
pub(crate) struct Sweeps([Option<u32>; SERVER_SLOTS]);

impl Client {
    /// Runs the worker once.
    pub(super) fn work(&self) {
        self.shared
            .device
            .set_io_timeout_ns(super::params::io_timeout_ns());
        self.shared
            .device
            .set_hedge_percent(super::params::hedged_percent());
        self.shared.local.look_after(&self.shared);
        let is_hibernating = self.restore.is_hibernating();
        self.shared
            .device
            .set_repair_pages_per_s(match is_hibernating {
                true => 0,
                false => super::params::repair_rate(),
            });
        self.follow_jumps();
        let (servers_changed, next_ns) = self.tend();
        let look_ns = self.drive_repair(servers_changed);
        let drain_ns = match is_hibernating {
            true => None,
            false => self.drain_servers(),
        };
        let again_ns = drain_ns.unwrap_or(u64::MAX).min(look_ns);
        self.shared
            .timer
            .arm(next_ns.min(now_ns().saturating_add(again_ns)));
        if self.sweep_part() || !self.inbox.lock().is_empty() {
            // The worker does not queue itself: when the module is unloaded, the timer queues nothing more,
            // and only this run is waited for.
            self.shared.timer.arm(0);
        }
    }

    /// Handles received control frames and the cluster's timers. It handles at most as many frames as the
    /// inbox holds, so that a flood does not delay the other work. Returns whether servers have become
    /// usable or unusable, and when to call it next.
    fn tend(&self) -> (bool, u64) {
        let heard_ns = self.heard_ns();
        let (changes, next_ns) = self.control.with(&self.shared, |state| {
            let now_ns = now_ns();
            let (cluster, outbox) = state.parts();
            for _ in 0..INBOX_FRAMES {
                let control = self.inbox.lock().take();
                let Some(control) = control else {
                    break;
                };
                let servers = &self.shared.device.servers;
                cluster.handle_frame(now_ns, control.source, &control.frame(), servers, outbox);
            }
            cluster.set_loss_timeout_ns(super::params::loss_timeout_ns());
            cluster.set_io_timeout_ns(self.shared.device.io_timeout_ns());
            // Checked under the lock: once the machine hibernates, no more pages to free are searched for.
            let frees_rest = self.restore.is_hibernating();
            if !frees_rest {
                cluster.free_orphans(now_ns, &self.shared.device);
            }
            let noted = self.shared.device.frees_noted();
            let freeing = !frees_rest && self.gather_frees(state, now_ns);
            // After the copies to free are settled, and before their servers are notified.
            self.raise_low_water();
            let (cluster, outbox) = state.parts();
            cluster.set_low_water(self.shared.device.low_water());
            let heard = |slot: ServerSlot| heard_ns.get(slot.index()).copied().unwrap_or(0);
            cluster.handle_timeout(now_ns, &self.shared.device.servers, heard, outbox);
            if !freeing && !frees_rest {
                self.shared.device.set_frees_notified(noted);
            }
            let mut next_ns = cluster
                .next_timeout_ns()
                .min(now_ns.saturating_add(IDLE_NS));
            state.failure_log.update(now_ns, self);
            let cluster = &mut state.cluster;
            if freeing {
                next_ns = next_ns.min(now_ns.saturating_add(FREEING_NS));
            }
            (cluster.take_changes(), next_ns)
        });
        if let Some((high, witness)) = changes.high_water {
            self.shared.device.note_high_water(witness, high);
        }
        self.follow(changes);
        (changes.servers_changed, next_ns)
    }

    /// Notifies the queues of servers that have become usable or unusable.
    #[inline(never)]
    fn follow(&self, changes: Changes) {
        for queue in &self.queues {
            queue.drive(&self.shared, |shard, now_ns| {
                for slot in changes.opened.iter() {
                    shard.reset_path(slot);
                }
                if changes.servers_changed {
                    shard.servers_changed(now_ns, &self.shared.device);
                }
                if self.queues.len() > 1 {
                    shard.unpark(now_ns, None, &self.shared.device);
                }
            });
        }
        for slot in changes.refused.iter() {
            self.control.log_refusal(slot);
        }
        for slot in changes.to_sweep.iter() {
            if changes.lost.contains(slot) {
                let mac = self.shared.device.servers.address(slot).mac;
                pr_warn!(
                    "server {}: restarted, or dropped the session; its copies are lost, repairing\n",
                    mac
                );
            }
            if let Some(next) = self.sweeps.lock().0.get_mut(slot.index()) {
                *next = Some(0);
            }
        }
    }

    /// Notifies the queues that the set of usable servers has changed. Every page-out that ends after this
    /// returns takes the change into account.
    pub(super) fn synchronize_queues(&self) {
        for queue in &self.queues {
            queue.drive(&self.shared, |shard, now_ns| {
                shard.servers_changed(now_ns, &self.shared.device)
            });
        }
    }

    /// Clears the bit of a slot that is being swept in a part of the map. Returns whether there is more to
    /// sweep.
    fn sweep_part(&self) -> bool {
        // CAST: a device has fewer than 2^32 pages.
        let pages = self.shared.device.map.len() as u32;
        let mut sweeps = self.sweeps.lock();
        let mut under_way = SlotSet::ALL
            .iter()
            .zip(&mut sweeps.0)
            .filter(|(_, next)| next.is_some());
        let Some((slot, next)) = under_way.next() else {
            return false;
        };
        let first = next.unwrap_or(0);
        let end = first.saturating_add(PART_PAGES).min(pages);
        for page in first..end {
            self.shared
                .device
                .map
                .forget(PageIndex(page), SlotSet::one(slot));
        }
        let is_swept = end >= pages;
        *next = match is_swept {
            true => None,
            false => Some(end),
        };
        drop(sweeps);
        if is_swept {
            self.control
                .with(&self.shared, |state| state.cluster.swept(now_ns(), slot));
        }
        // In both cases the worker runs again, for what the cluster does with a clean slot.
        true
    }

    /// Raises the low water: every version below the lowest one under way is settled.
    fn raise_low_water(&self) {
        // Read before the queues are: page-outs that begin later have higher versions.
        let mut settled = self.shared.device.next_version();
        for queue in &self.queues {
            let oldest: Option<Version> = queue.with_shard(|shard| shard.oldest_version());
            settled = oldest.map_or(settled, |oldest| oldest.min(settled));
        }
        self.shared.device.raise_low_water(settled);
    }

    /// When a frame of each server was last received on the data path.
    fn heard_ns(&self) -> [u64; SERVER_SLOTS] {
        let mut heard_ns = [0; SERVER_SLOTS];
        for queue in &self.queues {
            queue.with_shard(|shard| {
                for (slot, heard) in SlotSet::ALL.iter().zip(&mut heard_ns) {
                    *heard = shard.heard_ns(slot).max(*heard);
                }
            });
        }
        heard_ns
    }

    /// Passes copies to be freed to the cluster while it has room. Returns whether there may be more.
    fn gather_frees(&self, state: &mut ControlState, now_ns: u64) -> bool {
        let mut chunks_left = CHUNKS;
        for queue in &self.queues {
            let lost = queue.with_shard(|shard| shard.take_frees_lost());
            state.cluster.ask_what_they_have(now_ns, lost);
        }
        loop {
            let next = state.waiting_free.take();
            let Some(copy) = next.or_else(|| self.next_stale(state, &mut chunks_left)) else {
                return chunks_left == 0;
            };
            if !state.cluster.free(now_ns, &copy) {
                state.waiting_free = Some(copy);
                return true;
            }
        }
    }

    /// Finds a copy to be freed. Each part of the map that is searched decrements `chunks_left`.
    fn next_stale(
        &self,
        state: &mut ControlState,
        chunks_left: &mut u32,
    ) -> Option<free::StaleCopy> {
        for queue in &self.queues {
            if let Some(copy) = queue.with_shard(|shard| shard.take_stale()) {
                return Some(copy);
            }
        }
        loop {
            let (mut next, end) = match state.scan.take() {
                Some(scan) => scan,
                None => {
                    *chunks_left = chunks_left.checked_sub(1)?;
                    self.shared.chunks.take(PageIndex(0))?
                }
            };
            let found = free::next_free(&self.shared.device.map, &mut next, end, || {
                self.shared.device.take_version()
            });
            if found.is_some() {
                state.scan = Some((next, end));
                if let Some(queue) = self.queues.first() {
                    queue.with_shard(|shard| shard.count_freed(1));
                }
                return found;
            }
        }
    }
}
