// SPDX-License-Identifier: GPL-2.0

//! I/O of the pool: bios are submitted, end, and are abandoned; queues are notified of what follows.

use kernel::prelude::*;

use super::{
    asked::Asked,
    health,
    pool::{
        Pool,
        State, //
    },
    port::LocalPort, //
};
use crate::{
    driver::{
        block_device::PAGE_SECTORS,
        client::Client,
        shared::Shared,
        storage::KernelStorage, //
    },
    engine::client::{
        device::Device,
        mirror::{
            Event,
            Token, //
        },
        shard::Shard, //
    },
    linux::{
        block::bio::OpfBit,
        mm::memalloc::NoReclaim,
        module::ModuleRef,
        time::hrtimer::now_ns, //
    }, //
};

/// Events of which queues are notified in one run of the timer. Other softirqs must run, too.
const EVENTS: u32 = 64;

/// How often the disk may refuse an I/O, while it has none of ours, until the worker waits for it.
const TRIES: u32 = 3;

/// How long submitting may take before the disk counts as stuck.
const STUCK_NS: u64 = 500_000_000;

impl Pool {
    /// Submits what the mirror wants done. Process context. It may sleep for long, and the module counts as
    /// in use meanwhile.
    pub(crate) fn submit(&self, shared: &Shared) {
        loop {
            let mut guard = self.state.lock();
            let now_ns = now_ns();
            guard.handing_since_ns = None;
            let Some(asked) = guard.next_to_ask(now_ns, &shared.device) else {
                self.follow(shared, guard, now_ns);
                return;
            };
            let io = asked.io;
            let sector = u64::from(io.first.0).wrapping_mul(PAGE_SECTORS);
            // CAST: At most `MERGE` pages.
            let sectors = (io.buffers().len() as u32).wrapping_mul(PAGE_SECTORS as u32);
            let device = guard.device.clone();
            // Submitting may wait without a bound, and the module must stay until it returns. A disk that
            // takes nothing ends a bio that may not wait. But not every driver keeps to that (nbd sends from
            // here, through a socket that may be full), and the block layer does not report which.
            let Some(module) = ModuleRef::try_get() else {
                // The module is being unloaded: nothing more is submitted.
                guard.begin_detach(now_ns, &shared.device);
                guard.ended(now_ns, io.id, false, &shared.device);
                self.follow(shared, guard, now_ns);
                return;
            };
            let nowait = device
                .as_ref()
                .is_some_and(|device| device.takes_nowait(sector, sectors))
                && (asked.tries < TRIES || guard.asked.has_others(io.id));
            guard.handing_since_ns = Some(now_ns);
            drop(guard);

            let op = match io.is_write {
                true => OpfBit::Write,
                false => OpfBit::Read,
            };
            // As O_DIRECT does it, and for swapped pages.
            let opf = op | OpfBit::Sync | OpfBit::Idle | OpfBit::Swap;
            let opf = match nowait {
                true => opf | OpfBit::Nowait,
                false => opf,
            };
            let prepared = device.as_ref().and_then(|device| {
                let pages = io
                    .buffers()
                    .iter()
                    .filter_map(|id| self.pages.get(id.index()));
                self.bios.prepare(io.id, device, opf, sector, pages)
            });
            match prepared {
                Some(prepared) => {
                    let _reserve = NoReclaim::new();
                    prepared.submit();
                }
                None => self.with(shared, |state, now_ns| {
                    state.ended(now_ns, io.id, false, &shared.device);
                }),
            }
            // Dropped before `handing_since_ns` is cleared: detaching then closes the disk, and may open it
            // again.
            drop(device);
            drop(module);
        }
    }

    /// The timer has fired: bios have ended, or time has passed. Softirq.
    pub(crate) fn serve(&self, client: &Client) {
        let mut now_ns = now_ns();
        let mut guard = self.state.lock();
        guard.notifying = true;
        let mut has_room = false;
        for id in 0..self.bios.len() {
            match self.bios.reap(id) {
                None => {}
                Some(Err(error)) if error == EAGAIN => {
                    guard.refused(now_ns, id, &client.shared.device)
                }
                // The mirror counts the error. The log names it if it has consequences.
                Some(result) => {
                    has_room = true;
                    guard.ended(now_ns, id, result.is_ok(), &client.shared.device);
                }
            }
        }
        if has_room {
            guard.asked.has_room(now_ns);
        }
        guard.mirror.handle_timeout(now_ns, &client.shared.device);
        // `follow` sets the timer for the events that are left.
        for _ in 0..EVENTS {
            let state = &mut *guard;
            let next = match state.event.take() {
                Some(event) => Some(event),
                None => state.mirror.poll_event(),
            };
            let Some(event) = next else {
                break;
            };
            drop(guard);
            self.notify(client, event);
            guard = self.state.lock();
            now_ns = crate::linux::time::hrtimer::now_ns();
        }
        guard.notifying = false;
        guard.keep_module();
        let change = guard.health_change();
        let io_timeout_ns = guard.mirror.config().io_timeout_ns;
        self.follow(&client.shared, guard, now_ns);
        if let Some((before, now)) = change {
            health::log(before, now, io_timeout_ns);
        }
    }

