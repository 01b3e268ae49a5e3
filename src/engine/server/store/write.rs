// SPDX-License-Identifier: GPL-2.0

//! Receives a page: checks whether it is allowed, collects its fragments, verifies the checksum,
//! and replaces the page held before.
//!
//! The rules, in this order: `docs/protocol.md`, "WRITE".

use super::assembly::Progress;
use super::owner::OwnerState;
use super::table::{Key, Place};
use super::{ArenaPage, Held, Memory, OwnerId, Store};
use crate::wire::{FragmentMask, Fragmentation, PageSum, FILL_LEN, PAGE_SIZE};

/// A page, or a fragment of one, that a client writes.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// The page's index.
    pub page: u64,
    /// Its version.
    pub version: u64,
    /// Checksum and tag of the whole page; with `filled`, of `bytes`.
    pub sum: PageSum,
    /// The attempt that it belongs to.
    pub attempt: u32,
    /// How the page is cut.
    pub cut: Fragmentation,
    /// The fragment's index.
    pub index: u8,
    /// Whether the page is same-filled with the 8 bytes of `bytes`.
    pub filled: bool,
    /// The fragment's bytes.
    pub bytes: &'a [u8],
}

/// The result of a [`Fragment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It completed the page, which is held now.
    Stored,
    /// This version is already held.
    Held,
    /// These fragments are held, and others that the client sends before this one are missing, or
    /// the client repeats held ones.
    Incomplete(FragmentMask),
    /// More fragments are expected and no answer is due, or the fragment was too late for its attempt.
    Pending,
    /// No memory is left for a new page.
    NoSpace,
    /// The owner holds as many pages as it may.
    Quota,
    /// A newer version is held, or this version with other contents.
    Stale,
    /// The checksum does not match. None of the bytes are kept.
    Corrupt,
}

impl<M: Memory> Store<M> {
    /// Receives a page or a fragment of one. A page that `owner` does not hold yet needs space and
    /// quota (`quota_pages`). One that it holds never fails for lack of either.
    pub fn write(&mut self, owner: OwnerId, fragment: &Fragment<'_>, quota_pages: u64) -> Written {
        // Not `NoSpace`, for which another session might end in vain.
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
            Some(Place { held, .. }) if fragment.version == held.version => {
                // One version never has two contents: a client whose page has changed takes a new
                // version.
                let same = fragment.sum == held.sum && fragment.filled == held.filled;
                return if same { Written::Held } else { Written::Stale };
            }
            Some(Place { held, .. })
                if fragment.version < held.version && !mutated!(OlderVersionStored) =>
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
        let len = if fragment.filled {
            FILL_LEN.into()
        } else {
            PAGE_SIZE
        };
        let is_damaged =
            M::crc32c(fragment.bytes) != fragment.sum.crc && !mutated!(CrcUncheckedOut);
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
        let (at, held, report) = match self.assemble(owner, fragment) {
            None => return Written::NoSpace,
            Some(Progress::Late | Progress::Repeated { report: false, .. }) => {
                return Written::Pending
            }
            Some(Progress::Repeated { held, .. }) => return Written::Incomplete(held),
            Some(Progress::New { at, held, report }) => (at, held, report),
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
            if M::crc32c(&page.0) != fragment.sum.crc && !mutated!(CrcUncheckedOut) {
                self.drop_assemblies(owner, fragment.page, fragment.version);
                return Written::Corrupt;
            }
            if let Some(state) = self.owners.get_mut(owner.index()) {
                self.assemblies
                    .complete(owner.0, &mut state.assemblies, fragment);
            }
            return self.install(owner, key, place, at, fragment);
        }
        if report {
            Written::Incomplete(held)
        } else {
            Written::Pending
        }
    }

    /// Adds the fragment to its assembly, or to a new one. `None` if no page of the arena is free.
    fn assemble(&mut self, owner: OwnerId, fragment: &Fragment<'_>) -> Option<Progress> {
        let state = self.owners.get_mut(owner.index())?;
        let added = self.assemblies.add(owner.0, state.assemblies, fragment);
        if added.is_some() {
            return added;
        }
        let at = if self.assemblies.is_full(state.assemblies) {
            // Nothing else refers to an incomplete page, so it can be reused at once.
            self.assemblies
                .drop_oldest(owner.0, &mut state.assemblies)?
        } else {
            self.table.take()?
        };
        self.assemblies
            .begin(owner.0, &mut state.assemblies, fragment, at)
    }

    /// Makes the verified page at `at` the one held under `key`.
    fn install(
        &mut self,
        owner: OwnerId,
        key: Key,
        place: Option<Place>,
        at: ArenaPage,
        fragment: &Fragment<'_>,
    ) -> Written {
        let held = Held {
            at,
            version: fragment.version,
            sum: fragment.sum,
            filled: fragment.filled,
        };
        match place {
            Some(place) => self.table.replace(&place, held),
            None => {
                self.table.insert(key, held);
                self.live = self.live.saturating_add(1);
                if let Some(state) = self.owners.get_mut(owner.index()) {
                    state.pages = state.pages.saturating_add(1);
                }
            }
        }
        self.drop_assemblies(owner, fragment.page, fragment.version);
        Written::Stored
    }
}
