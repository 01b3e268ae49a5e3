// SPDX-License-Identifier: GPL-2.0

//! How a page comes in: whether it may, its fragments, the check, and the exchange with the page
//! held before.
//!
//! The rules, in this order: `docs/protocol.md`, "WRITE".

use super::assembly::Progress;
use super::owner::OwnerState;
use super::table::{Entry, Key, Place};
use super::{ArenaPage, Memory, OwnerId, Store};
use crate::wire::{FragmentMask, Fragmentation, PAGE_SIZE};

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

/// Bytes that stand for a page of one value over and over.
const FILL_LEN: usize = 8;

impl<M: Memory> Store<M> {
    /// Takes in a page or a part of one. A page that `owner` does not hold yet needs space, and
    /// that the owner holds less than `quota_pages`; one that it holds never fails for either.
    pub fn write(&mut self, owner: OwnerId, fragment: &Fragment<'_>, quota_pages: u64) -> Written {
        // Not for lack of room: nobody else's pages make way for one that cannot be.
        let Some(key) = Key::new(owner.0, fragment.page) else {
            return Written::Quota;
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
            Some(Place { entry, .. })
                if fragment.version < entry.version && !mutated!(OlderVersionStored) =>
            {
                return Written::Stale
            }
            Some(_) if mutated!(OverwriteRefused) && self.live >= self.capacity => {
                return Written::NoSpace
            }
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
        let is_damaged = M::crc32c(fragment.bytes) != fragment.crc && !mutated!(CrcUncheckedOut);
        if fragment.bytes.len() != len || is_damaged {
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
            if M::crc32c(&page.0) != fragment.crc && !mutated!(CrcUncheckedOut) {
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
}
