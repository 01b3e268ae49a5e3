// SPDX-License-Identifier: GPL-2.0

//! Detaching the local disk, step by step, with delays between.

use anemone::engine::client::ids::PageIndex;
use anemone::engine::client::maintenance::detach::{Detach, DetachError, Step};
use anemone::engine::client::mirror::Health;
use rand::Rng;

use super::local::{Local, LocalEvent};
use super::{Client, ClientEvent};
use crate::context::Context;
use crate::faults::Fault;
use crate::scenario::MS;

impl Client {
    /// The next step of detaching the disk.
    pub(super) fn advance_detach(&mut self, ctx: &mut Context) {
        let (now_ns, delay_ns) = (self.clock_ns(ctx), ctx.host_delay());
        let Some(mut local) = self.local.take() else {
            return;
        };
        let notifying = local.notifying.take();
        let wait_ns = match notifying {
            Some(shard) => {
                local.notifying = Some(shard + 1).filter(|next| *next < self.shards.len());
                Some(0)
            }
            None => local.step_detach(self, ctx),
        };
        self.local = Some(local);
        if let Some(shard) = notifying {
            self.shards[shard].disk_changed(now_ns, &self.device);
            self.pump(ctx, shard);
        }
        if let Some(wait_ns) = wait_ns {
            let event = ClientEvent::Local(LocalEvent::DetachStep);
            self.after(ctx, delay_ns + wait_ns, event);
        }
    }
}

impl Local {
    /// Does the next step. Returns for how long to wait; `None` if it was the last.
    fn step_detach(&mut self, client: &mut Client, ctx: &mut Context) -> Option<u64> {
        let mut detach = self.detach.take()?;
        let mut wait_ns = 0;
        match detach.next_step() {
            Step::Mirror => self.detach_mirror(client, ctx, &mut detach),
            Step::Shards => self.notifying = Some(0),
            Step::Cluster => self.detach_cluster(client, ctx, &mut detach),
            Step::Walk => {
                let part = 1 + ctx.draw_maintenance(1000) as u32;
                detach.walk(&client.device, part);
            }
            Step::Wait(ns) => {
                wait_ns = ns;
                self.wait(client, ctx, &mut detach);
            }
            Step::Done(result) => {
                self.end_detach(client, ctx, result);
                return None;
            }
        }
        self.detach = Some(detach);
        Some(wait_ns)
    }

    /// The detach is about to wait. A signal may have arrived; it stays pending.
    fn wait(&mut self, client: &Client, ctx: &mut Context, detach: &mut Detach) {
        let is_new = self.waits_since_signal.is_none() && ctx.scenario.enabled.signal;
        if is_new && ctx.draw_host(3) == 0 {
            ctx.note(|| format!("client {}: a signal, to a detach", client.number));
            self.waits_since_signal = Some(0);
        }
        if let Some(waits) = &mut self.waits_since_signal {
            *waits += 1;
            detach.interrupt();
            // Three things are waited for: the writes, all I/O, and the servers' answers.
            if *waits > 3 {
                let why = || format!("client {}: a detach goes on after a signal", client.number);
                ctx.oracle.fail(why);
            }
        }
    }

    fn detach_mirror(&mut self, client: &Client, ctx: &mut Context, detach: &mut Detach) {
        let is_notified = self.pending_events == 0;
        let was_attached = self.mirror.is_attached();
        let now_ns = client.clock_ns(ctx);
        detach.with_mirror(now_ns, &mut self.mirror, &client.device, is_notified);
        // After the first notification page-outs do not wait for the disk, after the second one it no longer
        // counts.
        if was_attached && self.mirror.health(&client.device) == Health::Detaching {
            self.detached_ns = Some(ctx.now_ns);
        }
        if was_attached && !self.mirror.is_attached() && self.is_forced {
            ctx.oracle.forget_disk(client.number);
        }
    }

    /// Asks the servers whether they have their pages. If the disk is given up, the oracle checks that.
    fn detach_cluster(&mut self, client: &mut Client, ctx: &mut Context, detach: &mut Detach) {
        let clock_ns = client.clock_ns(ctx);
        let asked_ns = *self.asked_ns.get_or_insert(ctx.now_ns);
        let mut frames = client.frames();
        let (cluster, device) = (&mut client.cluster, &client.device);
        detach.with_cluster(clock_ns, cluster, &mut frames, device);
        client.transmit_all(ctx, frames);
        client.run_cluster(ctx);
        if detach.has_given_up() {
            let pages = (0..client.device.map.len() as u32).filter(|&page| {
                let entry = client.device.map.load(PageIndex(page));
                entry.is_written() && !entry.is_busy() && entry.is_on_disk()
            });
            self.given_up = Some((asked_ns, pages.collect()));
        }
    }

    fn end_detach(&mut self, client: &Client, ctx: &mut Context, result: Result<(), DetachError>) {
        ctx.note(|| format!("client {}: its disk is detached: {result:?}", client.number));
        if result.is_err() && self.mirror.health(&client.device) == Health::Detaching {
            let number = client.number;
            ctx.oracle.fail(|| {
                format!("client {number}: {result:?}, and the disk is not used as before")
            });
        }
        ctx.counts.fault(match (result, self.is_forced) {
            (Ok(()), true) => Fault::DiskForced,
            (Ok(()), false) => Fault::DiskDetached,
            (Err(DetachError::OnlyCopies(_)), _) => Fault::DetachRefused,
            (Err(DetachError::Interrupted), _) if self.waits_since_signal.is_some() => {
                Fault::DetachInterrupted
            }
            _ => Fault::DetachInVain,
        });
        if result.is_ok() {
            ctx.oracle.forget_disk(client.number);
            self.detached_ns = Some(ctx.now_ns);
            self.disk.overwrite(ctx);
            self.is_marked = false;
            let delay_ns = ctx.rng.random_range(0..2000 * MS);
            client.after(ctx, delay_ns, ClientEvent::Local(LocalEvent::Attach));
        }
    }
}
