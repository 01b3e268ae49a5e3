// SPDX-License-Identifier: GPL-2.0

//! What all shards of a swap device share.

use super::config::{Config, DEFAULT_HEDGE_PERCENT, DEFAULT_REPAIR_PAGES_PER_S};
use super::dirty_chunks::DirtyChunks;
use super::disk_state::AtomicDiskState;
use super::frame_filter::FrameFilter;
use super::ids::{Generation, PageIndex, SlotSet, Version};
use super::newest_versions::{Forgetting, NewestVersions};
use super::page_keys::{KeyNumber, PageKeys};
use super::page_map::PageMap;
use super::pages_in_repair::PagesInRepair;
use super::server_table::ServerTable;
use super::storage::Storage;
use super::versions::{Reporter, Versions};
use crate::sync::{Acquire, Atomic, Full, Relaxed, Release};
use crate::uapi::Mode;

/// How long freed pages are collected before a round begins that notifies servers.
const FREE_DELAY_NS: u64 = 2_000_000;

/// A swap device: its map, its servers, its versions.
pub struct SwapDevice<S: Storage> {
    /// Where each page is.
    pub map: PageMap<S::Words>,
    /// The servers.
    pub servers: ServerTable,
    /// Which received frames are ours.
    pub frame_filter: FrameFilter,
    /// The state of the local disk.
    pub disk: AtomicDiskState,
    /// Pages that are being copied in the background.
    pub copies: PagesInRepair,
    /// Parts of the map with pages that recently lost copies; `None` on a device without repair.
    degraded: Option<DirtyChunks<S::Words>>,
    /// Parts of the map with pages that should be on the local disk and are not.
    pub(super) out_of_sync: Option<DirtyChunks<S::Words>>,
    /// The version counter.
    versions: Versions<S::Words>,
    low_water: Atomic<u64>,
    replicas: usize,
    min_copies: usize,
    io_timeout_ns: Atomic<u64>,
    hedge_percent: Atomic<u32>,
    seals: bool,
    signs: bool,
    newest: Option<NewestVersions<S::Words>>,
    /// Which key seals which version.
    pub keys: PageKeys,
    repair_pages_per_s: Atomic<u32>,
    shards: u32,
    /// Requests that wait for a page-out of their page.
    parked: Atomic<u32>,
    /// How often frees were noted, and up to which count servers have been notified of them.
    frees_noted: Atomic<u32>,
    frees_notified: Atomic<u32>,
    hibernating: Atomic<u32>,
}

impl<S: Storage> SwapDevice<S> {
    /// A device without pages or servers, for `shards` shards.
    pub fn new(map: S::Words, config: Config, shards: u32) -> Self {
        Self {
            map: PageMap::new(map),
            servers: ServerTable::default(),
            frame_filter: FrameFilter::default(),
            disk: AtomicDiskState::default(),
            copies: PagesInRepair::default(),
            degraded: None,
            out_of_sync: None,
            versions: Versions::new(),
            low_water: Atomic::<u64>::new(1),
            replicas: config.replicas,
            min_copies: config.min_copies,
            io_timeout_ns: Atomic::<u64>::new(config.io_timeout_ns),
            hedge_percent: Atomic::<u32>::new(DEFAULT_HEDGE_PERCENT),
            seals: false,
            signs: false,
            newest: None,
            keys: PageKeys::new(),
            repair_pages_per_s: Atomic::<u32>::new(DEFAULT_REPAIR_PAGES_PER_S),
            shards,
            parked: Atomic::<u32>::new(0),
            frees_noted: Atomic::<u32>::new(0),
            frees_notified: Atomic::<u32>::new(0),
            hibernating: Atomic::<u32>::new(0),
        }
    }

    /// Sets the bitmaps of pages with too few copies and of pages out of sync on the local disk.
    /// Each has as many zero words as [`words_for`](super::dirty_chunks::words_for) returns.
    pub fn set_dirty_bitmaps(&mut self, degraded: S::Words, out_of_sync: S::Words) {
        self.degraded = Some(DirtyChunks::new(degraded));
        self.out_of_sync = Some(DirtyChunks::new(out_of_sync));
    }

