// SPDX-License-Identifier: GPL-2.0

//! How far the fullest and the emptiest of a crowd's servers are from each other.

use crate::course::Course;
use crate::faults::Fault;
use crate::world::World;

/// How far they may be at the most, in thousandths of their memory: 31 that placement lets a server be
/// fuller for having held the page before, and what twenty clients have on their way.
const FAR: u64 = 50;

impl World {
    /// Looks how full they are. One that has begun anew may be emptier, until it has caught up; it is
    /// never fuller.
    pub fn watch_crowd(&mut self) {
        let Course::Crowd { .. } = self.ctx.scenario.course else {
            return;
        };
        let ctx = &mut self.ctx;
        ctx.counts.fault(Fault::CrowdPlaced);
        let capacity = u64::from(ctx.scenario.capacity_pages);
        let there = self.servers.iter().filter(|server| server.is_alive());
        let used = |server: &crate::server::SimServer| {
            let used = capacity - server.free_pages();
            (used * 1000 / capacity, server.has_restarted())
        };
        let used: Vec<(u64, bool)> = there.map(used).collect();
        let fullest = used.iter().map(|(used, _)| *used).max().unwrap_or(0);
        let old = used.iter().filter(|(_, anew)| !anew || self.has_caught_up);
        let emptiest = old.map(|(used, _)| *used).min().unwrap_or(0);
        self.has_caught_up |= used.iter().any(|(used, anew)| *anew && *used >= emptiest);
        if fullest > emptiest + FAR {
            ctx.oracle.fail(|| {
                format!(
                    "in thousandths, the servers are as full as {used:?}; {FAR} apart at the most"
                )
            });
        }
    }
}
