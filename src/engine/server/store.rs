// SPDX-License-Identifier: GPL-2.0

//! A memory server's page store: owners, their pages, each with a version and a checksum.
//!
//! The store uses arrays that the caller provides, and never allocates. It handles versions, space
//! and quotas; [`super`] handles sessions, frames and time. No page is ever torn or has a wrong
//! checksum: data is received into a free page of the arena, and only a complete, verified page
//! replaces the one held.

mod assembly;
mod memory;
mod owner;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod write;

pub use assembly::Assembly;
pub use memory::{Arrays, Layout, Memory};
pub use owner::{Owner, OwnerId};
pub use table::{Record, PAGE_BITS};
pub use write::{Fragment, Written};

use crate::wire::{PageSum, PAGE_SIZE};
use assembly::Assemblies;
use owner::OwnerState;
use table::{Key, Table};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A page of the arena.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Page(pub [u8; PAGE_SIZE]);

impl Default for Page {
    fn default() -> Self {
        Self([0; PAGE_SIZE])
    }
}

/// The index of a page of the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaPage(u32);

impl ArenaPage {
    fn from_link(link: u32) -> Option<Self> {
        link.checked_sub(1).map(Self)
    }

    fn link(self) -> u32 {
        self.0.wrapping_add(1)
    }

    /// Its index in the arena.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Bytes of a page of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSlice {
    /// The page.
    pub at: ArenaPage,
    /// Offset in the page.
    pub offset: u16,
    /// Length.
    pub len: u16,
}

impl PageSlice {
    /// The bytes, in the arena that the slice was made for.
    pub fn bytes(self, arena: &[Page]) -> &[u8] {
        let from = usize::from(self.offset);
        arena
            .get(self.at.index())
            .and_then(|page| page.0.get(from..from.checked_add(self.len.into())?))
            .unwrap_or_default()
    }
}

/// `used` of `all` pages in units of 1/65535, rounded down: 65535 only if all are used.
fn utilisation(used: u64, all: u64) -> u16 {
    let part = used.saturating_mul(u64::from(u16::MAX));
    let share = part.checked_div(all).unwrap_or(u64::MAX);
    u16::try_from(share).unwrap_or(u16::MAX)
}

/// A page held for an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The page of the arena with its bytes.
    pub at: ArenaPage,
    /// Its version.
    pub version: u64,
    /// Checksum and tag of the whole page; with `filled`, of its first 8 bytes.
    pub sum: PageSum,
    /// Whether the page is same-filled: it repeats its first 8 bytes, and the others are not valid.
    pub filled: bool,
}

/// Pages of the arena checked in the search for one that can be dropped: about 40 µs.
const SEARCH_STEPS: u32 = if cfg!(test) { 64 } else { 16_384 };

/// The store.
///
/// # Invariants
///
/// `live` is the number of pages that open owners hold, at most `capacity`; `ended` is that of
/// ended owners. The arena has enough pages beyond `capacity` for all assemblies and one more page,
/// even when the store is full. A page of an ended owner is dropped as soon as its place is needed.
pub struct Store<M: Memory> {
    pages: M::Array<Page>,
    table: Table<M>,
    owners: M::Array<Owner>,
    assemblies: Assemblies<M>,
    capacity: u32,
    live: u32,
    ended: u32,
    /// Where the search for pages of ended owners continues.
    sweep: u32,
}

impl<M: Memory> Store<M> {
    /// An empty store. `seed` keys its hash; it must be random where clients are not trusted.
    /// `None` if the arrays do not match `layout`.
    pub fn new(arrays: Arrays<M>, layout: &Layout, seed: u64) -> Option<Self> {
        let Arrays {
            pages,
            records,
            heads,
            owners,
            assemblies,
        } = arrays;
        if pages.len() != layout.pages as usize
            || records.len() != pages.len()
            || owners.len() != usize::from(layout.owners)
            || assemblies.len() != layout.assemblies()
        {
            return None;
        }
        Some(Self {
            pages,
            table: Table::new(records, heads, seed)?,
            owners,
            assemblies: Assemblies::new(assemblies, layout.assemblies_per_owner),
            capacity: layout.capacity_pages,
            live: 0,
            ended: 0,
            sweep: 0,
        })
    }

    /// The arena, for [`PageSlice::bytes`].
    pub fn arena(&self) -> &[Page] {
        &self.pages
    }

