// SPDX-License-Identifier: GPL-2.0

//! Unloading a client's module while others run.

use anemone::engine::client::maintenance::detach::{Detach, DetachError};

use super::local::LocalEvent;
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
        if let Some(local) = self.local.as_mut().filter(|_| ctx.draw_host(2) == 0) {
            local.disk.stay_hung();
        }
        self.after(ctx, 0, ClientEvent::UnloadStep);
    }

    /// Whether the worker makes no changes that the oracle waits for.
    pub(super) fn is_resting(&self) -> bool {
        self.is_unloaded || self.device.is_hibernating()
    }

    /// Waits for requests and operators, then for the disk's I/O.
    pub(super) fn continue_unload(&mut self, ctx: &mut Context) {
        let shards = self.requests[..self.repair_shard()].iter();
        let has_requests = shards.flatten().any(Option::is_some);
        let local = self.local.as_ref();
        if has_requests || self.has_operator() || local.is_some_and(|local| local.detach.is_some())
        {
            self.after(ctx, MS, ClientEvent::UnloadStep);
            return;
        }
        ctx.note(|| format!("client {}: is unloaded", self.number));
        if !std::mem::replace(&mut self.is_going, true) && self.local.is_some() {
            let delay_ns = ctx.draw_host(200 * MS);
            self.after(ctx, delay_ns, ClientEvent::UnloadStep);
            return;
        }
        match &mut self.local {
            Some(local) => {
                local.begin_detach(Detach::for_unload(), true);
                self.after(ctx, 0, ClientEvent::Local(LocalEvent::DetachStep));
            }
            None => self.end_unload(ctx, Ok(())),
        }
    }

    /// The disk has no more I/O, or is abandoned.
    pub(super) fn end_unload(&mut self, ctx: &mut Context, result: Result<(), DetachError>) {
        match result {
            Ok(()) if self.local.as_ref().is_some_and(|local| local.has_io()) => {
                let number = self.number;
                ctx.oracle
                    .fail(|| format!("client {number}: unloaded, and its disk has I/O"));
            }
            Ok(()) => {}
            Err(DetachError::TimedOut) => ctx.counts.fault(Fault::DiskAbandoned),
            Err(error) => {
                let number = self.number;
                ctx.oracle
                    .fail(|| format!("client {number}: {error:?} does not end unloading"));
            }
        }
        self.unload(ctx);
        self.has_unloaded = true;
    }
}
