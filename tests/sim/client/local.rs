// SPDX-License-Identifier: GPL-2.0

//! A model of the driver's part for the local disk: the mirror, its buffers, and the disk's I/O, with all
//! delays between.

use anemone::crc::crc32c;
use anemone::engine::client::ids::{PageIndex, SlotSet};
use anemone::engine::client::maintenance::detach::{Detach, DetachError, Step, Surroundings};
use anemone::engine::client::mirror::{
    self, Buffer, BufferId, DiskIo, Event as MirrorEvent, Get, Head, Io, Mirror, Put,
};
use anemone::engine::client::shard::{
    AskAnswer, DiskRead, DiskReceive, DiskWork, DiskWrite, PutAnswer, Shard, Taken,
};
use rand::Rng;

use super::{Client, ClientEvent, Heap};
use crate::content::{zeros, Bytes};
use crate::context::Context;
use crate::disk::SimDisk;
use crate::event::Event;
use crate::faults::Fault;
use crate::oracle::RequestId;
use crate::scenario::MS;

/// The most I/Os under way.
const IOS: usize = 8;

/// An event of the disk.
#[derive(Debug)]
pub enum LocalEvent {
    /// A shard's work for the mirror begins.
    Work(usize, DiskWork),
    /// A page with this checksum has been copied to a buffer.
    Copied(usize, DiskWrite, u32),
    /// A shard is notified that there is no buffer for its page.
    NotPut(usize, DiskWrite, PutAnswer),
    /// A page has been copied from a buffer.
    Looked(usize, DiskRead, BufferId, RequestId),
    /// A shard is notified of the mirror's event.
    Notify(MirrorEvent),
    /// A shard is notified that the disk has become usable or unusable.
    NotifyChange(usize),
    /// The data that was read is copied to the request's page.
    Receive(usize, DiskReceive, BufferId, RequestId),
    /// The disk ends an I/O.
    Ended(usize),
    /// The mirror's timer is due.
    Timer,
    /// The disk is detached; by force, even if it has the only copy of a page. Another is attached after that.
    Detach(bool),
    /// The next step of the detach.
    DetachStep,
    /// A disk is attached again.
    Attach,
    /// A faulty disk is re-added.
    ReAdd,
    /// The mirror's configuration changes.
    Configure(mirror::Config),
}

/// A client's local disk.
pub struct Local {
    pub mirror: Mirror<Heap>,
    pub disk: SimDisk,
    pages: Vec<Bytes>,
    under_way: Vec<Option<DiskIo>>,
    timer_ns: u64,
    /// The detach that is under way.
    detach: Option<Detach>,
    /// The shard that is notified next that the disk is being detached.
    notifying: Option<usize>,
    is_forced: bool,
    /// Events of the mirror that have not reached their shards.
    pending_events: usize,
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
            pending_events: 0,
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

    /// Schedules a shard's work for the mirror.
    pub(super) fn disk_work(&mut self, ctx: &mut Context, shard: usize, work: DiskWork) {
        self.after_local(ctx, LocalEvent::Work(shard, work));
    }

    /// Handles an event of the disk.
    pub(super) fn handle_local(&mut self, ctx: &mut Context, event: LocalEvent) {
        let Some(mut local) = self.local.take() else {
            ctx.oracle.fail(|| format!("{event:?} without a disk"));
            return;
        };
        local.handle(self, ctx, event);
        local.pump(self, ctx);
        let usable = local.mirror.is_usable() && local.detach.is_none();
        local.usable_since_ns = match usable {
            true => local.usable_since_ns.or(Some(ctx.now_ns)),
            false => None,
        };
        self.local = Some(local);
    }

    fn bytes_of(&self, ctx: &mut Context, shard: usize, op: usize) -> Option<&Bytes> {
        let request = self.requests[shard][op].as_ref();
        if request.is_none() {
            ctx.oracle
                .fail(|| format!("op {op} of shard {shard} ended while its page was copied"));
        }
        request.map(|request| &request.bytes)
    }

    /// The DISK bit of a page with contents; `None` while the page is being written.
    pub fn counts_on_disk(&self, page: u32) -> Option<bool> {
        let entry = self.device.map.load(PageIndex(page));
        let is_there =
            entry.is_written() && entry.is_on_disk() && self.device.disk.load().is_attached();
        (!entry.is_busy()).then_some(is_there)
    }
}

/// The result that a shard is passed for a page with this checksum.
fn taken(wants_crc: bool, crc: u32) -> Taken {
    match wants_crc {
        true => Taken::Summed(crc),
        false => Taken::Copied,
    }
}

