// SPDX-License-Identifier: GPL-2.0

//! How an op ends, completes, and is counted.

use super::super::storage::Storage;
use super::op::{Kind, Outcome, Stage};
use super::ops::OpId;
use super::{Completion, Shard};

impl<S: Storage> Shard<S> {
    /// The op has ended. It completes when nothing pins it.
    pub(super) fn end(&mut self, index: OpId, outcome: Outcome) {
        for id in index.transfers() {
            self.release(id);
        }
        let op = &mut self.ops[index];
        if matches!(op.stage, Stage::Free | Stage::Ended(_)) {
            return;
        }
        op.stage = Stage::Ended(outcome);
        op.assembly = None;
        op.disk.write_outcome = op.take_write_outcome(outcome == Outcome::Done);
        self.unlink_active(index);
        self.link_ended(index);
    }

    /// The op's page is no longer being sent or copied.
    pub(super) fn unpin(&mut self, index: OpId) {
        let op = &mut self.ops[index];
        op.pins = op.pins.saturating_sub(1);
        self.link_ended(index);
    }

    fn link_ended(&mut self, index: OpId) {
        let op = &self.ops[index];
        if op.pins == 0 && matches!(op.stage, Stage::Ended(_)) {
            self.ended
                .push(&mut self.ops, index, |ops, id| &mut ops[id].ended_place);
        }
    }

    /// Takes the next op that has ended and that nothing pins.
    pub(super) fn poll_ended(&mut self, now_ns: u64) -> Option<Completion> {
        let index = self
            .ended
            .pop(&mut self.ops, |ops, id| &mut ops[id].ended_place)?;
        let op = &mut self.ops[index];
        let Stage::Ended(outcome) = op.stage else {
            return None;
        };
        op.stage = Stage::Free;
        self.write_outcome = op.disk.write_outcome.take();
        let wake = op.wake.then_some(op.page);
        if !op.is_background {
            let (kind, latency_ns) = (op.kind, now_ns.saturating_sub(op.started_ns));
            self.count_ended(kind, outcome, latency_ns);
        }
        Some(Completion {
            op: index,
            outcome,
            wake,
        })
    }

    fn count_ended(&mut self, kind: Kind, outcome: Outcome, latency_ns: u64) {
        let counters = &mut self.counters;
        let counter = match (kind, outcome) {
            (Kind::PageIn, Outcome::Failed) => &mut counters.pages_in_failed,
            (Kind::PageIn, _) => {
                if outcome == Outcome::Zeros {
                    counters.unwritten_in = counters.unwritten_in.wrapping_add(1);
                } else {
                    self.page_in_latency.record(latency_ns);
                }
                &mut counters.pages_in
            }
            (_, Outcome::Failed | Outcome::NoSpace) => &mut counters.pages_out_failed,
            _ => {
                self.page_out_latency.record(latency_ns);
                &mut counters.pages_out
            }
        };
        *counter = counter.wrapping_add(1);
    }
}
