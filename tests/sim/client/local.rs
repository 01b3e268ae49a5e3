// SPDX-License-Identifier: GPL-2.0

//! A model of the driver's part for the local disk: the mirror, its buffers, and the disk's I/O, with all
//! delays between.

use std::collections::BTreeSet;

use anemone::crc::crc32c;
use anemone::engine::client::ids::PageIndex;
use anemone::engine::client::maintenance::detach::Detach;
use anemone::engine::client::mirror::{
    self, Buffer, DiskIo, Event as MirrorEvent, Head, Io, Mirror,
};
use anemone::engine::client::shard::{BufferFill, BufferRead};
use anemone::engine::client::swap_device::SwapDevice;
use rand::Rng;

use super::{Client, ClientEvent, Heap};
use crate::content::{zeros, Bytes};
use crate::context::Context;
use crate::disk::SimDisk;
use crate::event::Event;
use crate::faults::Fault;
use crate::oracle::RequestId;
use crate::scenario::{MS, S};

/// The most I/Os under direction.
const IOS: usize = 8;

/// An event of the disk.
#[derive(Debug)]
pub enum LocalEvent {
    /// A page is copied to a buffer.
    Fill(usize, BufferFill),
    /// A shard is notified that a page with this checksum has been copied to a buffer.
    Filled(usize, BufferFill, Option<u32>),
    /// A buffer is copied to the request's page.
    Read(usize, BufferRead, RequestId),
    /// The shards of the mirror's event are to be notified.
    Event(MirrorEvent),
    /// A shard is notified of the mirror's event.
    Notify(usize, MirrorEvent),
    /// The disk ends an I/O.
    Ended(usize),
    /// The mirror is notified that the disk has refused an I/O.
    Refused(usize),
    /// The mirror's timer is due.
    Timer,
    /// The disk is detached; by force, even if it has the only copy of a page. Another is attached after
    /// that.
    Detach(bool),
    /// The next step of the detach.
    DetachStep,
    /// A disk is attached again.
    Attach,
    /// A faulty disk is re-added.
    ReAdd,
    /// The mirror's configuration changes.
    Configure(mirror::Config),
    /// The worker checks whether the disk is gone.
    LookAfter,
    /// An operator replaces a disk that is gone: it is detached, by force if it must be.
    Replace(bool),
}

/// A client's local disk.
pub struct Local {
    pub mirror: Mirror<Heap>,
    pub disk: SimDisk,
    pages: Vec<Bytes>,
    under_way: Vec<Option<DiskIo>>,
    timer_ns: u64,
    /// The detach that is under direction.
    pub(super) detach: Option<Detach>,
    /// The shard that is notified next that the disk is being detached.
    pub(super) notifying: Option<usize>,
    pub(super) is_forced: bool,
    /// When the servers were first asked whether they have their pages.
    pub(super) asked_ns: Option<u64>,
    /// That time and the disk's pages, if the disk has been given up since the oracle's last check.
    pub given_up: Option<(u64, Vec<u32>)>,
    /// How often the detach has waited since a signal arrived; `None` if none did.
    pub(super) waits_since_signal: Option<u32>,
    /// Whether the mirror was notified that the disk is gone.
    pub(super) is_marked: bool,
    /// I/Os that the disk has refused.
    refused: BTreeSet<usize>,
    /// How many refusals the mirror has not been notified of.
    pending_refusals: usize,
    /// Events of the mirror that have not reached their shards.
    pub(super) pending_events: usize,
    /// How often the mirror had no room, and how often it had a page-in's page, when last checked.
    seen: (u64, u64),
    /// When there was last no buffer for a page.
    pub full_ns: Option<u64>,
    /// When it was last detached.
    pub detached_ns: Option<u64>,
    /// Since when the mirror uses it and the shards know that.
    pub usable_since_ns: Option<u64>,
}