impl Local {
    fn handle(&mut self, client: &mut Client, ctx: &mut Context, event: LocalEvent) {
        let now_ns = client.clock_ns(ctx);
        match event {
            LocalEvent::Work(shard, work) => self.work(client, ctx, shard, work),
            LocalEvent::Copied(shard, write, crc) => self.copied(client, ctx, shard, write, crc),
            LocalEvent::NotPut(shard, write, answer) => {
                client.shards[shard].disk_put(now_ns, &write, answer, &client.device);
                client.pump(ctx, shard);
            }
            LocalEvent::Looked(shard, read, buffer, id) => {
                let crc = self.copy_out(client, ctx, shard, read.op, buffer, id);
                let taken = taken(read.wants_crc, crc);
                client.shards[shard].disk_looked(now_ns, &read, taken, &client.device);
                client.pump(ctx, shard);
            }
            LocalEvent::Notify(event) => {
                self.pending_events -= 1;
                self.notify(client, ctx, event);
            }
            LocalEvent::NotifyChange(shard) => {
                self.pending_events -= 1;
                client.shards[shard].disk_changed(now_ns, &client.device);
                client.pump(ctx, shard);
            }
            LocalEvent::Receive(shard, receive, buffer, id) => {
                if shard == client.repair_shard() {
                    ctx.counts.fault(Fault::CopiedFromDisk);
                }
                let crc = self.copy_out(client, ctx, shard, receive.op, buffer, id);
                let taken = taken(receive.wants_crc, crc);
                client.shards[shard].disk_received(now_ns, &receive, taken, &client.device);
                client.pump(ctx, shard);
            }
            LocalEvent::Ended(id) => self.ended(client, ctx, id),
            LocalEvent::Timer => {
                if now_ns >= self.timer_ns {
                    self.timer_ns = u64::MAX;
                }
                self.mirror.handle_timeout(now_ns, &client.device);
            }
            LocalEvent::Detach(force) => {
                if self.mirror.is_attached() && self.detach.is_none() {
                    ctx.note(|| format!("client {}: detaches its disk", client.number));
                    self.detach = Some(Detach::new(force));
                    self.is_forced = force;
                    client.after_local(ctx, LocalEvent::DetachStep);
                }
            }
            LocalEvent::DetachStep => self.advance_detach(client, ctx),
            LocalEvent::Attach => {
                if self.mirror.attach(&client.device).is_ok() {
                    ctx.note(|| format!("client {}: attaches its disk", client.number));
                }
            }
            LocalEvent::ReAdd => self.mirror.re_add(&client.device),
            LocalEvent::Configure(config) => self.mirror.set_config(config, &client.device),
        }
    }

    fn work(&mut self, client: &mut Client, ctx: &mut Context, shard: usize, work: DiskWork) {
        let now_ns = client.clock_ns(ctx);
        let (device, mirror) = (&client.device, &mut self.mirror);
        match work {
            DiskWork::Write(write) => {
                let put = write.begin(mirror, device);
                if put == Put::Full && !write.is_copy {
                    self.full_ns = Some(ctx.now_ns);
                }
                let Put::Buffer(buffer) = put else {
                    let answer = match put {
                        Put::Full => PutAnswer::Full,
                        _ => PutAnswer::Closed,
                    };
                    client.after_local(ctx, LocalEvent::NotPut(shard, write, answer));
                    return;
                };
                let Some(bytes) = client.bytes_of(ctx, shard, write.op).cloned() else {
                    return;
                };
                let crc = match write.fill {
                    Some(value) => {
                        for chunk in self.pages[buffer.index()].chunks_exact_mut(8) {
                            chunk.copy_from_slice(&value.to_be_bytes());
                        }
                        write.crc
                    }
                    None => {
                        let crc = crc32c(&bytes[..]);
                        self.pages[buffer.index()] = bytes;
                        crc
                    }
                };
                client.after_local(ctx, LocalEvent::Copied(shard, write, crc));
            }
            DiskWork::Want(want) => {
                if !mirror.want(now_ns, want.page, want.version, want.token) {
                    client.shards[shard].disk_written(now_ns, want.token, false, device);
                    client.pump(ctx, shard);
                }
            }
            DiskWork::Settle(settle) => {
                let (page, version) = (settle.page, settle.version);
                mirror.settle(now_ns, page, version, settle.completed, device);
            }
            DiskWork::Read(read) => self.read(client, ctx, shard, read),
            DiskWork::PassTurn(shard, way) => mirror.pass_turn(shard, way),
        }
    }

