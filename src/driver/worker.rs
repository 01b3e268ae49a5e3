// SPDX-License-Identifier: GPL-2.0

//! What the worker does when it is kicked: everything that is not a page-out or a page-in.
//!
//! Context: process, on the module's own WQ_MEM_RECLAIM queue. It allocates nothing.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    workqueue::WorkItem, //
};

use super::{
    control::ControlState,
    core::Core, //
};
use crate::{
    engine::{
        cluster::Changes,
        free,
        ids::{
            PageIndex,
            ServerSlot,
            SlotSet,
            Version,
            SERVER_SLOTS, //
        }, //
    },
    linux::hrtimer::now_ns,
};

/// How often the worker runs when nothing happens: the low-water version rises.
const IDLE_NS: u64 = 1_000_000_000;

/// How soon it runs again while there are pages to be freed.
const FREEING_NS: u64 = 2_000_000;

impl WorkItem for Core {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.as_arc_borrow().work();
    }
}

impl Core {
    fn work(self: ArcBorrow<'_, Self>) {
        self.device.set_patience_ns(super::params::patience_ns());
        self.device
            .set_hedge_percent(super::params::hedged_percent());
        self.local.look_after(self);
        self.device
            .set_repair_pages_per_s(super::params::repair_rate());
        let heard_ns = self.heard_ns();
        let (changes, next_ns) = self.control.with(&self, |state| {
            let now_ns = now_ns();
            let (cluster, outbox) = state.parts();
            loop {
                let control = self.inbox.lock().take();
                let Some(control) = control else {
                    break;
                };
                let servers = &self.device.servers;
                cluster.handle_frame(now_ns, control.source, &control.frame(), servers, outbox);
            }
            cluster.set_dead_ns(super::params::dead_ns());
            cluster.free_orphans(now_ns, &self.device);
            let freeing = self.gather_frees(state, now_ns);
            // After what is to be freed has settled, before the servers are told.
            self.raise_low_water();
            let (cluster, outbox) = state.parts();
            cluster.set_low_water(self.device.low_water());
            let heard = |slot: ServerSlot| heard_ns.get(slot.index()).copied().unwrap_or(0);
            cluster.handle_timeout(now_ns, &self.device.servers, heard, outbox);
            let mut next_ns = cluster
                .next_timeout_ns()
                .min(now_ns.saturating_add(IDLE_NS));
            if freeing {
                next_ns = next_ns.min(now_ns.saturating_add(FREEING_NS));
            }
            (cluster.take_changes(), next_ns)
        });
        self.follow(changes);
        let look_ns = self.drive_repair(changes.servers_changed);
        let again_ns = self.drain_servers().unwrap_or(u64::MAX).min(look_ns);
        self.timer
            .arm(next_ns.min(now_ns().saturating_add(again_ns)));
    }

    /// Tells the queues of servers that have come and gone.
    #[inline(never)]
    fn follow(self: ArcBorrow<'_, Self>, changes: Changes) {
        for queue in &self.queues {
            queue.drive(self, |shard, now_ns| {
                for slot in changes.opened.iter() {
                    shard.reset_path(slot);
                }
                if changes.servers_changed {
                    shard.servers_changed(now_ns, &self.device);
                }
                if self.queues.len() > 1 {
                    shard.unpark(now_ns, None, &self.device);
                }
            });
        }
        for slot in changes.to_sweep.iter() {
            if changes.lost.contains(slot) {
                pr_warn!("server slot {}: its pages are gone\n", slot.index());
            }
            self.sweep(slot);
        }
    }

    /// Tells the queues that servers may be used, or not. When this returns, every page-out that
    /// ends knows it.
    pub(super) fn tell_queues(self: ArcBorrow<'_, Self>) {
        for queue in &self.queues {
            queue.drive(self, |shard, now_ns| {
                shard.servers_changed(now_ns, &self.device)
            });
        }
    }

    /// Clears the slot's bit from the whole map.
    fn sweep(self: ArcBorrow<'_, Self>, slot: ServerSlot) {
        // CAST: a device has fewer than 2^32 pages.
        for page in 0..self.device.map.len() as u32 {
            self.device.map.forget(PageIndex(page), SlotSet::one(slot));
        }
        self.control
            .with(&self, |state| state.cluster.swept(now_ns(), slot));
        self.kick();
    }

    /// Every version below the lowest under way is settled.
    fn raise_low_water(&self) {
        // Before any queue is asked: what begins later has a higher version.
        let mut settled = self.device.next_version();
        for queue in &self.queues {
            let oldest: Option<Version> = queue.with_shard(|shard| shard.oldest_version());
            settled = oldest.map_or(settled, |oldest| oldest.min(settled));
        }
        self.device.raise_low_water(settled);
    }

    /// When each server was last heard on the data path.
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

    /// Hands the cluster copies to be freed while it has room. Returns whether there are more.
    fn gather_frees(&self, state: &mut ControlState, now_ns: u64) -> bool {
        loop {
            let next = state.waiting_free.take();
            let Some(copy) = next.or_else(|| self.next_stale(state)) else {
                return false;
            };
            if !state.cluster.free(now_ns, &copy) {
                state.waiting_free = Some(copy);
                return true;
            }
        }
    }

    fn next_stale(&self, state: &mut ControlState) -> Option<free::StaleCopy> {
        for queue in &self.queues {
            if let Some(copy) = queue.with_shard(|shard| shard.take_stale()) {
                return Some(copy);
            }
        }
        loop {
            let (mut next, end) = match state.scan.take() {
                Some(scan) => scan,
                None => self.chunks.take(PageIndex(0))?,
            };
            let found = free::next_free(&self.device.map, &mut next, end, || {
                self.device.take_version()
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