    /// Pages that owners can fill in total.
    pub fn capacity_pages(&self) -> u64 {
        self.capacity.into()
    }

    /// Pages that owners can still fill.
    pub fn free_pages(&self) -> u64 {
        self.capacity.saturating_sub(self.live).into()
    }

    /// Pages that `owner` holds.
    pub fn held_pages(&self, owner: OwnerId) -> u64 {
        self.owners
            .get(owner.index())
            .map_or(0, |owner| owner.pages.into())
    }

    /// How full the store is: 0 is empty, 65535 full.
    pub fn utilisation(&self) -> u16 {
        utilisation(self.live.into(), self.capacity.into())
    }

    /// How full the store is for `owner`, which may hold `quota_pages`: 65535 if no page more fits.
    pub fn utilisation_of(&self, owner: OwnerId, quota_pages: u64) -> u16 {
        let most = quota_pages.min(self.capacity_pages());
        let left = most.saturating_sub(self.held_pages(owner));
        let used = most.saturating_sub(left.min(self.free_pages()));
        utilisation(used, most)
    }

    /// Whether a page can be received at once. If not, send what still refers to the arena, then
    /// call [`Store::settle`]. Before that, and until a page of an ended owner is found,
    /// [`Store::write`] may return [`Written::NoSpace`] too early.
    pub fn is_ready(&self) -> bool {
        self.table.can_take()
    }

    /// Nothing refers any more to pages of the arena that were dropped before: they may be reused.
    /// If no page is free, searches for pages of ended owners, for a bounded time because other
    /// requests wait.
    pub fn settle(&mut self) {
        self.table.settle();
        for _ in 0..SEARCH_STEPS {
            if self.ended == 0 || self.table.can_take() {
                break;
            }
            self.sweep_one();
            self.table.settle();
        }
    }

    /// The page, if `owner` holds it.
    pub fn get(&self, owner: OwnerId, page: u64) -> Option<Held> {
        let place = self.table.find(Key::new(owner.0, page)?)?;
        Some(place.held)
    }

    /// Lists pages that `owner` holds, with their versions: calls `each` for those among the
    /// `steps` pages of the arena from `cursor` on, until it returns false. Returns the cursor to
    /// continue from; 0 at the end. Pages written meanwhile may be missed or listed twice.
    pub fn list(
        &self,
        owner: OwnerId,
        cursor: u64,
        steps: u32,
        mut each: impl FnMut(u64, u64) -> bool,
    ) -> u64 {
        let used = self.table.used();
        let from = u32::try_from(cursor).unwrap_or(u32::MAX).min(used);
        let to = from.saturating_add(steps).min(used);
        for at in from..to {
            let listed = self.table.listed_at(at);
            if let Some((_, page, version)) = listed.filter(|found| found.0 == owner.0) {
                if !each(page, version) {
                    return at.into();
                }
            }
        }
        match to < used {
            true => to.into(),
            false => 0,
        }
    }

    fn drop_assemblies(&mut self, owner: OwnerId, page: u64, version: u64) {
        let Some(state) = self.owners.get_mut(owner.index()) else {
            return;
        };
        while let Some(at) =
            self.assemblies
                .drop_up_to(owner.0, &mut state.assemblies, page, version)
        {
            self.table.give(at);
        }
    }

    /// Drops the page if a version below `version` is held, and incomplete ones below `version`.
    /// Returns whether a page was held.
    pub fn free(&mut self, owner: OwnerId, page: u64, version: u64) -> bool {
        let Some(below) = version.checked_sub(1) else {
            return false;
        };
        self.drop_assemblies(owner, page, below);
        let Some(place) = Key::new(owner.0, page).and_then(|key| self.table.find(key)) else {
            return false;
        };
        let Some(state) = self.owners.get_mut(owner.index()) else {
            return false;
        };
        let is_newer = place.held.version >= version && !mutated!(FreeIgnoresVersion);
        if state.state != OwnerState::Open || is_newer {
            return false;
        }
        self.table.remove(&place);
        state.pages = state.pages.saturating_sub(1);
        self.live = self.live.saturating_sub(1);
        true
    }

    /// Drops incomplete versions of `page` below `version`, which can no longer be completed.
    pub fn abandon(&mut self, owner: OwnerId, page: u64, version: u64) {
        if let Some(below) = version.checked_sub(1) {
            self.drop_assemblies(owner, page, below);
        }
    }
}
