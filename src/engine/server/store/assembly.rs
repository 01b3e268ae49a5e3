// SPDX-License-Identifier: GPL-2.0

//! Pages on their way in: which fragments of which version lie in which page of the arena.
//!
//! Each owner has a short list, oldest first. Knows nothing of what is already held.
//!
//! The rules: `docs/protocol.md`, "WRITE".

use super::{ArenaPage, Fragment, Memory};
use crate::wire::FragmentMask;

/// A page that is half received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Assembly {
    page: u64,
    version: u64,
    crc: u32,
    attempt: u32,
    at: ArenaPage,
    count: u8,
    held: FragmentMask,
    /// Fragments that this attempt's answers have called missing.
    called_missing: FragmentMask,
    /// Whether a repetition was answered in this attempt.
    repetition_answered: bool,
}

/// What a fragment does to an assembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It belongs at this page of the arena; these are held with it, and if `tell`, the client is
    /// to hear that some before it are missing.
    New {
        at: ArenaPage,
        held: FragmentMask,
        tell: bool,
    },
    /// It is held already; if `tell`, the client is to hear which are.
    Repeated { held: FragmentMask, tell: bool },
    /// It is of an attempt that has been given up since.
    Late,
}

impl Assembly {
    fn new(fragment: &Fragment<'_>, at: ArenaPage) -> Self {
        Self {
            page: fragment.page,
            version: fragment.version,
            crc: fragment.crc,
            attempt: fragment.attempt,
            at,
            count: fragment.cut.count(),
            ..Self::default()
        }
    }

    fn add(&mut self, fragment: &Fragment<'_>) -> Progress {
        // Attempts are numbered modulo 2^32.
        // CAST: the difference's sign says which is later.
        let newer = (fragment.attempt.wrapping_sub(self.attempt) as i32) > 0;
        if self.crc != fragment.crc || self.count != fragment.cut.count() {
            // The client cut the page anew, or the page changed under its hands: what came
            // before is of no use, but for frames that were overtaken.
            if !newer {
                return Progress::Late;
            }
            *self = Self::new(fragment, self.at);
        } else if newer {
            self.attempt = fragment.attempt;
            self.called_missing = FragmentMask::EMPTY;
            self.repetition_answered = false;
        }
        if self.held.contains(fragment.index) {
            let tell = !core::mem::replace(&mut self.repetition_answered, true);
            return Progress::Repeated {
                held: self.held,
                tell,
            };
        }
        self.held.insert(fragment.index);
        let before =
            FragmentMask::from_bits(1_u8.wrapping_shl(fragment.index.into()).wrapping_sub(1));
        let missing = before.without(self.held);
        let tell = !missing.without(self.called_missing).is_empty();
        self.called_missing = self.called_missing.union(missing);
        Progress::New {
            at: self.at,
            held: self.held,
            tell,
        }
    }
}

/// The assemblies of all owners.
pub(super) struct Assemblies<M: Memory> {
    all: M::Array<Assembly>,
    per_owner: usize,
}

impl<M: Memory> Assemblies<M> {
    pub(super) fn new(all: M::Array<Assembly>, per_owner: u16) -> Self {
        Self {
            all,
            per_owner: per_owner.into(),
        }
    }

    fn of(&mut self, owner: u16) -> &mut [Assembly] {
        let from = usize::from(owner).saturating_mul(self.per_owner);
        let to = from.saturating_add(self.per_owner);
        self.all.get_mut(from..to).unwrap_or_default()
    }

    /// Adds a fragment to its assembly among the first `len` of `owner`'s; `None` if it has none.
    pub(super) fn add(
        &mut self,
        owner: u16,
        len: u16,
        fragment: &Fragment<'_>,
    ) -> Option<Progress> {
        self.of(owner)
            .get_mut(..len.into())?
            .iter_mut()
            .rev()
            .find(|one| one.page == fragment.page && one.version == fragment.version)
            .map(|one| one.add(fragment))
    }

    /// Whether `len` is as many as an owner may have.
    pub(super) fn is_full(&self, len: u16) -> bool {
        usize::from(len) >= self.per_owner
    }

    /// Begins an assembly in page `at` with its first fragment, after the `len` that there are.
    pub(super) fn begin(
        &mut self,
        owner: u16,
        len: &mut u16,
        fragment: &Fragment<'_>,
        at: ArenaPage,
    ) -> Option<Progress> {
        let one = self.of(owner).get_mut(usize::from(*len))?;
        *one = Assembly::new(fragment, at);
        *len = len.saturating_add(1);
        Some(one.add(fragment))
    }

    /// Drops `owner`'s oldest assembly; returns its page of the arena.
    pub(super) fn drop_oldest(&mut self, owner: u16, len: &mut u16) -> Option<ArenaPage> {
        self.remove(owner, len, 0)
    }

    /// Drops one assembly of `page` of a version up to `version`, if there is one; returns its
    /// page of the arena.
    pub(super) fn drop_up_to(
        &mut self,
        owner: u16,
        len: &mut u16,
        page: u64,
        version: u64,
    ) -> Option<ArenaPage> {
        let index = self
            .of(owner)
            .get(..usize::from(*len))?
            .iter()
            .position(|one| one.page == page && one.version <= version)?;
        self.remove(owner, len, index)
    }

    /// Takes the assembly that `fragment` completed off the list; its page stays taken.
    pub(super) fn complete(&mut self, owner: u16, len: &mut u16, fragment: &Fragment<'_>) {
        let index = self.of(owner).get(..usize::from(*len)).and_then(|list| {
            list.iter()
                .position(|one| one.page == fragment.page && one.version == fragment.version)
        });
        if let Some(index) = index {
            self.remove(owner, len, index);
        }
    }

    /// The order of those that stay is kept: it is their age.
    fn remove(&mut self, owner: u16, len: &mut u16, index: usize) -> Option<ArenaPage> {
        let tail = self.of(owner).get_mut(index..usize::from(*len))?;
        let at = tail.first()?.at;
        tail.rotate_left(1);
        *len = len.saturating_sub(1);
        Some(at)
    }
}
