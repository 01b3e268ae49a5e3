// SPDX-License-Identifier: GPL-2.0

//! A model of the driver's worker. It carries out the engine's rounds a step at a time, with any events in
//! between. As in the driver, a round begins when the worker is kicked or its timer is due, and at no other
//! time: what the worker is not woken for shows.

use anemone::engine::client::ids::{ServerSlot, Version};
use anemone::engine::client::inbox::{Inbox, Waiting, INBOX_FRAMES};
use anemone::engine::client::maintenance::round::Step;
use anemone::wire::{Frame, MacAddress, Opcode, PageVersion};
use rand::Rng;
use zerocopy::FromBytes;

use super::{words, Client, ClientEvent};
use crate::context::Context;
use crate::event::{Event, Wire};
use crate::scenario::MS;

impl Waiting for Wire {
    fn announces(&self) -> Option<MacAddress> {
        let frame = Frame::parse(&self.bytes).ok()?;
        (frame.header.opcode == Opcode::Announce).then_some(self.source)
    }
}

/// The worker's state.
pub(super) struct Working {
    /// Received control frames.
    pub(super) inbox: Inbox<Vec<Option<Wire>>>,
    /// Whether a round is under way, or about to begin.
    is_running: bool,
    /// Whether another one follows it.
    is_kicked: bool,
    /// Whether the cluster may have changed, and shards or repair have not been notified.
    is_pending: bool,
    /// When the next part of the map is swept, if sweeps are slow.
    sweep_ns: u64,
    /// When the worker's timer is due, by the client's clock.
    timer_ns: Option<u64>,
    /// Whether an op under way holds the low water back.
    is_held: bool,
}

impl Default for Working {
    fn default() -> Self {
        Self {
            inbox: Inbox::new(vec![None; INBOX_FRAMES]),
            is_running: false,
            is_kicked: false,
            is_pending: false,
            sweep_ns: 0,
            timer_ns: None,
            is_held: false,
        }
    }
}

impl Client {
    /// Kicks the worker.
    pub(super) fn run_cluster(&mut self, ctx: &mut Context) {
        if self.is_unloaded {
            return;
        }
        self.working.is_kicked |= self.working.is_running;
        if !self.working.is_running {
            self.working.is_running = true;
            self.working.is_pending = true;
            self.round.begin(&self.device);
            let delay_ns = ctx.host_delay();
            self.after(ctx, delay_ns, ClientEvent::Work);
        }
    }

    /// The next step of the worker's round.
    pub(super) fn work(&mut self, ctx: &mut Context) {
        let clock_ns = self.clock_ns(ctx);
        if self.is_draining() {
            self.continue_drain(ctx);
            let delay_ns = ctx.host_delay();
            self.after(ctx, delay_ns, ClientEvent::Work);
            return;
        }
        match self.round.next_step() {
            Step::TakeKey => self.add_key(ctx),
            Step::Allocate(count) => {
                if !ctx.scenario.enabled.send_failure || ctx.rng.random_bool(0.5) {
                    self.device.versions().give_room(words(count));
                }
            }
            Step::Inspect(shard) => {
                if shard == 0 {
                    self.working.is_held = false;
                }
                self.working.is_held |= self.shards[shard].oldest_version().is_some();
                self.round
                    .with_shard(clock_ns, &mut self.shards[shard], &self.device);
            }
            Step::Cluster(frames) => self.round_with_cluster(ctx, frames),
            Step::Notify(shard) => {
                self.round
                    .with_shard(clock_ns, &mut self.shards[shard], &self.device);
                self.pump(ctx, shard);
            }
            Step::Report => {
                let number = self.number;
                let note = |event| ctx.note(|| format!("client {number} logs {event:?}"));
                self.round.report(clock_ns, &self.device, note);
            }
            Step::Repair => self.round_with_repair(ctx),
            Step::Drain => self.begin_drain(),
            Step::Sweep => {
                let is_due = clock_ns >= self.working.sweep_ns;
                let part = match is_due {
                    true => 1 + ctx.rng.random_range(0..1000),
                    false => 0,
                };
                if is_due && ctx.scenario.enabled.slow_sweep {
                    self.working.sweep_ns = clock_ns + ctx.rng.random_range(0..3000 * MS);
                }
                self.round.sweep(&self.device, part);
            }
            Step::Done => {
                self.end_round(ctx);
                return;
            }
        }
        let delay_ns = ctx.host_delay();
        self.after(ctx, delay_ns, ClientEvent::Work);
    }