impl Local {
    /// The disk of this scenario, not attached yet; `None` if the scenario has none.
    pub fn new(ctx: &Context) -> Option<Self> {
        let scenario = ctx.scenario.disk?;
        let buffers = scenario.buffers;
        Some(Self {
            mirror: Mirror::new(
                scenario.config,
                mirror::Parts {
                    buffers: vec![Buffer::default(); buffers],
                    heads: vec![Head::default(); buffers / 2 + 1],
                    ios: vec![Io::default(); IOS],
                },
            ),
            disk: SimDisk::new(scenario),
            pages: (0..buffers).map(|_| zeros()).collect(),
            under_way: vec![None; IOS],
            timer_ns: u64::MAX,
            detach: None,
            notifying: None,
            is_forced: false,
            asked_ns: None,
            given_up: None,
            waits_since_signal: None,
            is_marked: false,
            refused: BTreeSet::new(),
            pending_refusals: 0,
            pending_events: 0,
            seen: (0, 0),
            full_ns: None,
            detached_ns: None,
            usable_since_ns: None,
        })
    }
}

impl Client {
    fn after_local(&self, ctx: &mut Context, event: LocalEvent) {
        let delay_ns = ctx.host_delay();
        self.after(ctx, delay_ns, ClientEvent::Local(event));
    }

    /// Schedules a copy of a page to a buffer.
    pub(super) fn fill_later(&mut self, ctx: &mut Context, shard: usize, fill: BufferFill) {
        self.after_local(ctx, LocalEvent::Fill(shard, fill));
    }

    /// Schedules a copy of a buffer to a page.
    pub(super) fn read_later(&mut self, ctx: &mut Context, shard: usize, read: BufferRead) {
        match &self.requests[shard][read.op.index()] {
            Some(request) => {
                let event = LocalEvent::Read(shard, read, request.id);
                self.after_local(ctx, event);
            }
            None => ctx.oracle.fail(|| format!("{read:?} has no request")),
        }
    }

    /// Handles an event of the disk.
    pub(super) fn handle_local(&mut self, ctx: &mut Context, event: LocalEvent) {
        let Some(local) = self.local.as_mut() else {
            ctx.oracle.fail(|| format!("{event:?} without a disk"));
            return;
        };
        let now_ns = self.clock.read(ctx.now_ns);
        match event {
            LocalEvent::Fill(shard, fill) => self.fill(ctx, shard, fill),
            LocalEvent::Filled(shard, fill, crc) => {
                let port = &mut self.local.as_mut().map(|local| &mut local.mirror);
                self.shards[shard].buffer_filled(now_ns, &fill, crc, port, &self.device);
                self.pump(ctx, shard);
            }
            LocalEvent::Read(shard, read, id) => self.read(ctx, shard, &read, id),
            LocalEvent::Event(event) => {
                local.pending_events -= 1;
                self.notify(ctx, event);
            }
            LocalEvent::Notify(shard, event) => {
                local.pending_events -= 1;
                self.notify_shard(ctx, shard, event);
            }
            LocalEvent::Ended(id) => local.ended(self.number, now_ns, ctx, id, &self.device),
            LocalEvent::Refused(id) => {
                local.pending_refusals -= 1;
                local.mirror.refused(now_ns, id, &self.device);
            }
            LocalEvent::Timer => {
                if now_ns >= local.timer_ns {
                    local.timer_ns = u64::MAX;
                }
                local.mirror.handle_timeout(now_ns, &self.device);
            }
            LocalEvent::Detach(force) => {
                if local.mirror.is_attached() && local.detach.is_none() && !self.is_unloading {
                    ctx.note(|| format!("client {}: detaches its disk", self.number));
                    local.begin_detach(Detach::new(force), force);
                    self.after_local(ctx, LocalEvent::DetachStep);
                }
            }
            LocalEvent::DetachStep => self.advance_detach(ctx),
            LocalEvent::LookAfter => self.look_after_disk(ctx),
            LocalEvent::Replace(force) => self.replace_disk(ctx, force),
            LocalEvent::Attach => {
                if !self.is_unloading && local.mirror.attach(&self.device).is_ok() {
                    ctx.note(|| format!("client {}: attaches its disk", self.number));
                }
            }
            LocalEvent::ReAdd => {
                if !local.disk.is_gone() && local.mirror.re_add(&self.device).is_err() {
                    let event = ClientEvent::Local(LocalEvent::ReAdd);
                    ctx.after(S, Event::Client(self.number, event));
                }
            }
            LocalEvent::Configure(config) => local.mirror.set_config(config, &self.device),
        }
        self.pump_local(ctx);
    }

