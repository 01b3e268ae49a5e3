// SPDX-License-Identifier: GPL-2.0

//! Hedged page-ins: one that takes longer than nearly all others is also sent to a second replica,
//! and the first whole page wins ("The Tail at Scale", Dean and Barroso, 2013).
//!
//! A budget limits hedges, so that uniformly slow servers do not get every READ twice. A page-in without
//! credit asks the second replica after [`LATEST_NS`].

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Op, Stage};
use super::ops::{OpId, TransferId};
use super::path::Path;
use super::Shard;

/// In place of a time to hedge: set the time when the transfer is first sent.
const WHEN_SENT: u64 = u64::MAX - 1;

/// When a page-in asks another replica at the latest, after its start. The retransmission timeout of a
/// server that was stopped is longer, until that server has answered some more requests.
const LATEST_NS: u64 = 80_000_000;

/// The shortest time before a hedge: on a segment with quicker page-ins, a timer for each would
/// cost more than waiting.
const MIN_NS: u64 = 1_000_000;
/// The longest, so that a server that once stalled does not delay hedges for long.
const MAX_NS: u64 = 40_000_000;

/// The price of one hedge: each page-in earns the percentage that is allowed.
const COST: u32 = 100;

/// The most hedges that can be saved up, for when a server with many page-ins under way dies.
const SAVED: u32 = 16;

/// Credit for hedges.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HedgeBudget {
    credit: u32,
}

impl HedgeBudget {
    /// A page-in begins.
    pub(super) fn earn(&mut self, percent: u32) {
        self.credit = self.credit.saturating_add(percent).min(COST * SAVED);
    }

    fn has_one(&self) -> bool {
        self.credit >= COST
    }

    fn spend(&mut self) {
        self.credit = self.credit.saturating_sub(COST);
    }
}

impl Path {
    /// Records the duration of a page-in.
    pub(super) fn note_page_in(&mut self, took_ns: u64) {
        self.page_in.sample(took_ns.min(MAX_NS));
    }

    /// How long a page-in may take before another replica is asked as well: longer than nearly all
    /// of this server's, and at most half the retransmission timeout.
    pub(super) fn hedge_after_ns(&self) -> u64 {
        let timeout_ns = self.rtt.timeout_ns(0);
        match self.page_in.estimate_ns() {
            0 => timeout_ns / 2,
            slow_ns => slow_ns.clamp(MIN_NS, MAX_NS).min(timeout_ns / 2),
        }
    }
}

impl Op {
    /// A page-in begins, whose page this many servers that answer hold: sets when it may be hedged.
    pub(super) fn prepare_hedge(&mut self, holders: usize) {
        self.hedge_ns = match holders {
            0 | 1 => u64::MAX,
            _ if self.is_background => u64::MAX,
            _ => WHEN_SENT,
        };
    }
}

/// A transfer is first sent, along this path: sets when a page-in that may be hedged is hedged.
pub(super) fn start_timer(hedge_ns: &mut u64, now_ns: u64, path: &Path) {
    if *hedge_ns == WHEN_SENT {
        *hedge_ns = now_ns.saturating_add(path.hedge_after_ns());
    }
}

impl<S: Storage> Shard<S> {
    /// Asks another replica too, if the page-in has waited long enough and there is credit.
    pub(super) fn check_hedge(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        let op = &self.ops[index];
        if op.kind != Kind::PageIn || op.stage != Stage::Active {
            return;
        }
        if now_ns < op.hedge_ns {
            if op.hedge_ns < WHEN_SENT {
                self.note_deadline(op.hedge_ns);
            }
            return;
        }
        // Not while fragments arrive.
        let again_ns = op.assembly.map_or(0, |assembly| {
            let slot = op.transfers[assembly.transfer].slot;
            let answer_ns = self.paths[slot].hedge_after_ns();
            assembly.last_fragment_ns.saturating_add(answer_ns)
        });
        if now_ns < again_ns {
            self.ops[index].hedge_ns = again_ns;
            self.note_deadline(again_ns);
            return;
        }
        if device.hedge_percent() == 0 {
            self.ops[index].hedge_ns = u64::MAX;
            return;
        }
        let is_paid = self.hedges.has_one() || mutated!(HedgesUnpaid);
        let latest_ns = self.ops[index].started_ns.saturating_add(LATEST_NS);
        if !is_paid && now_ns < latest_ns {
            self.ops[index].hedge_ns = latest_ns;
            self.note_deadline(latest_ns);
            return;
        }
        self.ops[index].hedge_ns = u64::MAX;
        if !is_paid {
            self.fail_over(now_ns, index, device);
            return;
        }
        let hedge = self.ask_another(now_ns, index, device);
        if hedge.is_some() {
            self.hedges.spend();
            self.counters.hedges = self.counters.hedges.wrapping_add(1);
        }
        self.ops[index].hedge = hedge;
    }

    /// This transfer completed the page.
    pub(super) fn note_whole(&mut self, id: TransferId) {
        if self.ops[id.op].hedge == Some(id) {
            self.counters.hedges_won = self.counters.hedges_won.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_twenty_at_five_percent() {
        let mut budget = HedgeBudget::default();
        let mut hedges = 0;
        for _ in 0..1000 {
            budget.earn(5);
            if budget.has_one() {
                budget.spend();
                hedges += 1;
            }
        }
        assert_eq!(hedges, 50);
    }

    #[test]
    fn only_so_many_are_saved_up() {
        let mut budget = HedgeBudget::default();
        for _ in 0..100_000 {
            budget.earn(100);
        }
        for _ in 0..SAVED {
            assert!(budget.has_one());
            budget.spend();
        }
        assert!(!budget.has_one());
    }
}
