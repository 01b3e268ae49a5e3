// SPDX-License-Identifier: GPL-2.0

//! Whether the local disk is out of sync: which pages are marked as missing there, and how much is left to
//! copy.

use super::dirty_chunks::DirtyChunks;
use super::ids::PageIndex;
use super::mirror::Health;
use super::repair::Repair;
use super::storage::Storage;
use super::swap_device::SwapDevice;

impl<S: Storage> SwapDevice<S> {
    /// The bitmap of pages that should be on the local disk and are not.
    pub(super) fn out_of_sync(&self) -> Option<&DirtyChunks<S::Words>> {
        self.out_of_sync.as_ref()
    }

    /// The page's newest version should be on the local disk and is not: repair copies it later.
    /// The caller has changed its map entry already.
    pub fn mark_out_of_sync(&self, page: PageIndex) {
        let out_of_sync = self.out_of_sync.as_ref();
        if let Some(out_of_sync) = out_of_sync.filter(|_| !mutated!(OutOfSyncForgotten)) {
            out_of_sync.mark(page);
        }
    }

    /// Marks all pages as possibly out of sync on the local disk.
    pub(super) fn mark_all_out_of_sync(&self) {
        if let Some(out_of_sync) = &self.out_of_sync {
            out_of_sync.mark_all(self.map.len());
        }
    }
}

impl<S: Storage> Repair<S> {
    /// As [`Repair::left`], of pages to be copied to the local disk. 0 if they should not be there.
    pub fn out_of_sync_left(&self, device: &SwapDevice<S>) -> u64 {
        if !device.disk.load().is_wanted() {
            return 0;
        }
        let fresh = device.out_of_sync().map_or(0, DirtyChunks::count);
        self.left_for_disk().saturating_add(fresh)
    }
}

impl Health {
    /// The state of a disk for which repair has so much left to copy ([`Repair::out_of_sync_left`]).
    pub fn with_left(self, out_of_sync_left: u64) -> Self {
        match self {
            Self::Attached if out_of_sync_left > 0 => Self::OutOfSync,
            health => health,
        }
    }
}
