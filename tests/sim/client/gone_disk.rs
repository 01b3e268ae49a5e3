// SPDX-License-Identifier: GPL-2.0

//! A disk that is taken out of the machine while it is attached.

use super::local::LocalEvent;
use super::{Client, ClientEvent};
use crate::context::Context;
use crate::faults::Fault;
use crate::scenario::S;

impl Client {
    /// The disk is taken out of the machine. The worker notices it within a second, and an operator later.
    pub fn take_disk(&mut self, ctx: &mut Context) {
        let Some(local) = &mut self.local else {
            return;
        };
        if local.disk.is_gone() || !local.mirror.is_attached() || local.detach.is_some() {
            return;
        }
        ctx.counts.fault(Fault::DiskTaken);
        let held = local.disk.take(ctx);
        for (id, delay_ns) in held {
            self.after(ctx, delay_ns, ClientEvent::Local(LocalEvent::Ended(id)));
        }
        let delays_ns = [S, 10 * S].map(|most_ns| ctx.draw_host(most_ns));
        self.after(ctx, delays_ns[0], ClientEvent::Local(LocalEvent::LookAfter));
        self.after(
            ctx,
            delays_ns[1],
            ClientEvent::Local(LocalEvent::Replace(false)),
        );
    }

    /// The worker's check, every second.
    pub(super) fn look_after_disk(&mut self, ctx: &mut Context) {
        let Some(local) = self.local.as_mut().filter(|local| local.disk.is_gone()) else {
            return;
        };
        local.is_marked |= local.mirror.mark_faulty(&self.device);
        self.after(ctx, S, ClientEvent::Local(LocalEvent::LookAfter));
    }

    /// An operator detaches the disk; by force, if it was refused before.
    pub(super) fn replace_disk(&mut self, ctx: &mut Context, force: bool) {
        if self
            .local
            .as_ref()
            .is_some_and(|local| local.disk.is_gone())
        {
            self.after(ctx, 0, ClientEvent::Local(LocalEvent::Detach(force)));
            self.after(ctx, 2 * S, ClientEvent::Local(LocalEvent::Replace(true)));
        }
    }
}