    /// Copies a page, or what fills it, to a buffer.
    fn fill(&mut self, ctx: &mut Context, shard: usize, fill: BufferFill) {
        let (Some(local), Some(request)) =
            (&mut self.local, &self.requests[shard][fill.op.index()])
        else {
            ctx.oracle
                .fail(|| format!("the request ended while its page was copied: {fill:?}"));
            return;
        };
        let page = &mut local.pages[fill.buffer.index()];
        let crc = match fill.fill {
            Some(value) => {
                for chunk in page.chunks_exact_mut(8) {
                    chunk.copy_from_slice(&value.to_be_bytes());
                }
                fill.crc
            }
            None => {
                page.clone_from(&request.bytes);
                Some(crc32c(&page[..]))
            }
        };
        self.after_local(ctx, LocalEvent::Filled(shard, fill, crc));
    }

    /// Copies a buffer to a request's page.
    fn read(&mut self, ctx: &mut Context, shard: usize, read: &BufferRead, id: RequestId) {
        let now_ns = self.clock_ns(ctx);
        let request = self.requests[shard][read.op.index()].as_mut();
        let (Some(local), Some(request)) =
            (&mut self.local, request.filter(|request| request.id == id))
        else {
            ctx.oracle
                .fail(|| format!("request {id} ended while its page was copied to"));
            return;
        };
        request.bytes.clone_from(&local.pages[read.buffer.index()]);
        let crc = read.wants_crc.then(|| crc32c(&request.bytes[..]));
        let port = &mut Some(&mut local.mirror);
        self.shards[shard].buffer_read(now_ns, read, true, crc, port, &self.device);
        self.pump(ctx, shard);
    }

    fn notify(&mut self, ctx: &mut Context, event: MirrorEvent) {
        let Some(shard) = event.shard() else {
            for shard in 0..self.shards.len() {
                if let Some(local) = &mut self.local {
                    local.pending_events += 1;
                }
                self.after_local(ctx, LocalEvent::Notify(shard, event));
            }
            return;
        };
        if shard == self.repair_shard() && matches!(event, MirrorEvent::Read(_, Ok(_))) {
            ctx.counts.fault(Fault::CopiedFromDisk);
        }
        self.notify_shard(ctx, shard, event);
    }

    fn notify_shard(&mut self, ctx: &mut Context, shard: usize, event: MirrorEvent) {
        let now_ns = self.clock_ns(ctx);
        let port = &mut self.local.as_mut().map(|local| &mut local.mirror);
        self.shards[shard].disk_event(now_ns, event, port, &self.device);
        self.pump(ctx, shard);
    }

    /// Carries out the mirror's actions.
    pub(super) fn pump_local(&mut self, ctx: &mut Context) {
        let Some(mut local) = self.local.take() else {
            return;
        };
        local.pump(self, ctx);
        self.local = Some(local);
    }

    /// The DISK bit of a page with contents; `None` while the page is being written.
    pub fn counts_on_disk(&self, page: u32) -> Option<bool> {
        let entry = self.device.map.load(PageIndex(page));
        let is_there =
            entry.is_written() && entry.is_on_disk() && self.device.disk.load().is_attached();
        (!entry.is_busy()).then_some(is_there)
    }
}