    /// Pages are sealed before servers get them.
    pub fn set_sealed(&mut self) {
        self.seals = true;
    }

    /// Frames are signed.
    pub fn set_signed(&mut self) {
        self.signs = true;
    }

    /// More of each page's version is kept than the map has, in as many zero words as there are pages: so an
    /// older version that a server returns is noticed.
    pub fn set_newest_versions(&mut self, words: S::Words) {
        self.newest = Some(NewestVersions::new(words));
    }

    /// Shard `shard` is about to enter this version of a page in the map. Returns whether it may
    /// ([`Versions::enter`]).
    #[inline]
    pub(super) fn enter(&self, shard: u16, page: PageIndex, version: Version) -> bool {
        // Before it is entered: what a jump makes wrong is forgotten after the jump.
        if let Some(newest) = &self.newest {
            newest.note(page, version);
        }
        let may_enter = self.versions.enter(shard, version);
        if let Some(newest) = self.newest.as_ref().filter(|_| !may_enter) {
            newest.forget_page(page);
        }
        may_enter
    }

    /// Whether a server that returns this version of a page has rolled the page back: it is known to be older
    /// than the newest version, and the page has not been written since `asked` was the next version.
    #[inline]
    pub(super) fn is_rolled_back(&self, page: PageIndex, version: Version, asked: Version) -> bool {
        let Some(newest) = &self.newest else {
            return false;
        };
        let entry = self.map.load(page);
        let newest_of = (page, entry.generation());
        newest.is_rolled_back(newest_of, version, asked, self.versions.announced_jumps())
            && !entry.is_busy()
            && self.map.load(page) == entry
    }

    /// Whether what is known of the newest versions is to be forgotten.
    pub(super) fn must_forget_newest(&self) -> bool {
        let newest = self.newest.as_ref();
        newest.is_some_and(|newest| {
            newest.must_forget(self.next_version(), self.versions.announced_jumps())
        })
    }

    /// Forgets it of so many more pages ([`NewestVersions::forget`]).
    pub(super) fn forget_newest(
        &self,
        begun: Option<Forgetting>,
        pages: u32,
    ) -> Option<Forgetting> {
        let jumps = self.versions.announced_jumps();
        let settled = self.low_water().max(self.versions.after_last_jump());
        let newest = self.newest.as_ref()?;
        newest.forget(begun, pages as usize, settled, jumps)
    }

    /// Whether pages are sealed before servers get them.
    #[inline]
    pub fn seals(&self) -> bool {
        self.seals
    }

    /// Whether a page that is read need not be covered by the signatures of its frames: it is sealed, and
    /// that proves more.
    #[inline]
    pub(super) fn proves_pages(&self) -> bool {
        self.seals && self.signs
    }

    /// The key that a page of this version is sealed with, if it is.
    #[inline]
    pub fn page_key(&self, version: Version) -> KeyNumber {
        match self.seals {
            true => self.keys.key_of(version),
            false => KeyNumber::default(),
        }
    }

    /// Whether another key should be taken: so many pages have been sealed, or the machine was rolled back.
    pub fn wants_key(&self) -> bool {
        self.seals && self.keys.is_due(self.next_version(), self.versions.jumps())
    }

    /// The next key is used from now on. The caller has put it where pages are sealed. `jumps`: how often the
    /// versions had jumped before the key was made; a later jump leads to another key. While the versions
    /// jump, nothing is done: the key remains due.
    pub fn begin_key(&self, jumps: u32) {
        self.versions.without_jumps(|| {
            let first = self.keys.begin(self.next_version(), jumps);
            // A CPU that takes a version of the key has seen this, and so the key.
            self.versions.raise(first);
        });
    }

