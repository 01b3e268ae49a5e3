// SPDX-License-Identifier: GPL-2.0

//! The ops for which the shard calls the mirror next, what it calls it for, and the mirror's events.

use super::super::disk_port::DiskPort;
use super::super::mirror::{Direction, Event, Token};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_page_in::BufferRead;
use super::disk_part::DiskStage;
use super::op::{Kind, Stage};
use super::ops::OpId;
use super::{Action, Shard};

impl<S: Storage> Shard<S> {
    /// Queues the op for a call of the mirror.
    pub(super) fn push_disk(&mut self, index: OpId, stage: DiskStage) {
        self.ops[index].disk.stage = stage;
        self.disk_work
            .push(&mut self.ops, index, |ops, id| &mut ops[id].disk.place);
    }

    /// Whether the mirror is to be called.
    #[inline]
    pub(super) fn has_disk_work(&self) -> bool {
        self.write_outcome.is_some()
            || !self.disk_work.is_empty()
            || self.wait_lists.iter().any(|list| list.has_grant)
    }

    /// Calls the mirror for one op. Returns what is to be copied, if anything.
    #[inline(never)]
    pub(super) fn call_mirror(
        &mut self,
        now_ns: u64,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) -> Option<Action> {
        for direction in Direction::ALL {
            if self.take_grant(direction) {
                return self.use_grant(now_ns, direction, port, device);
            }
        }
        let index = self
            .disk_work
            .pop(&mut self.ops, |ops, id| &mut ops[id].disk.place)?;
        let op = &mut self.ops[index];
        if let Some(buffer) = op.disk.buffer.take() {
            // It is ours to release, even if the op is over.
            return Some(Action::ReadBuffer(BufferRead {
                op: index,
                buffer,
                wants_crc: op.is_background,
            }));
        }
        if !matches!(op.stage, Stage::Active | Stage::Stalled) {
            return None;
        }
        match op.disk.stage {
            DiskStage::PutQueued => return self.put(now_ns, index, None, port, device),
            DiskStage::WantQueued => self.want(now_ns, index, port, device),
            DiskStage::DropQueued => {
                op.disk.stage = DiskStage::Refused;
                if let Some(outcome) = op.take_write_outcome(false) {
                    outcome.report(now_ns, port, device);
                }
            }
            // A fragment that no longer matters is still being copied to its page.
            // [`Self::requeue_after_claim`] queues the op again.
            DiskStage::LookQueued if op.claimed => {}
            stage @ (DiskStage::LookQueued | DiskStage::AskQueued) => {
                let buffers_only = stage == DiskStage::LookQueued;
                self.get(now_ns, index, buffers_only, None, port, device);
            }
            _ => {}
        }
        None
    }

    /// The op that waits with this token, if it still does.
    pub(super) fn find_waiter(&self, token: Token, stage: DiskStage) -> Option<OpId> {
        let index = self.op_of_tag(token.tag)?;
        let op = &self.ops[index];
        let waits = matches!(op.stage, Stage::Active | Stage::Stalled)
            && op.disk.stage == stage
            && op.disk.attempt == token.attempt;
        waits.then_some(index)
    }

    /// The mirror has this event for the shard ([`Event::shard`]).
    pub fn disk_event(
        &mut self,
        now_ns: u64,
        event: Event,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        match event {
            Event::Written(token, ok) => self.disk_written(now_ns, token, ok, device),
            Event::Read(token, result) => self.disk_read(now_ns, token, result, port, device),
            Event::Granted(_, direction) => self.disk_granted(direction),
            Event::StateChanged => self.disk_changed(now_ns, device),
        }
    }

    /// What the shard may do with the disk has changed.
    pub fn disk_changed(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        let state = device.disk.load();
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &self.ops[index];
            if op.kind == Kind::RepairToDisk {
                // The mirror notifies it in any case.
                continue;
            }
            match (op.stage, op.disk.stage) {
                (_, DiskStage::NoRoom) => {
                    // It stays in the wait list as long as the disk takes pages.
                    if !state.is_usable() {
                        self.ops[index].disk.stage = DiskStage::Refused;
                    }
                    self.advance_page_out(now_ns, index, device);
                }
                (_, DiskStage::Put | DiskStage::WantQueued | DiskStage::Awaited)
                    if !state.is_attached() =>
                {
                    self.push_disk(index, DiskStage::DropQueued);
                    self.advance_page_out(now_ns, index, device);
                }
                (_, DiskStage::Written) if !state.is_attached() => {
                    self.ops[index].disk.stage = DiskStage::Refused;
                    self.advance_page_out(now_ns, index, device);
                }
                (Stage::Stalled, DiskStage::Later | DiskStage::Failed) => {
                    self.ops[index].disk.stage = DiskStage::Looked;
                    self.retry_op(now_ns, index, device);
                }
                (Stage::Active, DiskStage::Later) => {
                    // It waits for a server as well, which may answer late or never.
                    self.ask_disk_again(index, device);
                }
                (Stage::Stalled, _) => self.retry_op(now_ns, index, device),
                _ => {}
            }
        }
    }
}