    /// Notifies a queue, or all.
    fn notify(&self, client: &Client, event: Event) {
        let queue = |token: Token| {
            client
                .queues
                .get(Shard::<KernelStorage>::number_of_tag(token.tag))
        };
        match event {
            Event::Written(token, ok) => {
                if let Some(queue) = queue(token) {
                    queue.drive(&client.shared, |shard, now_ns| {
                        shard.disk_written(now_ns, token, ok, &client.shared.device)
                    });
                }
            }
            Event::Read(token, result) => {
                if let Some(queue) = queue(token) {
                    let port = &mut LocalPort(&client.shared);
                    queue.drive(&client.shared, |shard, now_ns| {
                        shard.disk_read(now_ns, token, result, port, &client.shared.device)
                    });
                }
            }
            Event::Turn(shard, way) => {
                if let Some(queue) = client.queues.get(shard) {
                    queue.drive(&client.shared, |shard, _| shard.disk_turn(way));
                }
            }
            Event::StateChanged => {
                for queue in &client.queues {
                    queue.drive(&client.shared, |shard, now_ns| {
                        shard.disk_changed(now_ns, &client.shared.device)
                    });
                }
            }
        }
    }
}

impl State {
    /// Takes what the worker is to submit next; `None` if there is nothing now.
    fn next_to_ask(&mut self, now_ns: u64, device: &Device<KernelStorage>) -> Option<Asked> {
        if self.asked.is_refusing() {
            return self.asked.ask_again(now_ns);
        }
        let io = match self.staged.take() {
            Some(io) => io,
            None => self.mirror.poll(now_ns, device)?,
        };
        Some(self.asked.ask(now_ns, io))
    }

    /// The disk did not take an I/O. It is submitted again, unless the disk is being detached.
    fn refused(&mut self, now_ns: u64, id: usize, device: &Device<KernelStorage>) {
        match self.mirror.is_attached() {
            true => self.asked.refused(now_ns, id),
            false => self.ended(now_ns, id, false, device),
        }
    }

    /// The disk is not used any more.
    pub(super) fn begin_detach(&mut self, now_ns: u64, device: &Device<KernelStorage>) {
        self.mirror.begin_detach(device);
        self.end_refused(now_ns, device);
    }

    /// I/O that the disk has not taken is not submitted again.
    pub(super) fn end_refused(&mut self, now_ns: u64, device: &Device<KernelStorage>) {
        while let Some(id) = self.asked.first_refused() {
            self.ended(now_ns, id, false, device);
        }
    }

    /// Whether submitting has taken so long, or the disk has had I/O for so long and completed none, that
    /// the disk cannot be detached.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck_from_ns() <= now_ns()
    }

    /// When the disk becomes stuck, unless I/O ends before.
    pub(super) fn stuck_from_ns(&self) -> u64 {
        let since_ns = |since: Option<u64>| since.unwrap_or(u64::MAX);
        since_ns(self.handing_since_ns)
            .min(since_ns(self.asked.idle_since_ns()))
            .saturating_add(STUCK_NS)
    }

    /// An I/O has ended, or could not be begun.
    fn ended(&mut self, now_ns: u64, id: usize, ok: bool, device: &Device<KernelStorage>) {
        self.asked.ended(now_ns, id);
        self.mirror.ended(now_ns, id, ok, device);
    }

    /// Keeps the module loaded while the disk has I/O that may not end soon.
    fn keep_module(&mut self) {
        if !self.mirror.has_abandoned() && !self.is_stuck() {
            self.keeps_module = None;
        } else if self.keeps_module.is_none() {
            // If the module is being unloaded already, dropping the bios takes care of it.
            self.keeps_module = ModuleRef::try_get();
        }
    }
}
