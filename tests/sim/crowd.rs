// SPDX-License-Identifier: GPL-2.0

//! The difference between the fullest and the emptiest server of a crowd.

use crate::course::Course;
use crate::faults::Fault;
use crate::world::World;

/// The largest difference allowed, in thousandths of their memory. A server may be fuller by 31 because
/// placement prefers a server that held the page before. The rest is pages of twenty clients under way.
const FAR: u64 = 50;

impl World {
    /// Checks how full they are. A server that has restarted may be emptier until it has caught up, but never
    /// fuller.
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
        let old = used
            .iter()
            .filter(|(_, restarted)| !restarted || self.has_caught_up);
        let emptiest = old.map(|(used, _)| *used).min().unwrap_or(0);
        self.has_caught_up |= used
            .iter()
            .any(|(used, restarted)| *restarted && *used >= emptiest);
        if fullest > emptiest + FAR {
            ctx.oracle.fail(|| {
                format!(
                    "in thousandths, the servers are as full as {used:?}; {FAR} apart at the most"
                )
            });
        }
    }
}