    /// Where pages are kept now.
    pub fn mode(&self) -> Mode {
        let usable = self.servers.usable();
        if self.is_replicated(usable, self.servers.counting()) {
            Mode::Network
        } else if !usable.is_empty() {
            Mode::Degraded
        } else if self.disk.load().is_usable() {
            Mode::DiskOnly
        } else {
            Mode::None
        }
    }

    /// The bitmap of pages with too few copies.
    pub(super) fn degraded(&self) -> Option<&DirtyChunks<S::Words>> {
        self.degraded.as_ref()
    }

    /// A page has fewer copies than wanted. The caller has changed its map entry already.
    pub fn note_degraded(&self, page: PageIndex) {
        if let Some(degraded) = &self.degraded {
            degraded.mark(page);
        }
    }

    /// A version above all that were given out before.
    pub fn take_version(&self) -> Version {
        self.versions.take()
    }

    /// As [`Versions::take_of`].
    pub fn take_version_of(&self, generation: Generation) -> Version {
        self.versions.take_of(generation)
    }

    /// The next version to be given out.
    pub fn next_version(&self) -> Version {
        self.versions.next()
    }

    /// The version counter.
    pub fn versions(&self) -> &Versions<S::Words> {
        &self.versions
    }

    /// A server reports that all versions below `high` have been used; see [`Versions::note_high_water`]. A
    /// server that is not believed is suspected until it restarts.
    #[inline]
    pub fn note_high_water(&self, reporter: Reporter, high: Version) -> bool {
        let is_believed = self.versions.note_high_water(reporter, high);
        if !is_believed {
            self.servers.distrust(reporter.slot);
            self.servers.suspect(reporter.slot);
        }
        is_believed
    }

    /// Every version below it is settled: no page-out with such a version is under way
    /// (`docs/protocol.md`, "Low water").
    pub fn low_water(&self) -> Version {
        Version(self.low_water.load(Relaxed))
    }

    /// Raises the low water. `settled` is the lowest version under way in any shard, or the result
    /// of [`Self::next_version`] before the first shard was asked.
    pub fn raise_low_water(&self, settled: Version) {
        if settled > self.low_water() {
            self.low_water.store(settled.0, Relaxed);
        }
    }

    /// Copies wanted of a page.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// Whether `holders` are as many servers as wanted, of those in `counting`
    /// ([`ServerTable::counting`]).
    pub(super) fn is_replicated(&self, holders: SlotSet, counting: SlotSet) -> bool {
        holders.intersection(counting).len() >= self.replicas
    }

    /// Copies that a page-out needs to complete.
    pub fn min_copies(&self) -> usize {
        self.min_copies
    }

    /// The I/O timeout.
    pub fn io_timeout_ns(&self) -> u64 {
        self.io_timeout_ns.load(Relaxed)
    }

    /// Changes the I/O timeout, also for requests under way.
    pub fn set_io_timeout_ns(&self, io_timeout_ns: u64) {
        self.io_timeout_ns.store(io_timeout_ns, Relaxed);
    }

    /// How many of a hundred page-ins may ask a second replica before the first has timed out.
    pub fn hedge_percent(&self) -> u32 {
        self.hedge_percent.load(Relaxed)
    }

    /// Changes how many page-ins may be hedged.
    pub fn set_hedge_percent(&self, percent: u32) {
        self.hedge_percent.store(percent, Relaxed);
    }

    /// How many pages may be copied in the background in a second; 0 for none.
    pub fn repair_pages_per_s(&self) -> u32 {
        self.repair_pages_per_s.load(Relaxed)
    }

    /// Changes how many pages may be copied in the background.
    pub fn set_repair_pages_per_s(&self, pages_per_s: u32) {
        self.repair_pages_per_s.store(pages_per_s, Relaxed);
    }

    /// The machine is about to hibernate: its tasks still run. Until [`Self::end_hibernation`] the servers'
    /// pages stay as the image names them: no page is copied, drained, freed or treated as an orphan, because
    /// the image may still name pages that this machine no longer needs. The caller then takes the cluster's
    /// lock once: a round that has not seen this has finished its frees when the caller has the lock.
    pub fn begin_hibernation(&self) {
        self.hibernating.store(1, Release);
    }

