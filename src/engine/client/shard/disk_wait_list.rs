// SPDX-License-Identifier: GPL-2.0

//! Two lists of ops that wait for room in the mirror: page-ins from the disk, and page-outs to it.
//!
//! An op that comes later waits behind those that wait already. The first in a list asks again when it is
//! the shard's turn. A page-out asks the mirror before it joins, so that it supersedes what the mirror
//! holds of its page.

use super::super::device::Device;
use super::super::disk_port::DiskPort;
use super::super::mirror::Way;
use super::super::storage::Storage;
use super::disk_part::DiskStage;
use super::list::List;
use super::op::Stage;
use super::ops::OpId;
use super::{Action, Shard};

/// The ops of one way, in the order in which they came. Their links are in the ops. An op that no longer
/// waits stays until it is the first, and is then dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskWaitList {
    ops: List<OpId>,
    /// Page-ins: the mirror will notify the shard of its turn, so an op that comes joins.
    is_open: bool,
    /// It is the shard's turn.
    has_turn: bool,
}

impl DiskWaitList {
    /// Whether it is the shard's turn.
    pub(super) fn has_turn(&self) -> bool {
        self.has_turn
    }
}

impl<S: Storage> Shard<S> {
    fn wait_list(&mut self, way: Way) -> &mut DiskWaitList {
        // PANIC: never; there are as many as ways.
        &mut self.wait_lists[way as usize]
    }

    /// Whether a page-in may wait, so that others must wait behind it.
    pub(super) fn is_wait_list_open(&self) -> bool {
        // PANIC: never, as above.
        self.wait_lists[Way::In as usize].is_open
    }

    /// The mirror has no room for a page-in, and will notify the shard of its turn.
    pub(super) fn open_wait_list(&mut self) {
        self.wait_list(Way::In).is_open = true;
    }

    /// The op waits for room. If it is in the list already, it keeps its place.
    pub(super) fn join_wait_list(&mut self, way: Way, index: OpId) {
        self.ops[index].disk.stage = DiskStage::waiting(way);
        // PANIC: never, as above.
        let list = &mut self.wait_lists[way as usize].ops;
        list.push(&mut self.ops, index, |ops, id| ops[id].disk.place_mut(way));
    }

    /// Takes the first op that still waits out of the list.
    fn leave_wait_list(&mut self, way: Way) -> Option<OpId> {
        loop {
            // PANIC: never, as above.
            let list = &mut self.wait_lists[way as usize].ops;
            let index = list.pop(&mut self.ops, |ops, id| ops[id].disk.place_mut(way))?;
            let op = &self.ops[index];
            let waits = op.disk.stage == DiskStage::waiting(way)
                && matches!(op.stage, Stage::Active | Stage::Stalled);
            if waits {
                return Some(index);
            }
        }
    }

    /// It is this shard's turn to have a buffer of the mirror.
    pub fn disk_turn(&mut self, way: Way) {
        self.wait_list(way).has_turn = true;
    }

    /// Whether it is the shard's turn, which [`Self::use_turn`] must use then.
    pub(super) fn take_turn(&mut self, way: Way) -> bool {
        core::mem::take(&mut self.wait_list(way).has_turn)
    }

    /// Uses the shard's turn for the first op in the list.
    pub(super) fn use_turn(
        &mut self,
        now_ns: u64,
        way: Way,
        port: &mut impl DiskPort<S>,
        device: &Device<S>,
    ) -> Option<Action> {
        let first = self.leave_wait_list(way);
        let others = !self.wait_list(way).ops.is_empty();
        self.wait_list(way).is_open = others;
        let Some(index) = first else {
            let shard = usize::from(self.number);
            if !mutated!(TurnKept) {
                port.call(|mirror| mirror.pass_turn(shard, way));
            }
            return None;
        };
        self.ops[index].stage = Stage::Active;
        match way {
            Way::In => {
                self.get(now_ns, index, false, Some(others), port, device);
                None
            }
            Way::Out => self.put(now_ns, index, Some(others), port, device),
        }
    }
}
