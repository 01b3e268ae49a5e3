// SPDX-License-Identifier: GPL-2.0

//! Pages being received: which fragments of which version are in which page of the arena.
//!
//! Each owner has a short list, oldest first. Pages already held are not known here.
//!
//! The rules: `docs/protocol.md`, "WRITE".

use super::{ArenaPage, Fragment, Memory};
use crate::wire::{FragmentMask, PageSum};

/// A page of which some fragments have been received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Assembly {
    page: u64,
    version: u64,
    sum: PageSum,
    attempt: u32,
    at: ArenaPage,
    count: u8,
    held: FragmentMask,
    /// Fragments that answers to this attempt have reported missing.
    called_missing: FragmentMask,
    /// Whether a repeated fragment was answered in this attempt.
    repetition_answered: bool,
}

/// The effect of a fragment on an assembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It belongs in this page of the arena, and `held` are now there. If `report`, some before it are
    /// newly missing, and the client is notified.
    New {
        at: ArenaPage,
        held: FragmentMask,
        report: bool,
    },
    /// It is already there. If `report`, the client is notified of all that are there.
    Repeated { held: FragmentMask, report: bool },
    /// It belongs to an attempt that has since been replaced.
    Late,
}

impl Assembly {
    fn new(fragment: &Fragment<'_>, at: ArenaPage) -> Self {
        Self {
            page: fragment.page,
            version: fragment.version,
            sum: fragment.sum,
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
        if self.sum != fragment.sum || self.count != fragment.cut.count() {
            // The client has cut the page differently, or the page has changed. What was received
            // before is of no use, unless this frame was overtaken by later ones.
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
            let report = !core::mem::replace(&mut self.repetition_answered, true);
            return Progress::Repeated {
                held: self.held,
                report,
            };
        }
        self.held.insert(fragment.index);
        let before =
            FragmentMask::from_bits(1_u8.wrapping_shl(fragment.index.into()).wrapping_sub(1));
        let missing = before.without(self.held);
        let report = !missing.without(self.called_missing).is_empty();
        self.called_missing = self.called_missing.union(missing);
        Progress::New {
            at: self.at,
            held: self.held,
            report,
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

    /// Adds a fragment to its assembly among the first `len` of `owner`; `None` if it has none.
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

    /// Whether an owner may have no more than `len` assemblies.
    pub(super) fn is_full(&self, len: u16) -> bool {
        usize::from(len) >= self.per_owner
    }

    /// Begins an assembly in page `at` with its first fragment, behind the `len` existing ones.
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

    /// Drops `owner`'s oldest assembly, and returns its page of the arena.
    pub(super) fn drop_oldest(&mut self, owner: u16, len: &mut u16) -> Option<ArenaPage> {
        self.remove(owner, len, 0)
    }

    /// Drops one assembly of `page` of a version up to `version`, if there is one, and returns its
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

    /// Removes the assembly that `fragment` completed. Its page of the arena stays taken.
    pub(super) fn complete(&mut self, owner: u16, len: &mut u16, fragment: &Fragment<'_>) {
        let index = self.of(owner).get(..usize::from(*len)).and_then(|list| {
            list.iter()
                .position(|one| one.page == fragment.page && one.version == fragment.version)
        });
        if let Some(index) = index {
            self.remove(owner, len, index);
        }
    }

    /// Keeps the order of the others, which is their age.
    fn remove(&mut self, owner: u16, len: &mut u16, index: usize) -> Option<ArenaPage> {
        let tail = self.of(owner).get_mut(index..usize::from(*len))?;
        let at = tail.first()?.at;
        tail.rotate_left(1);
        *len = len.saturating_sub(1);
        Some(at)
    }
}
