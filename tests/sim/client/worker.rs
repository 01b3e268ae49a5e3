// SPDX-License-Identifier: GPL-2.0

//! A model of the driver's worker: timers of the cluster, notifications of the shards, sweeps, frees, the
//! low water. It does one job after the other, with any events in between.

use anemone::engine::client::free::{next_free, StaleCopy};
use anemone::engine::client::ids::{PageIndex, ServerSlot, SlotSet, Version};
use anemone::wire::MacAddress;
use rand::Rng;

use super::{Client, ClientEvent, Heap};
use crate::context::Context;
use crate::event::Event;
use crate::night::Night;
use crate::scenario::{MS, S};
use anemone::engine::client::shard::Shard;

/// A job of the worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Notify a shard of changed servers.
    Notify { shard: usize, opened: SlotSet },
    /// Sweep a part of the map.
    Sweep { slot: ServerSlot, from: u32 },
    /// Read a shard's lowest version, or after the last one raise the low water.
    LowWater { settled: Version, shard: usize },
}

impl Client {
    /// Runs the cluster's timers, and takes its changes.
    pub(super) fn run_cluster(&mut self, ctx: &mut Context) {
        if self.is_unloaded {
            return;
        }
        self.free_orphans(ctx);
        self.cluster.set_io_timeout_ns(self.device.io_timeout_ns());
        let mut frames = self.frames();
        let clock_ns = self.clock_ns(ctx);
        let shards = &self.shards;
        let heard_ns = |slot| {
            let heard = shards
                .iter()
                .map(|shard: &Shard<Heap>| shard.heard_ns(slot));
            heard.max().unwrap_or(0)
        };
        self.cluster
            .handle_timeout(clock_ns, &self.device.servers, heard_ns, &mut frames);
        if let Some(noted) = self.frees_noted.take() {
            self.device.set_frees_notified(noted);
        }
        self.transmit_all(ctx, frames);
        let changes = self.cluster.take_changes();
        if let Some((high, witness)) = changes.high_water {
            self.device.note_high_water(witness, high);
        }
        self.note_opened(ctx, changes.opened);
        if changes.servers_changed || !changes.opened.is_empty() {
            ctx.note(|| format!("client {}: {changes:?}", self.number));
            for shard in 0..self.shards.len() {
                let opened = changes.opened;
                self.jobs.push_back(Job::Notify { shard, opened });
            }
        }
        for slot in changes.to_sweep.iter() {
            self.jobs.push_back(Job::Sweep { slot, from: 0 });
        }
        self.work_soon(ctx);
        let due_ns = self.cluster.next_timeout_ns();
        if due_ns < self.cluster_timer_ns {
            self.cluster_timer_ns = due_ns;
            let at_ns = self.clock.when(due_ns).max(ctx.now_ns) + ctx.rng.random_range(0..MS);
            let event = Event::Client(self.number, ClientEvent::ClusterTimer);
            ctx.queue.put(at_ns, event);
        }
    }

    pub(super) fn work_soon(&mut self, ctx: &mut Context) {
        let Some(job) = self.jobs.front() else {
            return;
        };
        if !self.is_working {
            self.is_working = true;
            let slow = ctx.scenario.enabled.slow_sweep && matches!(job, Job::Sweep { .. });
            let delay_ns = match slow {
                true => ctx.rng.random_range(0..3000 * MS),
                false => ctx.host_delay(),
            };
            self.after(ctx, delay_ns, ClientEvent::Work);
        }
    }

    pub(super) fn work(&mut self, ctx: &mut Context) {
        self.is_working = false;
        let clock_ns = self.clock_ns(ctx);
        match self.jobs.pop_front() {
            Some(Job::Notify { shard, opened }) => {
                for slot in opened.iter() {
                    self.shards[shard].reset_path(slot);
                }
                self.shards[shard].servers_changed(clock_ns, &self.device);
                if shard == self.repair_shard() {
                    self.repair.servers_changed(clock_ns, &self.device);
                    self.drive_repair(ctx, None);
                }
                self.pump(ctx, shard);
            }
            Some(Job::Sweep { slot, from }) => self.sweep(ctx, slot, from),
            Some(Job::LowWater { settled, shard }) => match self.shards.get(shard) {
                Some(asked) => {
                    let oldest = asked.oldest_version().unwrap_or(settled);
                    self.jobs.push_back(Job::LowWater {
                        settled: settled.min(oldest),
                        shard: shard + 1,
                    });
                }
                None => {
                    self.device.raise_low_water(settled);
                    self.cluster.set_low_water(self.device.low_water());
                }
            },
            None => {}
        }
        self.work_soon(ctx);
    }

