// SPDX-License-Identifier: GPL-2.0

//! A memory server's page store: owners, their pages, each with a version and a checksum.
//!
//! It lives in arrays that the caller gives it and never allocates. It knows versions, space and
//! quotas; sessions, frames and time are [`super::server`]'s. No page is ever torn or of the wrong
//! checksum: bytes come into a free page of the arena, and only a whole, checked page takes the
//! place of the one held.

mod assembly;
mod memory;
mod table;
#[cfg(test)]
mod tests;

pub use assembly::Assembly;
pub use memory::{Arrays, Layout, Memory};
pub use table::Record;

use crate::crc::crc32c;
use crate::wire::{FragmentMask, Fragmentation, PAGE_SIZE};
use assembly::{Assemblies, Progress};
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

/// Who pages belong to: one session, from its opening until all its pages are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerId(u16);

impl OwnerId {
    /// Its index, below the layout's number of owners.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OwnerState {
    #[default]
    Vacant,
    Open,
    /// Closed, and some of its pages are still to be dropped.
    Leaving,
}

/// What the store knows of an owner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner {
    state: OwnerState,
    assemblies: u16,
    pages: u32,
}

/// A page, or a part of one, that a client wants kept.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// The page's index.
    pub page: u64,
    /// Its version.
    pub version: u64,
    /// CRC32C of the whole page; with `filled`, of `bytes`.
    pub crc: u32,
    /// Which sending of it this is.
    pub attempt: u32,
    /// How the page is cut.
    pub cut: Fragmentation,
    /// Which piece this is.
    pub index: u8,
    /// Whether the page is the 8 bytes of `bytes` over and over.
    pub filled: bool,
    /// As many bytes as the piece has.
    pub bytes: &'a [u8],
}

/// What became of a [`Fragment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The page was complete with it, and is held.
    Stored,
    /// Just this is held already.
    Held,
    /// These are held, and fragments are missing that a client would send earlier; or the client
    /// sends again what is held.
    Incomplete(FragmentMask),
    /// More is to come, and nothing is to be said; or it came too late for its attempt.
    Pending,
    /// No memory left for a page that is not held yet.
    NoSpace,
    /// The owner has as many pages as it may have.
    Quota,
    /// A newer version is held; or this one, with other bytes.
    Stale,
    /// The bytes are not those of the checksum. None of them are kept.
    Corrupt,
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

/// Bytes that stand for a page of one value over and over.
const FILL_LEN: usize = 8;