    /// Passes received control frames to the cluster, and does what is next with it.
    fn round_with_cluster(&mut self, ctx: &mut Context, most: usize) {
        let clock_ns = self.clock_ns(ctx);
        let mut frames = self.frames();
        self.take_keys(ctx, &mut frames);
        for _ in 0..most {
            let Some(wire) = self.working.inbox.take() else {
                break;
            };
            if let Ok(frame) = Frame::parse(&wire.bytes) {
                let servers = &self.device.servers;
                self.cluster
                    .handle_frame(clock_ns, wire.source, &frame, servers, &mut frames);
            }
        }
        let before = self.round.orphans_found;
        self.round.with_cluster(
            clock_ns,
            &mut self.cluster,
            &mut frames,
            &self.device,
            &self.chunks,
        );
        ctx.counts.orphans_found += self.round.orphans_found - before;
        for wire in &frames.wires {
            self.check_frees(ctx, wire);
        }
        self.request_keys(ctx, &mut frames);
        self.transmit_all(ctx, frames);
        let changes = self.round.changes;
        self.note_opened(ctx, changes.opened);
        let has_changed = changes.servers_changed || !changes.opened.is_empty();
        // The changes are taken after the received frames have been handled.
        self.working.is_pending &= has_changed || most != 0;
        if has_changed {
            ctx.note(|| format!("client {}: {changes:?}", self.number));
        }
    }

    /// A frame that frees pages carries a low water that is not below their versions, except for page-outs
    /// that were under way when the low water was read.
    fn check_frees(&self, ctx: &mut Context, wire: &Wire) {
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return;
        };
        if frame.header.opcode != Opcode::Free || self.working.is_held {
            return;
        }
        let freed = <[PageVersion]>::ref_from_bytes(frame.payload).unwrap_or_default();
        let low_water = Version(frame.header.low_water);
        let late = freed
            .iter()
            .find(|one| Version(one.version.get()) > low_water);
        if let Some(one) = late {
            let (number, page, below) = (self.number, one.page.get(), one.version.get());
            ctx.oracle.fail(|| {
                format!("client {number} page {page}: freed below {below}, and {low_water:?} is settled")
            });
        }
    }

    fn round_with_repair(&mut self, ctx: &mut Context) {
        let shard = self.repair_shard();
        let before = *self.repair.counters();
        let clock_ns = self.clock_ns(ctx);
        let (repair, device) = (&mut self.repair, &self.device);
        self.round
            .with_repair(clock_ns, repair, &mut self.shards[shard], device);
        self.has_repaired |= *self.repair.counters() != before;
        self.working.is_pending = false;
        self.pump(ctx, shard);
    }

    fn end_round(&mut self, ctx: &mut Context) {
        let clock_ns = self.clock_ns(ctx);
        self.working.is_running = false;
        let has_frames = !self.working.inbox.is_empty();
        let due_ns = self.round.next_ns(has_frames).min(self.keys_due_ns());
        let mut due_ns = due_ns.max(clock_ns);
        if self.round.is_sweeping() && ctx.scenario.enabled.slow_sweep {
            due_ns = due_ns.max(self.working.sweep_ns.min(clock_ns + 20 * MS));
        }
        if std::mem::take(&mut self.working.is_kicked) {
            self.run_cluster(ctx);
        }
        self.set_worker_timer(ctx, due_ns);
    }

    pub(super) fn set_worker_timer(&mut self, ctx: &mut Context, due_ns: u64) {
        if self
            .working
            .timer_ns
            .is_none_or(|timer_ns| due_ns < timer_ns)
        {
            self.working.timer_ns = Some(due_ns);
            let at_ns = self.clock.when(due_ns).max(ctx.now_ns) + ctx.rng.random_range(0..MS);
            let event = Event::Client(self.number, ClientEvent::ClusterTimer);
            ctx.queue.put(at_ns, event);
        }
    }

    /// The worker's timer fires. Another one that is due sooner may have been set since.
    pub(super) fn fire_worker_timer(&mut self, ctx: &mut Context) {
        let clock_ns = self.clock_ns(ctx);
        if self
            .working
            .timer_ns
            .is_some_and(|timer_ns| clock_ns >= timer_ns)
        {
            self.working.timer_ns = None;
        }
        self.run_cluster(ctx);
    }

    /// The clock has changed since the worker's timer was set.
    pub(super) fn reset_worker_timer(&mut self, ctx: &mut Context) {
        self.working.timer_ns = None;
        self.run_cluster(ctx);
    }

    /// Whether a slot has still to be swept, or a shard to be notified.
    pub fn has_pending_changes(&self) -> bool {
        let Working {
            is_pending,
            is_kicked,
            ..
        } = self.working;
        !self.is_dead && (is_pending || is_kicked || self.round.is_sweeping())
    }

    /// Whether it has a session with this incarnation of a server.
    pub fn has_open(&self, mac: MacAddress, incarnation: Option<u64>) -> bool {
        let servers = &self.device.servers;
        servers.valid().iter().any(|slot: ServerSlot| {
            let address = servers.address(slot);
            address.mac == mac && Some(address.incarnation) == incarnation
        })
    }

    /// Says goodbye. No request is under way.
    pub fn unload(&mut self, ctx: &mut Context) {
        self.device.set_repair_pages_per_s(0);
        self.is_unloaded = true;
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
