// SPDX-License-Identifier: GPL-2.0

//! A memory server's page store: owners, their pages, each with a version and a checksum.
//!
//! It lives in arrays that the caller gives it and never allocates. It knows versions, space and
//! quotas; sessions, frames and time are [`super`]'s. No page is ever torn or of the wrong
//! checksum: bytes come into a free page of the arena, and only a whole, checked page takes the
//! place of the one held.

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

use crate::wire::PAGE_SIZE;
use assembly::Assemblies;
use owner::OwnerState;
use table::{Entry, Key, Place, Table};
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

/// The number of a page of the arena.
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
    /// Where they begin in it.
    pub offset: u16,
    /// How many they are.
    pub len: u16,
}

impl PageSlice {
    /// The bytes, in the arena that it was made for.
    pub fn bytes(self, arena: &[Page]) -> &[u8] {
        let from = usize::from(self.offset);
        arena
            .get(self.at.index())
            .and_then(|page| page.0.get(from..from.checked_add(self.len.into())?))
            .unwrap_or_default()
    }
}

/// `used` of `all` pages in 1/65535, rounded down: 65535 only if all are.
fn utilisation(used: u64, all: u64) -> u16 {
    let part = used.saturating_mul(u64::from(u16::MAX));
    let share = part.checked_div(all).unwrap_or(u64::MAX);
    u16::try_from(share).unwrap_or(u16::MAX)
}

/// A page that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where its bytes are.
    pub at: ArenaPage,
    /// Its version.
    pub version: u64,
    /// CRC32C of the whole page; with `filled`, of its first 8 bytes.
    pub crc: u32,
    /// Whether the page is its first 8 bytes over and over; those after them mean nothing.
    pub filled: bool,
}

/// Pages of the arena that are looked at for one that can be dropped: some 40 µs.
const SEARCH_STEPS: u32 = if cfg!(test) { 64 } else { 16_384 };

/// The store.
///
/// # Invariants
///
/// `live` is the number of pages that open owners hold, at most `capacity`; `ended` that of the
/// others. The arena has so many pages more than `capacity` that all assemblies and one page more
/// fit beside a full store; a page of ended owners is dropped as soon as its place is needed.
pub struct Store<M: Memory> {
    pages: M::Array<Page>,
    table: Table<M>,
    owners: M::Array<Owner>,
    assemblies: Assemblies<M>,
    capacity: u32,
    live: u32,
    ended: u32,
    /// Where the search for ended owners' pages goes on.
    sweep: u32,
}

impl<M: Memory> Store<M> {
    /// An empty store. `seed` keys its hash: random where clients are not trusted. `None` if the
    /// arrays are not `layout`'s.
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

    /// Pages that owners can fill.
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

    /// How full the store is: 0 empty, 65535 full.
    pub fn utilisation(&self) -> u16 {
        utilisation(self.live.into(), self.capacity.into())
    }

    /// How full the store is for `owner`, who may have `quota_pages`: 65535 if nothing more of its
    /// fits.
    pub fn utilisation_of(&self, owner: OwnerId, quota_pages: u64) -> u16 {
        let most = quota_pages.min(self.capacity_pages());
        let left = most.saturating_sub(self.held_pages(owner));
        let used = most.saturating_sub(left.min(self.free_pages()));
        utilisation(used, most)
    }

    /// Whether a page can come in at once. If not, send what still refers to the arena, then call
    /// [`Store::settle`]: before that, and while it has not found one among ended owners' pages,
    /// [`Store::write`] may say [`Written::NoSpace`] too early.
    pub fn is_ready(&self) -> bool {
        self.table.can_take()
    }

    /// Says that nobody refers any more to pages of the arena that were dropped until now: they
    /// may be filled again. Where there is none, one is looked for among ended owners' pages, for a
    /// bounded time: others wait meanwhile.
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
        let Place { at, entry, .. } = self.table.find(Key::new(owner.0, page)?)?;
        let Entry {
            version,
            crc,
            filled,
        } = entry;
        Some(Held {
            at,
            version,
            crc,
            filled,
        })
    }

    /// Lists pages that `owner` holds, with their versions: `each` is called for those found among
    /// the `steps` pages of the arena from `cursor` on, until it says that it has enough. Returns
    /// where to go on; 0 at the end. What is written meanwhile may be missed, or come twice.
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

    /// Drops the page if a version below `version` is held, and half-received ones below it.
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
        let is_newer = place.entry.version >= version && !mutated!(FreeIgnoresVersion);
        if state.state != OwnerState::Open || is_newer {
            return false;
        }
        self.table.remove(&place);
        state.pages = state.pages.saturating_sub(1);
        self.live = self.live.saturating_sub(1);
        true
    }

    /// Drops half-received pages of `page` below `version`: they can no longer be completed.
    pub fn abandon(&mut self, owner: OwnerId, page: u64, version: u64) {
        if let Some(below) = version.checked_sub(1) {
            self.drop_assemblies(owner, page, below);
        }
    }
}
