// SPDX-License-Identifier: GPL-2.0

//! The lines of a shard's page-ins that wait for room on their way from the disk, and of its page-outs on
//! their way there. Whoever comes later stands behind those that wait, and the first of them goes when it
//! is the shard's turn. A page-out asks the mirror all the same before it joins, so that what the mirror
//! has of its page is superseded.

use super::super::device::Device;
use super::super::mirror::Way;
use super::super::storage::Storage;
use super::disk::DiskStage;
use super::disk_work::{DiskRead, DiskTurn, DiskWork, DiskWrite};
use super::op::{Link, Stage};
use super::Shard;

/// Those of one way, in the order in which they came; their links are in the ops. One that waits no more is
/// left where it is, and found out when it is its turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskLine {
    head: Link,
    tail: Link,
    /// Page-ins: the mirror will say when it is the shard's turn: whoever comes, joins.
    is_open: bool,
    /// It is the shard's turn.
    has_turn: bool,
}

impl DiskLine {
    /// Whether it is the shard's turn.
    pub(super) fn has_turn(&self) -> bool {
        self.has_turn
    }
}

/// An op's place in a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinePlace {
    linked: bool,
    next: Link,
}

impl<S: Storage> Shard<S> {
    fn line(&mut self, way: Way) -> &mut DiskLine {
        // PANIC: never; there are as many as ways.
        &mut self.lines[way as usize]
    }

    /// Whether some page-in may wait: whoever comes, stands behind it.
    pub(super) fn is_line_open(&self) -> bool {
        // PANIC: never, as above.
        self.lines[Way::In as usize].is_open
    }

    /// Whether nobody stands in the line.
    pub(super) fn is_line_empty(&self, way: Way) -> bool {
        // PANIC: never, as above.
        self.lines[way as usize].head == Link::NONE
    }

    /// The mirror has found no room for a page-in, and will say when there is.
    pub(super) fn open_line(&mut self) {
        self.line(Way::In).is_open = true;
    }

    /// Somebody waits for room. One that stands there already, keeps its place.
    pub(super) fn join_line(&mut self, way: Way, index: usize) {
        // CAST: ops are at most 65536.
        let link = Link(index as u32);
        let tail = self.line(way).tail;
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        op.disk.stage = DiskStage::waiting(way);
        let place = op.disk.place_mut(way);
        if core::mem::replace(&mut place.linked, true) {
            return;
        }
        place.next = Link::NONE;
        match self.ops.get_mut(tail.0 as usize) {
            Some(last) => last.disk.place_mut(way).next = link,
            None => self.line(way).head = link,
        }
        self.line(way).tail = link;
    }

    /// Takes the first of those that still wait out of the line.
    fn leave_line(&mut self, way: Way) -> Option<usize> {
        loop {
            let index = self.line(way).head.0 as usize;
            let op = self.ops.get_mut(index)?;
            let place = op.disk.place_mut(way);
            place.linked = false;
            let next = core::mem::take(&mut place.next);
            let waits = op.disk.stage == DiskStage::waiting(way)
                && matches!(op.stage, Stage::Active | Stage::Stalled);
            self.line(way).head = next;
            if next == Link::NONE {
                self.line(way).tail = Link::NONE;
            }
            if waits {
                return Some(index);
            }
        }
    }

    /// It is this shard's turn to have a buffer of the mirror.
    pub fn disk_turn(&mut self, way: Way) {
        // Whoever hears only now that there was no room, asks again: it did not stand in the line.
        self.disk_events = self.disk_events.wrapping_add(1);
        self.line(way).has_turn = true;
    }

    /// What the shard does with its turns, if it has one.
    pub(super) fn take_turn(&mut self, device: &Device<S>) -> Option<DiskWork> {
        let has_turn = |way: &Way| core::mem::take(&mut self.line(*way).has_turn);
        let way = Way::ALL.into_iter().find(has_turn)?;
        let first = self.leave_line(way);
        let others = self.line(way).head != Link::NONE;
        self.line(way).is_open = others;
        let Some(index) = first else {
            let shard = usize::from(self.number);
            return (!mutated!(TurnKept)).then_some(DiskWork::PassTurn(shard, way));
        };
        if let Some(op) = self.ops.get_mut(index) {
            op.stage = Stage::Active;
            op.disk.stage = match way {
                Way::In => DiskStage::AskQueued,
                Way::Out => DiskStage::PutQueued,
            };
        }
        let turn = Some(DiskTurn { others });
        Some(match self.begin_disk_work(index, device)? {
            DiskWork::Read(read) => DiskWork::Read(DiskRead { turn, ..read }),
            DiskWork::Write(write) => DiskWork::Write(DiskWrite { turn, ..write }),
            other => other,
        })
    }
}
