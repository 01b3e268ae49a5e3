// SPDX-License-Identifier: GPL-2.0

//! The worker: it does everything that is not a page-out or a page-in.
//!
//! Context: process, on the module's own WQ_MEM_RECLAIM queue. It allocates only the table for jumps of
//! the versions, and does not wait for that memory.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    workqueue::WorkItem, //
};

use super::{
    core::Core,
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

impl WorkItem for Core {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.as_arc_borrow().work();
    }
}

impl Core {
    fn work(self: ArcBorrow<'_, Self>) {
        self.device.set_io_timeout_ns(params::io_timeout_ns());
        self.device.set_hedge_percent(params::hedged_percent());
        self.local.look_after(self);
        self.device
            .set_repair_pages_per_s(match self.earlier.is_hibernating() {
                true => 0,
                false => params::repair_rate(),
            });
        self.follow_jumps();
        self.carry_out_round();
        if !self.inbox.lock().is_empty() {
            // The worker does not queue itself: when the module is unloaded, the timer queues nothing more,
            // and only this run is waited for.
            self.timer.arm(0);
        }
    }

    /// Carries out a round, as the engine decides it
    /// ([`Round`](crate::engine::client::maintenance::round::Round)).
    fn carry_out_round(self: ArcBorrow<'_, Self>) {
        let device = &self.device;
        let mut round = self.round.lock();
        round.begin();
        loop {
            match round.next_step() {
                Step::Look(number) => {
                    if let Some(queue) = self.queues.get(number) {
                        queue.with_shard(|shard| round.look_at_shard(shard, device));
                    }
                }
                Step::Frames(most) => self.take_frames(most),
                Step::Cluster => self.control.with(&self, |state| {
                    // Checked under the lock: no pages to free are searched for once the machine hibernates.
                    let is_resting = self.earlier.is_hibernating();
                    let (cluster, outbox) = state.parts();
                    round.with_cluster(now_ns(), is_resting, cluster, outbox, device, &self.chunks);
                }),
                Step::Notify(number) => {
                    if let Some(queue) = self.queues.get(number) {
                        queue.drive(self, |shard, now_ns| {
                            round.notify_shard(now_ns, shard, device);
                        });
                    }
                }
                Step::Repair => {
                    self.report_changes(round.changes());
                    if let Some(queue) = self.repair_queue() {
                        queue.drive_repair(self, |repair, shard, now_ns| {
                            round.with_repair(now_ns, repair, shard, device);
                        });
                    }
                }
                Step::Drain => {
                    if !self.earlier.is_hibernating() {
                        if let Some(again_ns) = self.drain_servers() {
                            round.look_again_in(again_ns);
                        }
                    }
                }
                Step::Sweep => round.sweep(device, PART_PAGES),
                Step::Done => break,
            }
        }
        self.timer.arm(round.next_ns(now_ns()));
    }

    /// Passes up to `most` received control frames to the cluster.
    fn take_frames(&self, most: usize) {
        self.control.with(self, |state| {
            let now_ns = now_ns();
            let (cluster, outbox) = state.parts();
            cluster.set_loss_timeout_ns(params::loss_timeout_ns());
            for _ in 0..most {
                let control = self.inbox.lock().take();
                let Some(control) = control else {
                    break;
                };
                let servers = &self.device.servers;
                cluster.handle_frame(now_ns, control.source, &control.frame(), servers, outbox);
            }
        });
    }

    /// Logs what has changed among the servers.
    fn report_changes(&self, changes: &Changes) {
        self.control
            .with(self, |state| state.plight.look(now_ns(), self));
        for slot in changes.refused.iter() {
            self.control.log_refusal(slot);
        }
        for slot in changes.to_sweep.intersection(changes.lost).iter() {
            let mac = self.device.servers.address(slot).mac;
            pr_warn!(
                "server {}: restarted, or dropped the session; its copies are lost, repairing\n",
                mac
            );
        }
    }

    /// Notifies the queues that the set of usable servers has changed. Every page-out that ends after this
    /// returns takes the change into account.
    pub(super) fn synchronize_queues(self: ArcBorrow<'_, Self>) {
        for queue in &self.queues {
            queue.drive(self, |shard, now_ns| {
                shard.servers_changed(now_ns, &self.device)
            });
        }
    }
}
