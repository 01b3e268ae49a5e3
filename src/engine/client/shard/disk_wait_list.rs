// SPDX-License-Identifier: GPL-2.0

//! Two lists of ops that wait for room in the mirror: page-ins from the disk, and page-outs to it.
//!
//! An op that comes later waits behind those that wait already. The first in a list asks again when
//! the mirror grants the shard a buffer. A page-out asks the mirror before it joins, so that it supersedes
//! what the mirror holds of its page.

use super::super::disk_port::DiskPort;
use super::super::mirror::Direction;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_part::DiskStage;
use super::list::List;
use super::op::Stage;
use super::ops::OpId;
use super::{Action, Shard};

/// The ops of one direction, in the order in which they came. Their links are in the ops. An op that no
/// longer waits stays until it is the first, and is then dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskWaitList {
    ops: List<OpId>,
    /// The mirror will notify the shard of a grant, so a page-in that comes joins.
    is_open: bool,
    /// The mirror has granted the shard a buffer.
    pub(super) has_grant: bool,
}

impl<S: Storage> Shard<S> {
    fn wait_list(&mut self, direction: Direction) -> &mut DiskWaitList {
        // PANIC: never; there are as many as directions.
        &mut self.wait_lists[direction as usize]
    }

    /// Whether a page-in may wait, so that others must wait behind it.
    pub(super) fn is_wait_list_open(&self) -> bool {
        // PANIC: never, as above.
        self.wait_lists[Direction::In as usize].is_open
    }

    /// The op waits for room, and the mirror will notify the shard of a grant. If it is in the list already,
    /// it keeps its place.
    pub(super) fn join_wait_list(&mut self, direction: Direction, index: OpId) {
        self.ops[index].disk.stage = DiskStage::waiting(direction);
        // PANIC: never, as above.
        let list = &mut self.wait_lists[direction as usize];
        list.is_open = true;
        list.ops.push(&mut self.ops, index, |ops, id| {
            ops[id].disk.place_mut(direction)
        });
    }

    /// Takes the first op that still waits out of the list.
    fn leave_wait_list(&mut self, direction: Direction) -> Option<OpId> {
        loop {
            // PANIC: never, as above.
            let list = &mut self.wait_lists[direction as usize].ops;
            let index = list.pop(&mut self.ops, |ops, id| ops[id].disk.place_mut(direction))?;
            let op = &self.ops[index];
            let waits = op.disk.stage == DiskStage::waiting(direction)
                && matches!(op.stage, Stage::Active | Stage::Stalled);
            if waits {
                return Some(index);
            }
        }
    }

    /// The mirror has granted this shard a buffer.
    pub(super) fn disk_granted(&mut self, direction: Direction) {
        self.wait_list(direction).has_grant = true;
    }

    /// Whether the shard has a grant, which [`Self::use_grant`] must use then.
    pub(super) fn take_grant(&mut self, direction: Direction) -> bool {
        core::mem::take(&mut self.wait_list(direction).has_grant)
    }

    /// Uses the shard's grant for the first op in the list.
    pub(super) fn use_grant(
        &mut self,
        now_ns: u64,
        direction: Direction,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) -> Option<Action> {
        let first = self.leave_wait_list(direction);
        let others = !self.wait_list(direction).ops.is_empty();
        self.wait_list(direction).is_open = others;
        let Some(index) = first else {
            let shard = usize::from(self.number);
            if !mutated!(GrantKept) {
                port.call(|mirror| mirror.return_grant(shard, direction));
            }
            return None;
        };
        self.ops[index].stage = Stage::Active;
        match direction {
            Direction::In => {
                self.get(now_ns, index, false, Some(others), port, device);
                None
            }
            Direction::Out => self.put(now_ns, index, Some(others), port, device),
        }
    }
}