/// The store.
///
/// # Invariants
///
/// `live` is the number of pages that open owners hold, at most `capacity`; `leaving` that of the
/// others. The arena has so many pages more than `capacity` that all assemblies and one page more
/// fit beside a full store; a page of leaving owners is dropped as soon as its place is needed.
pub struct Store<M: Memory> {
    pages: M::Array<Page>,
    table: Table<M>,
    owners: M::Array<Owner>,
    assemblies: Assemblies<M>,
    capacity: u32,
    live: u32,
    leaving: u32,
    /// Where the search for leaving owners' pages goes on.
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
            leaving: 0,
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
        let part = u64::from(self.live).wrapping_mul(u64::from(u16::MAX));
        let share = part.checked_div(self.capacity.into()).unwrap_or(u64::MAX);
        u16::try_from(share).unwrap_or(u16::MAX)
    }

    /// A new owner without pages. `None` if there are as many as there can be.
    pub fn open(&mut self) -> Option<OwnerId> {
        if self.vacant().is_none() {
            // All are open, or sessions end faster than they are swept.
            self.sweep(self.table.used());
        }
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
        self.leaving = self.leaving.saturating_add(state.pages);
        while let Some(at) = self.assemblies.drop_oldest(owner.0, &mut state.assemblies) {
            self.table.give(at);
        }
        state.state = if state.pages == 0 {
            OwnerState::Vacant
        } else {
            OwnerState::Leaving
        };
    }

    /// Whether pages of ended owners are still to be dropped: then [`Store::sweep`] is of use.
    pub fn is_sweeping(&self) -> bool {
        self.leaving > 0
    }

    /// Looks at up to `steps` pages of the arena and drops those of ended owners.
    pub fn sweep(&mut self, steps: u32) {
        for _ in 0..steps {
            if self.leaving == 0 {
                return;
            }
            self.sweep_one();
        }
    }

    fn sweep_one(&mut self) {
        if self.sweep >= self.table.used() {
            self.sweep = 0;
        }
        let held = self.table.held_at(self.sweep);
        self.sweep = self.sweep.wrapping_add(1);
        let Some((index, place)) = held else { return };
        let Some(owner) = self.owners.get_mut(usize::from(index)) else {
            return;
        };
        if owner.state != OwnerState::Leaving {
            return;
        }
        self.table.remove(&place);
        self.leaving = self.leaving.saturating_sub(1);
        owner.pages = owner.pages.saturating_sub(1);
        if owner.pages == 0 {
            owner.state = OwnerState::Vacant;
        }
    }

    /// Whether a page can come in at once. If not, send what still refers to the arena, then call
    /// [`Store::settle`]: before that, [`Store::write`] may say [`Written::NoSpace`] too early.
    pub fn is_ready(&self) -> bool {
        self.table.can_take()
    }

    /// Says that nobody refers any more to pages of the arena that were dropped until now: they
    /// may be filled again. Where there is none, one is looked for among ended owners' pages.
    pub fn settle(&mut self) {
        self.table.settle();
        for _ in 0..self.table.used() {
            if self.leaving == 0 || self.table.can_take() {
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

    /// Takes in a page or a part of one. A page that `owner` does not hold yet needs space, and
    /// that the owner holds less than `quota_pages`; one that it holds never fails for either.
    pub fn write(&mut self, owner: OwnerId, fragment: &Fragment<'_>, quota_pages: u64) -> Written {
        let Some(key) = Key::new(owner.0, fragment.page) else {
            return Written::NoSpace;
        };
        let Some(state) = self.owners.get(owner.index()) else {
            return Written::NoSpace;
        };
        if state.state != OwnerState::Open {
            return Written::NoSpace;
        }
        let place = self.table.find(key);
        match &place {
            Some(Place { entry, .. }) if fragment.version == entry.version => {
                // One version never has two contents: a client whose page changed takes a new one.
                let same = fragment.crc == entry.crc && fragment.filled == entry.filled;
                return if same { Written::Held } else { Written::Stale };
            }
            Some(Place { entry, .. }) if fragment.version < entry.version => return Written::Stale,
            Some(_) => {}
            None if u64::from(state.pages) >= quota_pages => return Written::Quota,
            None if self.live >= self.capacity => return Written::NoSpace,
            None => {}
        }
        if fragment.filled || fragment.cut == Fragmentation::WHOLE {
            self.write_whole(owner, key, place, fragment)
        } else {
            self.write_part(owner, key, place, fragment)
        }
    }

    fn write_whole(
        &mut self,
        owner: OwnerId,
        key: Key,
        place: Option<Place>,
        fragment: &Fragment<'_>,
    ) -> Written {
        let len = if fragment.filled { FILL_LEN } else { PAGE_SIZE };
        if fragment.bytes.len() != len || crc32c(fragment.bytes) != fragment.crc {
            return Written::Corrupt;
        }
        let Some(at) = self.table.take() else {
            return Written::NoSpace;
        };
        if let Some(page) = self
            .pages
            .get_mut(at.index())
            .and_then(|page| page.0.get_mut(..len))
        {
            page.copy_from_slice(fragment.bytes);
        }
        self.install(owner, key, place, at, fragment)
    }

    fn write_part(
        &mut self,
        owner: OwnerId,
        key: Key,
        place: Option<Place>,
        fragment: &Fragment<'_>,
    ) -> Written {
        let Some((offset, len)) = fragment.cut.span(fragment.index) else {
            return Written::Corrupt;
        };
        if fragment.bytes.len() != usize::from(len) {
            return Written::Corrupt;
        }
        let (at, held, tell) = match self.assemble(owner, fragment) {
            None => return Written::NoSpace,
            Some(Progress::Late | Progress::Repeated { tell: false, .. }) => {
                return Written::Pending
            }
            Some(Progress::Repeated { held, .. }) => return Written::Incomplete(held),
            Some(Progress::New { at, held, tell }) => (at, held, tell),
        };
        let Some(page) = self.pages.get_mut(at.index()) else {
            return Written::NoSpace;
        };
        let from = usize::from(offset);
        let to = from.saturating_add(fragment.bytes.len());
        if let Some(part) = page.0.get_mut(from..to) {
            part.copy_from_slice(fragment.bytes);
        }
        if held == fragment.cut.all() {
            if crc32c(&page.0) != fragment.crc {
                self.drop_assemblies(owner, fragment.page, fragment.version);
                return Written::Corrupt;
            }
            if let Some(state) = self.owners.get_mut(owner.index()) {
                self.assemblies
                    .complete(owner.0, &mut state.assemblies, fragment);
            }
            return self.install(owner, key, place, at, fragment);
        }
        if tell {
            Written::Incomplete(held)
        } else {
            Written::Pending
        }
    }

    /// Adds the fragment to its assembly, or to a new one. `None` if there is no page for that.
    fn assemble(&mut self, owner: OwnerId, fragment: &Fragment<'_>) -> Option<Progress> {
        let state = self.owners.get_mut(owner.index())?;
        let added = self.assemblies.add(owner.0, state.assemblies, fragment);
        if added.is_some() {
            return added;
        }
        let at = if self.assemblies.is_full(state.assemblies) {
            // Nothing outside refers to a half-received page: it can be used again at once.
            self.assemblies
                .drop_oldest(owner.0, &mut state.assemblies)?
        } else {
            self.table.take()?
        };
        self.assemblies
            .begin(owner.0, &mut state.assemblies, fragment, at)
    }

    /// Makes the checked page at `at` the one held under `key`.
    fn install(
        &mut self,
        owner: OwnerId,
        key: Key,
        place: Option<Place>,
        at: ArenaPage,
        fragment: &Fragment<'_>,
    ) -> Written {
        let &Fragment {
            page,
            version,
            crc,
            filled,
            ..
        } = fragment;
        let entry = Entry {
            version,
            crc,
            filled,
        };
        match place {
            Some(place) => self.table.replace(&place, at, entry),
            None => {
                self.table.insert(key, at, entry);
                self.live = self.live.saturating_add(1);
                if let Some(state) = self.owners.get_mut(owner.index()) {
                    state.pages = state.pages.saturating_add(1);
                }
            }
        }
        self.drop_assemblies(owner, page, version);
        Written::Stored
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
        if state.state != OwnerState::Open || place.entry.version >= version {
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