    fn copied(
        &mut self,
        client: &mut Client,
        ctx: &mut Context,
        shard: usize,
        write: DiskWrite,
        crc: u32,
    ) {
        let (now_ns, page, version) = (client.clock_ns(ctx), write.page, write.version);
        let answer = if crc != write.crc {
            self.mirror
                .settle(now_ns, page, version, false, &client.device);
            PutAnswer::Changed(crc)
        } else if write.is_urgent && !self.mirror.want(now_ns, page, version, write.token) {
            PutAnswer::Closed
        } else {
            PutAnswer::Copied
        };
        client.shards[shard].disk_put(now_ns, &write, answer, &client.device);
        client.pump(ctx, shard);
    }

    fn read(&mut self, client: &mut Client, ctx: &mut Context, shard: usize, read: DiskRead) {
        let (now_ns, device) = (client.clock_ns(ctx), &client.device);
        let only = read.buffers_only;
        let get = read.begin(&mut self.mirror, device);
        let id = client.requests[shard][read.op].as_ref().map(|r| r.id);
        match (get, id, only) {
            (Get::Buffered(buffer), Some(id), true) => {
                ctx.counts.fault(Fault::BufferHit);
                client.after_local(ctx, LocalEvent::Looked(shard, read, buffer, id));
                return;
            }
            (_, _, true) => {
                client.shards[shard].disk_looked(now_ns, &read, Taken::Nothing, device);
            }
            (get, _, false) => {
                let answer = match get {
                    Get::Buffered(_) | Get::Queued => AskAnswer::Queued,
                    Get::Full => AskAnswer::Full,
                    Get::TimedOut => AskAnswer::TimedOut,
                    Get::Changed | Get::Absent => AskAnswer::Changed,
                };
                client.shards[shard].disk_asked(now_ns, &read, answer, device);
                if let Get::Buffered(buffer) = get {
                    self.notify(client, ctx, MirrorEvent::Read(read.token, Ok(buffer)));
                }
            }
        }
        client.pump(ctx, shard);
    }

    /// Copies from a buffer to a request's page, and releases the buffer. Returns the checksum.
    fn copy_out(
        &mut self,
        client: &mut Client,
        ctx: &mut Context,
        shard: usize,
        op: usize,
        buffer: BufferId,
        id: RequestId,
    ) -> u32 {
        let bytes = &self.pages[buffer.index()];
        let crc = crc32c(&bytes[..]);
        let request = client.requests[shard][op].as_mut();
        match request.filter(|request| request.id == id) {
            Some(request) => request.bytes = bytes.clone(),
            None => ctx
                .oracle
                .fail(|| format!("request {id} ended while its page was copied to")),
        }
        self.mirror.release(buffer);
        crc
    }

    fn notify(&mut self, client: &mut Client, ctx: &mut Context, event: MirrorEvent) {
        let (now_ns, device) = (client.clock_ns(ctx), &client.device);
        match event {
            MirrorEvent::Written(token, ok) => {
                let shard = Shard::<Heap>::number_of_tag(token.tag);
                client.shards[shard].disk_written(now_ns, token, ok, device);
                client.pump(ctx, shard);
            }
            MirrorEvent::Read(token, result) => {
                let shard = Shard::<Heap>::number_of_tag(token.tag);
                let outcome = result.map(|_| ());
                let receive = client.shards[shard].disk_read(now_ns, token, outcome, device);
                match (receive, result) {
                    (Some(receive), Ok(buffer)) => {
                        let id = client.requests[shard][receive.op].as_ref().map(|r| r.id);
                        let Some(id) = id else {
                            ctx.oracle.fail(|| format!("{receive:?} has no request"));
                            return;
                        };
                        let event = LocalEvent::Receive(shard, receive, buffer, id);
                        client.after_local(ctx, event);
                    }
                    (None, Ok(buffer)) => self.mirror.release(buffer),
                    _ => {}
                }
                client.pump(ctx, shard);
            }
            MirrorEvent::Turn(shard, way) => {
                client.shards[shard].disk_turn(way);
                client.pump(ctx, shard);
            }
            MirrorEvent::StateChanged => {
                for shard in 0..client.shards.len() {
                    self.pending_events += 1;
                    client.after_local(ctx, LocalEvent::NotifyChange(shard));
                }
            }
        }
    }

