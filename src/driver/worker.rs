// SPDX-License-Identifier: GPL-2.0

//! The worker: it carries out the engine's rounds ([`crate::engine::client::maintenance`]).
//!
//! Context: process, on the module's own WQ_MEM_RECLAIM queue. It allocates only the table for jumps of
//! the versions and keys, and does not wait for that memory.

use super::{
    client::Client,
    cluster_lock::ClusterState,
    params, //
};
use crate::{
    engine::client::maintenance::{
        round::Step,
        PART_PAGES, //
    },
    linux::{
        mm::alloc::zeroed_table_now,
        time::hrtimer::now_ns, //
    },
};

impl Client {
    /// Runs the worker once: carries out a round, as the engine decides it
    /// ([`Round`](crate::engine::client::maintenance::round::Round)).
    pub(super) fn work(&self) {
        let shared = &self.shared;
        let device = &shared.device;
        device.set_io_timeout_ns(params::io_timeout_ns());
        device.set_hedge_percent(params::hedged_percent());
        device.set_repair_pages_per_s(params::repair_rate());
        shared.local.look_after(shared);
        let mut round = self.round.lock();
        round.begin(device);
        loop {
            match round.next_step() {
                Step::TakeKey => shared.take_key(),
                Step::Allocate(words) => {
                    if let Ok(room) = zeroed_table_now(words) {
                        device.versions().give_room(room);
                    }
                }
                Step::Cluster(frames) => self.cluster.with_keys(shared, |state| {
                    self.take_frames(state, frames);
                    let (cluster, outbox) = state.parts();
                    round.with_cluster(now_ns(), cluster, outbox, device, &shared.chunks);
                }),
                Step::Inspect(number) => {
                    if let Some(queue) = self.queues.get(number) {
                        queue.lock_shard(|shard| round.with_shard(now_ns(), shard, device));
                    }
                }
                Step::Notify(number) => {
                    if let Some(queue) = self.queues.get(number) {
                        queue.drive_shard(shared, |shard, now_ns| {
                            round.with_shard(now_ns, shard, device);
                        });
                    }
                }
                Step::Report => round.report(now_ns(), device, |event| self.log(event)),
                Step::Repair => {
                    if let Some(queue) = self.repair_queue() {
                        queue.drive_repair(shared, |repair, shard, now_ns| {
                            round.with_repair(now_ns, repair, shard, device);
                        });
                    }
                }
                Step::Drain => {
                    if let Some(again_ns) = self.drain_servers() {
                        round.look_again_at(now_ns().saturating_add(again_ns));
                    }
                }
                Step::Sweep => round.sweep(device, PART_PAGES),
                Step::Done => break,
            }
        }
        // The worker does not queue itself: when the module is unloaded, the timer queues nothing more, and
        // only this run is waited for.
        let has_frames = !self.inbox.lock().is_empty();
        let due_ns = round.next_ns(has_frames);
        shared.timer.arm(due_ns.min(self.cluster.keys_due_ns()));
    }

    /// Passes up to `most` received control frames to the cluster.
    fn take_frames(&self, state: &mut ClusterState, most: usize) {
        let (cluster, outbox) = state.parts();
        cluster.set_loss_timeout_ns(params::loss_timeout_ns());
        for _ in 0..most {
            let control = self.inbox.lock().take();
            let Some(control) = control else {
                break;
            };
            let (source, servers) = (control.source, &self.shared.device.servers);
            cluster.handle_frame(now_ns(), source, &control.frame(), servers, outbox);
        }
    }
}
