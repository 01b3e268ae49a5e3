// SPDX-License-Identifier: GPL-2.0

//! The worker: it carries out the engine's rounds ([`crate::engine::client::maintenance`]).
//!
//! Context: process, on the module's own WQ_MEM_RECLAIM queue. It allocates only the table for jumps of
//! the versions, and does not wait for that memory.

use kernel::prelude::*;

use super::{
    client::Client,
    cluster_lock::ClusterState,
    params, //
};
use crate::{
    engine::client::{
        cluster::Changes,
        maintenance::{
            round::Step,
            PART_PAGES, //
        }, //
    },
    linux::time::hrtimer::now_ns, //
};

impl Client {
    /// Runs the worker once.
    pub(super) fn work(&self) {
        let shared = &self.shared;
        let device = &shared.device;
        device.set_io_timeout_ns(params::io_timeout_ns());
        device.set_hedge_percent(params::hedged_percent());
        shared.local.look_after(shared);
        device.set_repair_pages_per_s(match self.restore.is_hibernating() {
            true => 0,
            false => params::repair_rate(),
        });
        self.follow_jumps();
        self.carry_out_round();
        if !self.inbox.lock().is_empty() {
            // The worker does not queue itself: when the module is unloaded, the timer queues nothing more,
            // and only this run is waited for.
            shared.timer.arm(0);
        }
    }

    /// Carries out a round, as the engine decides it
    /// ([`Round`](crate::engine::client::maintenance::round::Round)).
    fn carry_out_round(&self) {
        let shared = &self.shared;
        let device = &shared.device;
        let mut round = self.round.lock();
        round.begin();
        loop {
            match round.next_step() {
                Step::Cluster(frames) => self.cluster.with(shared, |state| {
                    self.take_frames(state, frames);
                    // Checked under the lock: no pages to free are searched for once the machine hibernates.
                    let is_resting = self.restore.is_hibernating();
                    let (cluster, outbox) = state.parts();
                    let chunks = &shared.chunks;
                    round.with_cluster(now_ns(), is_resting, cluster, outbox, device, chunks);
                }),
                Step::Look(number) => {
                    if let Some(queue) = self.queues.get(number) {
                        queue.with_shard(|shard| round.with_shard(now_ns(), shard, device));
                    }
                }
                Step::Notify(number) => {
                    if let Some(queue) = self.queues.get(number) {
                        queue.drive(shared, |shard, now_ns| {
                            round.with_shard(now_ns, shard, device);
                        });
                    }
                }
                Step::Repair => {
                    self.report_changes(&round.changes);
                    if let Some(queue) = self.repair_queue() {
                        queue.drive_repair(shared, |repair, shard, now_ns| {
                            round.with_repair(now_ns, repair, shard, device);
                        });
                    }
                }
                Step::Drain => {
                    if !self.restore.is_hibernating() {
                        if let Some(again_ns) = self.drain_servers() {
                            round.look_again_at(now_ns().saturating_add(again_ns));
                        }
                    }
                }
                Step::Sweep => round.sweep(device, PART_PAGES),
                Step::Done => break,
            }
        }
        shared.timer.arm(round.next_ns());
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

    /// Logs what has changed among the servers.
    fn report_changes(&self, changes: &Changes) {
        self.cluster.with(&self.shared, |state| {
            state.failure_log.update(now_ns(), self)
        });
        for slot in changes.refused.iter() {
            self.cluster.log_refusal(slot);
        }
        for slot in changes.to_sweep.intersection(changes.lost).iter() {
            let mac = self.shared.device.servers.address(slot).mac;
            pr_warn!(
                "server {}: restarted, or dropped the session; its copies are lost, repairing\n",
                mac
            );
        }
    }

    /// Notifies the queues that the set of usable servers has changed. Every page-out that ends after this
    /// returns takes the change into account.
    pub(super) fn synchronize_queues(&self) {
        self.drive_queues(|shard, now_ns| shard.servers_changed(now_ns, &self.shared.device));
    }
}
