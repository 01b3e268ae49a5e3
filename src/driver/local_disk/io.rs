// SPDX-License-Identifier: GPL-2.0

//! I/O of the pool: bios are submitted and end; queues are notified of what follows.

use kernel::{
    module::this_module,
    prelude::*, //
};

use super::{
    disk_pool::{
        Pool,
        State, //
    },
    log,
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
        mirror::Event,
        shard::Shard, //
    },
    linux::{
        block::bio::OpfBit,
        mm::memalloc::noreclaim_scope,
        module::ModuleRef,
        time::hrtimer::now_ns, //
    },
    LocalModule, //
};

/// Events of which queues are notified in one run of the timer. Other softirqs must run, too.
const EVENTS: u32 = 64;

impl Pool {
    /// Submits what the mirror wants done. Process context. It may sleep for long, and the module counts as
    /// in use meanwhile.
    pub(crate) fn submit(&self, shared: &Shared) {
        loop {
            let mut guard = self.state.lock();
            let now_ns = now_ns();
            let mirror = &mut guard.mirror;
            mirror.submitted();
            let Some(io) = mirror.poll(now_ns, &shared.device) else {
                self.follow(shared, guard, now_ns);
                return;
            };
            let sector = u64::from(io.first.0).wrapping_mul(PAGE_SECTORS);
            // CAST: At most `MERGE` pages.
            let sectors = (io.buffers().len() as u32).wrapping_mul(PAGE_SECTORS as u32);
            // Submitting may wait without a bound, and the I/O may never end. So the module stays until both
            // are over: unloading could wait for them, but no longer be refused.
            if !guard.keep_module() {
                guard.mirror.cannot_submit(now_ns, io.id, &shared.device);
                self.follow(shared, guard, now_ns);
                return;
            }
            let device = guard.device.clone();
            drop(guard);
            let op = match io.is_write {
                true => OpfBit::Write,
                false => OpfBit::Read,
            };
            let prepared = device.as_ref().and_then(|device| {
                // As O_DIRECT does it, and for swapped pages.
                let mut opf = op | OpfBit::Sync | OpfBit::Idle | OpfBit::Swap;
                if !io.may_wait && device.takes_nowait(sector, sectors) {
                    opf |= OpfBit::Nowait;
                }
                let buffers = io.buffers().iter();
                let pages = buffers.filter_map(|id| self.pages.get(id.index()));
                self.bios.prepare(io.id, device, opf, sector, pages)
            });
            match prepared {
                Some(prepared) => noreclaim_scope(|| prepared.submit()),
                None => self.with(shared, |state, now_ns| {
                    state.mirror.ended(now_ns, io.id, false, &shared.device);
                }),
            }
            // Dropped before the mirror is notified: detaching then closes the disk, and may open it again.
            drop(device);
        }
    }

    /// The timer has fired: bios have ended, or time has passed. Softirq.
    pub(crate) fn serve(&self, client: &Client) {
        let shared = &client.shared;
        let device = &shared.device;
        let mut now_ns = now_ns();
        let mut guard = self.state.lock();
        guard.notifying = true;
        for id in 0..self.bios.len() {
            match self.bios.reap(id) {
                None => {}
                Some(Err(error)) if error == EAGAIN => {
                    guard.mirror.refused(now_ns, id, device);
                }
                // The mirror counts the error. The log names it if it has consequences.
                Some(result) => guard.mirror.ended(now_ns, id, result.is_ok(), device),
            }
        }
        guard.mirror.handle_timeout(now_ns, device);
        // `follow` sets the timer for the events that are left.
        for _ in 0..EVENTS {
            let state = &mut *guard;
            let next = state.event.take().or_else(|| state.mirror.poll_event());
            let Some(event) = next else {
                break;
            };
            drop(guard);
            self.notify(client, event);
            guard = self.state.lock();
            now_ns = crate::linux::time::hrtimer::now_ns();
        }
        guard.notifying = false;
        let change = guard.mirror.take_health_change(device);
        let is_gone = change.is_some() && guard.is_gone();
        let disk_timeout_ns = guard.mirror.config().disk_timeout_ns;
        self.follow(shared, guard, now_ns);
        if let Some((before, now)) = change {
            log::health_changed(before, now, is_gone, disk_timeout_ns);
        }
    }

    /// Notifies a queue, or all.
    fn notify(&self, client: &Client, event: Event) {
        let shared = &client.shared;
        let notify = |shard: &mut Shard<KernelStorage>, now_ns: u64| {
            shard.disk_event(now_ns, event, &mut LocalPort(shared), &shared.device);
        };
        match event.shard() {
            Some(number) => {
                if let Some(queue) = client.queues.get(number) {
                    queue.drive_shard(shared, notify);
                }
            }
            None => client.drive_queues(notify),
        }
    }
}

impl State {
    /// Keeps the module loaded as long as the disk has I/O. Returns false if the module is being unloaded.
    fn keep_module(&mut self) -> bool {
        if self.keeps_module.is_none() {
            self.keeps_module = ModuleRef::try_get(this_module::<LocalModule>());
        }
        self.keeps_module.is_some()
    }

    /// The reference to the module, if the disk has no more I/O.
    pub(super) fn release_module(&mut self) -> Option<ModuleRef> {
        self.keeps_module.take_if(|_| !self.mirror.must_stay())
    }
}
