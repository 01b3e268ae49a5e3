// SPDX-License-Identifier: GPL-2.0

//! A server whose host is stopped, suspended, or has its clock stepped.

use super::*;

impl SimServer {
    /// Whether it is stopped.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The time of its host's clock.
    pub(super) fn clock_ns(&self, ctx: &Context) -> u64 {
        self.clock.read(ctx.now_ns)
    }

    /// Stops.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Suspends its host: it and its clock stop, and no frame is kept for it.
    pub fn suspend(&mut self, ctx: &Context) {
        self.paused = true;
        self.suspended_ns.get_or_insert(ctx.now_ns);
    }

    /// Continues, with the frames that its host has kept for it.
    pub fn resume(&mut self, ctx: &mut Context) {
        self.paused = false;
        if let Some(since_ns) = self.suspended_ns.take() {
            self.clock.stand_still(since_ns, ctx.now_ns);
        }
        self.running_since_ns = ctx.now_ns;
        for wire in std::mem::take(&mut self.backlog) {
            self.deliver(ctx, wire);
        }
        self.handle_timer(ctx);
        self.flush(ctx);
    }

    /// Its clock steps forward by `by_ns`.
    pub fn step_clock(&mut self, ctx: &mut Context, by_ns: u64) {
        if self.suspended_ns.is_none() {
            self.clock.step(ctx.now_ns, by_ns);
            self.arm(ctx);
        }
    }

    /// Since when it has been running; `None` if it does not run.
    pub fn running_since_ns(&self) -> Option<u64> {
        (self.is_alive() && !self.paused).then_some(self.running_since_ns)
    }
}
