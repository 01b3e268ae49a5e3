// SPDX-License-Identifier: GPL-2.0

//! The line of a shard's page-ins that wait for room on their way from the disk. Whoever comes later
//! stands behind those that wait, and the first of them goes when it is the shard's turn.

use core::ops::Deref;

use super::super::device::Device;
use super::disk::DiskStage;
use super::disk_work::{DiskTurn, DiskWork};
use super::op::{Link, Stage};
use super::{Shard, Storage};
use crate::sync::Atomic;

/// Page-ins, in the order in which they came; their links are in the ops. One that waits no more is
/// left where it is, and found out when it is its turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskLine {
    head: Link,
    tail: Link,
    /// The mirror will say when it is the shard's turn: whoever comes, joins.
    is_open: bool,
    /// It is the shard's turn.
    has_turn: bool,
}

impl DiskLine {
    /// Whether some page-in may wait: whoever comes, stands behind it.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether it is the shard's turn.
    pub(super) fn has_turn(&self) -> bool {
        self.has_turn
    }
}

/// An op's place in the line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinePlace {
    linked: bool,
    next: Link,
}

impl<S: Storage> Shard<S> {
    /// The mirror has found no room for a page-in, and will say when there is.
    pub(super) fn open_line(&mut self) {
        self.line.is_open = true;
    }

    /// A page-in waits for room. One that stands there already, keeps its place.
    pub(super) fn join_line(&mut self, index: usize) {
        // CAST: ops are at most 65536.
        let link = Link(index as u32);
        let tail = self.line.tail;
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        op.disk.stage = DiskStage::InLine;
        if core::mem::replace(&mut op.disk.place.linked, true) {
            return;
        }
        op.disk.place.next = Link::NONE;
        match self.ops.get_mut(tail.0 as usize) {
            Some(last) => last.disk.place.next = link,
            None => self.line.head = link,
        }
        self.line.tail = link;
    }

    /// Takes the first of those that still wait out of the line.
    fn leave_line(&mut self) -> Option<usize> {
        loop {
            let index = self.line.head.0 as usize;
            let op = self.ops.get_mut(index)?;
            op.disk.place.linked = false;
            let waits = op.disk.stage == DiskStage::InLine
                && matches!(op.stage, Stage::Active | Stage::Stalled);
            let next = core::mem::take(&mut op.disk.place.next);
            self.line.head = next;
            if next == Link::NONE {
                self.line.tail = Link::NONE;
            }
            if waits {
                return Some(index);
            }
        }
    }

    /// It is this shard's turn to have a page read from the disk.
    pub fn disk_turn(&mut self) {
        // Whoever hears only now that there was no room, asks again: it did not stand in the line.
        self.disk_news = self.disk_news.wrapping_add(1);
        self.line.has_turn = true;
    }

    /// What the shard does with its turn, if it has one.
    pub(super) fn take_turn<M>(&mut self, device: &Device<M>) -> Option<DiskWork>
    where
        M: Deref<Target = [Atomic<u32>]>,
    {
        if !core::mem::take(&mut self.line.has_turn) {
            return None;
        }
        let first = self.leave_line();
        let others = self.line.head != Link::NONE;
        self.line.is_open = others;
        let Some(index) = first else {
            let shard = usize::from(self.number);
            return (!mutated!(TurnKept)).then_some(DiskWork::PassTurn(shard));
        };
        if let Some(op) = self.ops.get_mut(index) {
            op.stage = Stage::Active;
            op.disk.stage = DiskStage::AskQueued;
        }
        let work = self.begin_disk_work(index, device);
        match work {
            Some(DiskWork::Read(read)) => Some(DiskWork::Read(super::DiskRead {
                turn: Some(DiskTurn { others }),
                ..read
            })),
            other => other,
        }
    }
}