    fn ended(&mut self, client: &mut Client, ctx: &mut Context, id: usize) {
        let Some(ended) = self.disk.end(ctx, id) else {
            return;
        };
        let Some(io) = self.under_way[id].take() else {
            ctx.oracle.fail(|| format!("I/O {id} has ended twice"));
            return;
        };
        ctx.note(|| format!("client {}: ends I/O {id}, ok {}", client.number, ended.ok));
        if ended.ok {
            for (buffer, bytes) in io.buffers().iter().zip(ended.pages) {
                self.pages[buffer.index()] = bytes;
            }
        }
        let clock_ns = client.clock_ns(ctx);
        self.mirror.ended(clock_ns, id, ended.ok, &client.device);
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
            client.after_local(ctx, LocalEvent::Notify(event));
        }
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

    /// The next step of detaching the disk.
    fn advance_detach(&mut self, client: &mut Client, ctx: &mut Context) {
        let Some(mut detach) = self.detach.take() else {
            return;
        };
        let now_ns = client.clock_ns(ctx);
        let mut delay_ns = ctx.host_delay();
        if let Some(shard) = self.notifying.take() {
            client.shards[shard].disk_changed(now_ns, &client.device);
            client.pump(ctx, shard);
            self.notifying = Some(shard + 1).filter(|next| *next < client.shards.len());
        } else {
            match detach.next_step() {
                Step::Mirror => self.detach_mirror(client, ctx, &mut detach),
                Step::Shards => self.notifying = Some(0),
                Step::Walk | Step::Cluster => self.forget_part(client, ctx, &mut detach),
                Step::Wait(wait_ns) => delay_ns += wait_ns,
                Step::Done(result) => {
                    self.end_detach(client, ctx, result);
                    return;
                }
            }
        }
        self.detach = Some(detach);
        client.after(ctx, delay_ns, ClientEvent::Local(LocalEvent::DetachStep));
    }

    fn detach_mirror(&mut self, client: &Client, ctx: &mut Context, detach: &mut Detach) {
        let surroundings = Surroundings {
            is_stuck: false,
            is_settled: self.pending_events == 0,
        };
        let was_attached = self.mirror.is_attached();
        let now_ns = client.clock_ns(ctx);
        detach.with_mirror(now_ns, &mut self.mirror, &client.device, surroundings);
        // After the first notification page-outs do not wait for the disk, after the second one it no longer
        // counts.
        if was_attached && detach.is_under_way() {
            self.detached_ns = Some(ctx.now_ns);
        }
        if was_attached && !self.mirror.is_attached() && self.is_forced {
            ctx.oracle.forget_disk(client.number);
        }
    }

    /// Checks a part of the map. Unless by force, no page that only the disk has is forgotten.
    fn forget_part(&mut self, client: &Client, ctx: &mut Context, detach: &mut Detach) {
        let pages = 0..client.device.map.len() as u32;
        let on_disk = |page: &u32| client.device.map.load(PageIndex(*page)).is_on_disk();
        let before: Vec<u32> = pages.filter(on_disk).collect();
        let part = 1 + ctx.draw_maintenance(1000) as u32;
        detach.walk(&client.device, part);
        if self.is_forced || client.is_unloaded {
            return;
        }
        for page in before.into_iter().filter(|page| !on_disk(page)) {
            let entry = client.device.map.load(PageIndex(page));
            let is_kept = !client.counted(page, SlotSet::EMPTY).is_empty();
            if entry.is_written() && !entry.is_busy() && !is_kept {
                let number = client.number;
                ctx.oracle.fail(|| {
                    format!("client {number} page {page}: only the disk has it, and is detached")
                });
            }
        }
    }

    fn end_detach(
        &mut self,
        client: &mut Client,
        ctx: &mut Context,
        result: Result<(), DetachError>,
    ) {
        ctx.note(|| format!("client {}: its disk is detached: {result:?}", client.number));
        ctx.counts.fault(match (result, self.is_forced) {
            (Ok(()), true) => Fault::DiskForced,
            (Ok(()), false) => Fault::DiskDetached,
            (Err(DetachError::OnlyCopies(_)), _) => Fault::DetachRefused,
            _ => Fault::DetachInVain,
        });
        if result.is_ok() {
            ctx.oracle.forget_disk(client.number);
            self.detached_ns = Some(ctx.now_ns);
            self.disk.overwrite(ctx);
            let delay_ns = ctx.rng.random_range(0..2000 * MS);
            client.after(ctx, delay_ns, ClientEvent::Local(LocalEvent::Attach));
        }
    }
}