    /// The machine has come back, or did not hibernate. What it did after its image was made is unknown.
    /// `entropy` as in [`Versions::jump`].
    pub fn end_hibernation(&self, entropy: u64) {
        self.versions.jump(entropy);
        self.hibernating.store(0, Release);
    }

    /// Whether the machine is hibernating: from before its tasks are stopped until they run again.
    pub fn is_hibernating(&self) -> bool {
        self.hibernating.load(Acquire) != 0
    }

    /// Number of shards.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// Frees the page: marks it in the map, and then its chunk in `chunks`, so that the search for freed
    /// pages finds it. Returns in how many nanoseconds a round must begin, if the chunk had no freed page
    /// before. Any context, also under a spinlock.
    pub fn note_free(&self, page: PageIndex, chunks: &DirtyChunks<S::Words>) -> Option<u64> {
        let is_first = self.map.set_free_pending(page) && chunks.mark(page);
        is_first.then(|| {
            self.frees_noted.fetch_add(1, Full);
            FREE_DELAY_NS
        })
    }

    /// How often frees were noted. Read before the map is searched for freed pages, and passed to
    /// [`Self::set_frees_notified`] when servers are being notified of all that were found.
    pub fn frees_noted(&self) -> u32 {
        self.frees_noted.load(Acquire)
    }

    /// Servers are being notified of the frees noted up to `noted`.
    pub fn set_frees_notified(&self, noted: u32) {
        self.frees_notified.store(noted, Release);
    }

    /// Whether a server that answers is about to have more room.
    pub(super) fn is_freeing(&self) -> bool {
        let freeing = self.servers.freeing();
        self.frees_notified.load(Acquire) != self.frees_noted.load(Acquire)
            || !freeing.intersection(self.servers.usable()).is_empty()
    }

    /// A request waits for a page-out. Full barrier: the request then reads the page's entry once
    /// more, while the page-out first changes the entry and then calls [`Self::has_parked`]. One of
    /// them sees the other.
    pub(super) fn park(&self) {
        self.parked.fetch_add(1, Full);
    }

    /// A request waits no longer.
    pub(super) fn unpark(&self) {
        self.parked.fetch_sub(1, Full);
    }

    /// Whether any request of any shard waits for a page-out. Must be called after the
    /// compare-and-exchange that ended the page-out, which orders the two. It only loads, so the
    /// cache line stays shared.
    pub(super) fn has_parked(&self) -> bool {
        self.parked.load(Acquire) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::config::Config;
    use crate::engine::client::disk_state::{DiskState, Policy};
    use crate::engine::client::ids::ServerSlot;
    use crate::engine::client::server_table::Address;
    use crate::engine::client::storage::heap::{words, Heap};
    use crate::wire::{Fragmentation, MacAddress};

    #[test]
    fn the_mode_follows_the_servers_and_the_disk() {
        let device = SwapDevice::<Heap>::new(words(4), Config::new(2, 1, 30).unwrap(), 1);
        assert_eq!(device.mode(), Mode::None);
        device
            .disk
            .store(DiskState::new(true, true, true, Policy::Lag));
        assert_eq!(device.mode(), Mode::DiskOnly);
        for (number, mode) in [(0, Mode::Degraded), (1, Mode::Network)] {
            let slot = ServerSlot::new(number).unwrap();
            let address = Address {
                mac: MacAddress([2, 0, 0, 0, 0, number as u8]),
                session: 1,
                incarnation: 1,
            };
            device.servers.open(slot, address, Fragmentation::WHOLE);
            device.servers.set_usable(slot, true);
            assert_eq!(device.mode(), mode);
        }
        device
            .servers
            .set_draining(ServerSlot::new(0).unwrap(), true);
        assert_eq!(device.mode(), Mode::Degraded);
    }
}
