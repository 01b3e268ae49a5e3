// SPDX-License-Identifier: GPL-2.0

//! Owners of pages: opening them, closing them, and dropping a closed owner's pages gradually.

use super::{Memory, Store};

/// An owner of pages: one session, from its opening until all its pages are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerId(pub(super) u16);

impl OwnerId {
    /// Its index, below the layout's number of owners.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// Pages that can be checked in the time that dropping one takes.
const DROP_STEPS: u32 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OwnerState {
    #[default]
    Vacant,
    Open,
    /// Closed, but some of its pages are not dropped yet.
    Ended,
}

/// The store's record of an owner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner {
    pub(super) state: OwnerState,
    pub(super) assemblies: u16,
    pub(super) pages: u32,
}

impl<M: Memory> Store<M> {
    /// A new owner without pages. `None` if all are in use, including those whose pages are not all
    /// dropped yet.
    pub fn open(&mut self) -> Option<OwnerId> {
        let is_vacant = |owner: &Owner| owner.state == OwnerState::Vacant;
        let index = self.owners.iter().position(is_vacant)?;
        *self.owners.get_mut(index)? = Owner {
            state: OwnerState::Open,
            ..Owner::default()
        };
        u16::try_from(index).ok().map(OwnerId)
    }

    /// The owner with this index, if it is open.
    pub fn owner(&self, index: usize) -> Option<OwnerId> {
        let id = OwnerId(u16::try_from(index).ok()?);
        self.owners
            .get(index)
            .is_some_and(|owner| owner.state == OwnerState::Open)
            .then_some(id)
    }

    /// Whether the owner with this index has neither a session nor pages.
    pub fn is_vacant(&self, index: usize) -> bool {
        self.owners
            .get(index)
            .is_none_or(|owner| owner.state == OwnerState::Vacant)
    }

    /// Closes `owner`: its pages count as free at once, and are dropped gradually.
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

    /// Whether pages of ended owners remain, so that [`Store::sweep`] is of use.
    pub fn is_sweeping(&self) -> bool {
        self.ended > 0
    }

    /// Drops pages of ended owners. Checks up to `steps` pages of the arena; a dropped page counts
    /// as several.
    pub fn sweep(&mut self, steps: u32) {
        let mut left = steps;
        while left > 0 && self.ended > 0 {
            left = match self.sweep_one() {
                true => left.saturating_sub(DROP_STEPS),
                false => left.saturating_sub(1),
            };
        }
    }

    /// Checks one page of the arena. Returns whether it was dropped.
    pub(super) fn sweep_one(&mut self) -> bool {
        if self.sweep >= self.table.used() {
            self.sweep = 0;
        }
        let at = self.sweep;
        self.sweep = self.sweep.wrapping_add(1);
        // Most pages belong to open owners: the table is searched only for the others.
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
