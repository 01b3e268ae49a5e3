// SPDX-License-Identifier: GPL-2.0

//! Owners of pages: how they come, and how the pages of one that went are dropped by and by.

use super::{Memory, Store};

/// Who pages belong to: one session, from its opening until all its pages are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerId(pub(super) u16);

impl OwnerId {
    /// Its index, below the layout's number of owners.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// Pages that are looked at in the time that dropping one takes.
const DROP_STEPS: u32 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OwnerState {
    #[default]
    Vacant,
    Open,
    /// Closed, and some of its pages are still to be dropped.
    Ended,
}

/// What the store knows of an owner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner {
    pub(super) state: OwnerState,
    pub(super) assemblies: u16,
    pub(super) pages: u32,
}

impl<M: Memory> Store<M> {
    /// A new owner without pages. `None` if there are as many as there can be, those included whose
    /// pages are still to be dropped.
    pub fn open(&mut self) -> Option<OwnerId> {
        let index = self.vacant()?;
        *self.owners.get_mut(usize::from(index))? = Owner {
            state: OwnerState::Open,
            ..Owner::default()
        };
        Some(OwnerId(index))
    }

    /// The owner of this index, if it is open.
    pub fn owner(&self, index: usize) -> Option<OwnerId> {
        let id = OwnerId(u16::try_from(index).ok()?);
        self.owners
            .get(index)
            .is_some_and(|owner| owner.state == OwnerState::Open)
            .then_some(id)
    }

    /// Whether the owner of this index has neither a session nor pages.
    pub fn is_vacant(&self, index: usize) -> bool {
        self.owners
            .get(index)
            .is_none_or(|owner| owner.state == OwnerState::Vacant)
    }

    fn vacant(&self) -> Option<u16> {
        let index = self
            .owners
            .iter()
            .position(|owner| owner.state == OwnerState::Vacant)?;
        u16::try_from(index).ok()
    }

    /// Ends `owner`: its pages count as free at once, and are dropped by and by.
    pub fn close(&mut self, owner: OwnerId) {
        let Some(state) = self.owners.get_mut(owner.index()) else {
            return;
        };
        if state.state != OwnerState::Open {
            return;
        }
        self.live = self.live.saturating_sub(state.pages);
        self.ended = self.ended.saturating_add(state.pages);
        while let Some(at) = self.assemblies.drop_oldest(owner.0, &mut state.assemblies) {
            self.table.give(at);
        }
        state.state = if state.pages == 0 {
            OwnerState::Vacant
        } else {
            OwnerState::Ended
        };
    }

    /// Whether pages of ended owners are still to be dropped: then [`Store::sweep`] is of use.
    pub fn is_sweeping(&self) -> bool {
        self.ended > 0
    }

    /// Drops pages of ended owners; looks for them at up to `steps` pages of the arena, or at as many
    /// less as dropping takes longer than looking.
    pub fn sweep(&mut self, steps: u32) {
        let mut left = steps;
        while left > 0 && self.ended > 0 {
            left = match self.sweep_one() {
                true => left.saturating_sub(DROP_STEPS),
                false => left.saturating_sub(1),
            };
        }
    }

    /// Looks at one page of the arena. Returns whether it was dropped.
    pub(super) fn sweep_one(&mut self) -> bool {
        if self.sweep >= self.table.used() {
            self.sweep = 0;
        }
        let at = self.sweep;
        self.sweep = self.sweep.wrapping_add(1);
        // Most often it is somebody's who stays: the table is searched only for those who do not.
        let Some((index, ..)) = self.table.listed_at(at) else {
            return false;
        };
        let Some(owner) = self.owners.get_mut(usize::from(index)) else {
            return false;
        };
        if owner.state != OwnerState::Ended {
            return false;
        }
        let Some(place) = self.table.held_at(at) else {
            return false;
        };
        self.table.remove(&place);
        self.ended = self.ended.saturating_sub(1);
        owner.pages = owner.pages.saturating_sub(1);
        if owner.pages == 0 {
            owner.state = OwnerState::Vacant;
        }
        true
    }
}
