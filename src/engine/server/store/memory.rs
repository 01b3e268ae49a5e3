// SPDX-License-Identifier: GPL-2.0

//! The arrays of a store, and how many elements of each fit into a given amount of memory.
//!
//! The caller allocates them. The server never asks for more.

use core::ops::DerefMut;

use super::{Assembly, Owner, Page, Record};

/// What a host provides. Arrays are `Vec`s in tests and the simulator, and slices of a locked
/// mapping in the server program.
pub trait Memory {
    /// An array of fixed length.
    type Array<T: 'static>: DerefMut<Target = [T]>;

    /// CRC32C of `bytes`; a host may have a faster one.
    #[inline]
    fn crc32c(bytes: &[u8]) -> u32 {
        crate::crc::crc32c(bytes)
    }
}

/// The arrays of one store, with the lengths of a [`Layout`]. Contents are `T::default()`, which
/// for pages, records and heads is all zeros.
pub struct Arrays<M: Memory> {
    /// The arena.
    pub pages: M::Array<Page>,
    /// What each page of the arena holds.
    pub records: M::Array<Record>,
    /// Heads of the hash chains; any number above zero, best the number of pages.
    pub heads: M::Array<u32>,
    /// One for each session that is open or whose pages are not all dropped yet.
    pub owners: M::Array<Owner>,
    /// Pages being received: the same number for each owner.
    pub assemblies: M::Array<Assembly>,
}

/// The most incomplete pages of one client, if memory is not scarce.
const MAX_ASSEMBLIES: u64 = 64;
/// The number of incomplete pages that each client may have at least.
const MIN_ASSEMBLIES: u64 = 4;
/// Owners in addition to the clients: ended sessions whose pages are being dropped.
const ENDED_OWNERS: u64 = 8;
/// Bytes for each page of the arena: the page, its record, and its share of the hash table.
const PER_PAGE: u64 = (size_of::<Page>() + size_of::<Record>() + size_of::<u32>()) as u64;
/// The most pages that can be numbered.
const MAX_PAGES: u64 = super::table::MAX_RECORDS as u64;

/// How memory is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Pages in the arena: those that clients can fill, and those in which overwrites are assembled.
    pub pages: u32,
    /// Pages that clients can fill.
    pub capacity_pages: u32,
    /// The most clients at a time.
    pub max_clients: u16,
    /// Owners: `max_clients`, and some whose pages are still being dropped.
    pub owners: u16,
    /// Assemblies of one owner.
    pub assemblies_per_owner: u16,
}

impl Layout {
    /// The layout that fits into `bytes` for up to `max_clients` clients (1 to 60,000), including
    /// all arrays and `extra_per_owner` bytes for each owner. `None` if not even a few pages fit.
    pub fn fit(bytes: u64, max_clients: u16, extra_per_owner: usize) -> Option<Self> {
        if !(1..=60_000).contains(&max_clients) {
            return None;
        }
        let clients = u64::from(max_clients);
        let owners = clients.checked_add(ENDED_OWNERS)?;
        let wanted = bytes / size_of::<Page>() as u64 / 16 / clients;
        let assemblies = wanted.clamp(MIN_ASSEMBLIES, MAX_ASSEMBLIES);
        let per_owner = (size_of::<Owner>() as u64)
            .checked_add(extra_per_owner as u64)?
            .checked_add(assemblies.checked_mul(size_of::<Assembly>() as u64)?)?;
        let fixed = owners.checked_mul(per_owner)?;
        let pages = (bytes.checked_sub(fixed)? / PER_PAGE).min(MAX_PAGES);
        // Each incomplete page needs a buffer even if the store is full, and one more page takes
        // those that arrive in one piece. So an overwrite never fails for lack of space.
        let reserve = clients.checked_mul(assemblies)?.checked_add(1)?;
        let capacity = pages.checked_sub(reserve)?;
        if capacity == 0 {
            return None;
        }
        Some(Self {
            pages: u32::try_from(pages).ok()?,
            capacity_pages: u32::try_from(capacity).ok()?,
            max_clients,
            owners: u16::try_from(owners).ok()?,
            assemblies_per_owner: u16::try_from(assemblies).ok()?,
        })
    }

    /// Bytes of the arrays that have an element for each page of the arena.
    pub fn arena_bytes(&self) -> u64 {
        u64::from(self.pages).saturating_mul(PER_PAGE)
    }

    /// Bytes of all arrays, including `extra_per_owner` for each owner.
    pub fn total_bytes(&self, extra_per_owner: usize) -> u64 {
        let per_owner = size_of::<Owner>().saturating_add(extra_per_owner);
        let owners = usize::from(self.owners).saturating_mul(per_owner);
        let assemblies = self.assemblies().saturating_mul(size_of::<Assembly>());
        self.arena_bytes()
            .saturating_add(owners.saturating_add(assemblies) as u64)
    }

    /// Length of [`Arrays::assemblies`].
    pub fn assemblies(&self) -> usize {
        usize::from(self.owners).saturating_mul(usize::from(self.assemblies_per_owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_given_and_little_wasted() {
        for clients in [1, 2, 32, 1000] {
            for mib in [1_u64, 3, 16, 64, 512, 4096, 65_536] {
                let bytes = mib << 20;
                let Some(layout) = Layout::fit(bytes, clients, 200) else {
                    assert!(clients == 1000 && mib < 64, "{clients} clients, {mib} MiB");
                    continue;
                };
                let taken = layout.total_bytes(200);
                assert!(taken <= bytes && bytes - taken < 4200);
                assert!(layout.capacity_pages < layout.pages);
                if clients <= 32 && mib >= 16 {
                    assert!(u64::from(layout.capacity_pages) * 4096 > bytes * 9 / 10);
                }
            }
        }
    }

    #[test]
    fn a_page_costs_at_most_48_bytes_beside_itself() {
        assert!(size_of::<Record>() + size_of::<u32>() <= 48);
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert_eq!(Layout::fit(0, 1, 0), None);
        assert_eq!(Layout::fit(1 << 30, 0, 0), None);
        assert_eq!(Layout::fit(5 * 4124, 1, 0), None);
        assert!(Layout::fit(u64::MAX, 60_000, 4096).is_some());
    }
}