impl Local {
    fn ended(
        &mut self,
        client: usize,
        clock_ns: u64,
        ctx: &mut Context,
        id: usize,
        device: &SwapDevice<Heap>,
    ) {
        let Some(ended) = self.disk.end(ctx, id) else {
            return;
        };
        let Some(io) = self.under_way[id].take() else {
            ctx.oracle.fail(|| format!("I/O {id} has ended twice"));
            return;
        };
        ctx.note(|| format!("client {client}: ends I/O {id}, ok {}", ended.ok));
        if ended.ok {
            for (buffer, bytes) in io.buffers().iter().zip(ended.pages) {
                self.pages[buffer.index()] = bytes;
            }
        }
        self.mirror.ended(clock_ns, id, ended.ok, device);
    }

    /// Begins to detach the disk.
    pub(super) fn begin_detach(&mut self, detach: Detach, is_forced: bool) {
        self.detach = Some(detach);
        self.is_forced = is_forced;
        self.asked_ns = None;
        self.waits_since_signal = None;
    }

    /// Whether the disk has I/O as far as the mirror can know: it learns late that the disk has refused some.
    pub(super) fn has_io(&self) -> bool {
        self.pending_refusals != 0 || self.under_way.iter().any(Option::is_some)
    }

    /// Carries out the mirror's actions.
    fn pump(&mut self, client: &mut Client, ctx: &mut Context) {
        while let Some(io) = self.mirror.poll(client.clock_ns(ctx), &client.device) {
            let len = io.buffers().len();
            let (id, first, is_write) = (io.id, io.first, io.is_write);
            ctx.note(|| {
                let number = client.number;
                format!("client {number}: begins I/O {id}, write {is_write}, {len} from {first:?}")
            });
            if client.is_going {
                ctx.counts.fault(Fault::DiskIoWithdrawn);
                let now_ns = client.clock_ns(ctx);
                self.mirror.cannot_submit(now_ns, id, &client.device);
                continue;
            }
            self.mirror.submitted();
            let was_refused = self.refused.remove(&id);
            if is_write && self.is_marked && !was_refused {
                let number = client.number;
                ctx.oracle
                    .fail(|| format!("client {number}: writes {first:?} to a disk that is gone"));
            }
            if self.disk.refuses(ctx, &io) {
                self.refused.insert(id);
                self.pending_refusals += 1;
                client.after_local(ctx, LocalEvent::Refused(id));
                continue;
            }
            let pages = io.buffers().iter();
            let pages = pages.map(|buffer| self.pages[buffer.index()].clone());
            let due_ns = self
                .disk
                .submit(ctx, io.id, io.is_write, io.first.0, pages.collect());
            self.under_way[io.id] = Some(io);
            if let Some(due_ns) = due_ns {
                client.after(ctx, due_ns, ClientEvent::Local(LocalEvent::Ended(io.id)));
            }
        }
        while let Some(event) = self.mirror.poll_event() {
            self.pending_events += 1;
            client.after_local(ctx, LocalEvent::Event(event));
        }
        let counters = self.mirror.counters();
        let seen = (counters.pool_full, counters.buffer_hits);
        let before = std::mem::replace(&mut self.seen, seen);
        if before.0 != seen.0 {
            self.full_ns = Some(ctx.now_ns);
        }
        if before.1 != seen.1 {
            ctx.counts.fault(Fault::BufferHit);
        }
        let is_usable = self.mirror.is_usable() && self.detach.is_none();
        self.usable_since_ns = is_usable.then(|| self.usable_since_ns.unwrap_or(ctx.now_ns));
        self.arm(client, ctx);
    }

    fn arm(&mut self, client: &Client, ctx: &mut Context) {
        let due_ns = self.mirror.next_timeout_ns();
        if due_ns < self.timer_ns {
            self.timer_ns = due_ns;
            let at_ns = client.clock.when(due_ns).max(ctx.now_ns) + ctx.rng.random_range(0..MS);
            let event = Event::Client(client.number, ClientEvent::Local(LocalEvent::Timer));
            ctx.queue.put(at_ns, event);
        }
    }

    /// Sets its timer again.
    pub(super) fn set_timer(&mut self, client: &Client, ctx: &mut Context) {
        self.timer_ns = u64::MAX;
        self.arm(client, ctx);
    }
}
