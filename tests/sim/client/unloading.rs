// SPDX-License-Identifier: GPL-2.0

//! Unloading a client's module while others run.

use super::local::Local;
use super::{Client, ClientEvent};
use crate::context::Context;
use crate::faults::Fault;
use crate::scenario::MS;

impl Client {
    /// Programs no longer use the device, and the module is to be unloaded.
    pub fn begin_unload(&mut self, ctx: &mut Context) {
        if self.is_resting() || self.is_unloading || self.is_dead {
            return;
        }
        ctx.counts.fault(Fault::ClientUnloaded);
        self.is_loaded = false;
        self.is_unloading = true;
        self.after(ctx, 0, ClientEvent::UnloadStep);
    }

    /// Whether the worker makes no changes that the oracle waits for.
    pub(super) fn is_resting(&self) -> bool {
        self.is_unloaded || self.device.is_hibernating()
    }

    /// Waits for requests and operators. As long as the disk has I/O, unloading is refused, and tried again.
    pub(super) fn continue_unload(&mut self, ctx: &mut Context) {
        let shards = self.requests[..self.repair_shard()].iter();
        let has_requests = shards.flatten().any(Option::is_some);
        let local = self.local.as_ref();
        if has_requests || self.has_operator() || local.is_some_and(|local| local.detach.is_some())
        {
            self.after(ctx, MS, ClientEvent::UnloadStep);
            return;
        }
        if self.is_going {
            self.end_unload(ctx);
            return;
        }
        let is_refused = local.is_some_and(|local| local.mirror.must_stay());
        if is_refused && !local.is_some_and(Local::has_io) {
            let number = self.number;
            ctx.oracle
                .fail(|| format!("client {number}: unloading is refused, and its disk has no I/O"));
        }
        match is_refused {
            true => ctx.counts.fault(Fault::UnloadRefused),
            false => self.is_going = true,
        }
        let delay_ns = ctx.draw_host(200 * MS);
        self.after(ctx, delay_ns, ClientEvent::UnloadStep);
    }

    /// The module is gone.
    fn end_unload(&mut self, ctx: &mut Context) {
        if self.local.as_ref().is_some_and(Local::has_io) {
            let number = self.number;
            ctx.oracle
                .fail(|| format!("client {number}: unloaded, and its disk has I/O"));
        }
        self.unload(ctx);
        self.has_unloaded = true;
    }
}