    /// Whether a sweep or a notification of a shard is pending.
    pub fn has_pending_changes(&self) -> bool {
        let is_change = |job: &Job| !matches!(job, Job::LowWater { .. });
        !self.is_dead && self.jobs.iter().any(is_change)
    }

    /// Whether it has a session with this incarnation of a server.
    pub fn has_open(&self, mac: MacAddress, incarnation: Option<u64>) -> bool {
        let servers = &self.device.servers;
        servers.valid().iter().any(|slot| {
            let address = servers.address(slot);
            address.mac == mac && Some(address.incarnation) == incarnation
        })
    }

    fn sweep(&mut self, ctx: &mut Context, slot: ServerSlot, from: u32) {
        let pages = self.device.map.len() as u32;
        let to = pages.min(from + 1 + ctx.rng.random_range(0..1000));
        for page in from..to {
            self.device.map.forget(PageIndex(page), SlotSet::one(slot));
        }
        if to < pages {
            self.jobs.push_front(Job::Sweep { slot, from: to });
            return;
        }
        ctx.note(|| format!("client {}: {slot:?} is swept", self.number));
        self.cluster.swept(self.clock_ns(ctx), slot);
        self.run_cluster(ctx);
    }

    /// The periodic work, which no event triggers.
    pub(super) fn patrol(&mut self, ctx: &mut Context) {
        self.free(ctx);
        let has_low_water = |job: &Job| matches!(job, Job::LowWater { .. });
        if !self.jobs.iter().any(has_low_water) {
            // Versions that are given out from now on are not below this one.
            let settled = self.device.next_version();
            self.jobs.push_back(Job::LowWater { settled, shard: 0 });
        }
        self.run_cluster(ctx);
        self.look_after_repair(ctx);
        self.look_after_removals(ctx);
        let delay_ns = match ctx.night.as_ref().and_then(Night::until_ns) {
            // Less often by night, when there is little to do.
            Some(_) => S,
            None => ctx.rng.random_range(MS..50 * MS),
        };
        self.after(ctx, delay_ns, ClientEvent::Patrol);
    }

    fn free(&mut self, ctx: &mut Context) {
        let clock_ns = self.clock_ns(ctx);
        while let Some(copy) = self.held_back.pop_front() {
            if !self.cluster.free(clock_ns, &copy) {
                self.held_back.push_front(copy);
                return;
            }
        }
        let noted = self.device.frees_noted();
        let mut found: Vec<StaleCopy> = Vec::new();
        while let Some((mut next, end)) = self.chunks.take(PageIndex(0)) {
            while let Some(copy) = next_free(&self.device.map, &mut next, end, || {
                self.device.take_version()
            }) {
                found.push(copy);
            }
        }
        for shard in &mut self.shards {
            while let Some(copy) = shard.take_stale() {
                found.push(copy);
            }
            let lost = shard.take_frees_lost();
            self.cluster.ask_what_they_have(ctx.now_ns, lost);
        }
        for copy in found {
            if !self.held_back.is_empty() || !self.cluster.free(clock_ns, &copy) {
                self.held_back.push_back(copy);
            }
        }
        self.frees_noted = self.held_back.is_empty().then_some(noted);
    }

    /// Ends all requests, and sends a BYE to each server.
    pub fn unload(&mut self, ctx: &mut Context) {
        self.device.set_repair_pages_per_s(0);
        self.is_unloaded = true;
        for shard in 0..self.shards.len() {
            self.shards[shard].give_up_all(&self.device);
            self.pump(ctx, shard);
        }
        let mut frames = self.frames();
        self.cluster.say_bye(&mut frames);
        self.transmit_all(ctx, frames);
    }

    /// Copies that servers turned out to lack.
    pub fn copies_missing(&self) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| shard.counters().copies_missing).sum()
    }

    /// Stale copies of which servers could not be notified.
    pub fn frees_dropped(&self) -> u64 {
        let dropped = self
            .shards
            .iter()
            .map(|shard| shard.counters().frees_dropped);
        dropped.sum()
    }
}
