// SPDX-License-Identifier: GPL-2.0

//! Which page of the arena holds which page of which owner: a chained hash table. Its chains and
//! its queue of free pages share one array of records.
//!
//! The table knows neither the pages' bytes nor access rights. At a load of at most one a chain has one
//! or two records. The hash is keyed, so that clients cannot choose page numbers that share a chain.

use super::{ArenaPage, Held, Memory};
use crate::wire::{PageSum, PageTag};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a page of the arena holds. All zeros: nothing, and no link.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// The [`Key`] held here; 0 if the page is free or being assembled.
    key: u64,
    version: u64,
    /// The two parts of a [`PageSum`].
    tag: PageTag,
    crc: u32,
    /// Index of the next record in the chain or the free queue plus one, 0 at its end. The highest
    /// bit is [`FILLED`].
    next: u32,
}

/// The page is same-filled: only its first 8 bytes are valid.
const FILLED: u32 = 1 << 31;

/// The most records that links can number.
pub(super) const MAX_RECORDS: u32 = FILLED - 2;

/// A page of an owner, by which the table is searched. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

/// Bits of a page's index.
pub const PAGE_BITS: u32 = 48;

impl Key {
    /// `None` for a page index of 2^48 or above, which does not fit.
    pub(super) fn new(owner: u16, page: u64) -> Option<Self> {
        if page >> PAGE_BITS != 0 {
            return None;
        }
        let owner = u64::from(owner.checked_add(1)?);
        Some(Self(owner << PAGE_BITS | page))
    }

    fn owner(self) -> u16 {
        // CAST: 16 bits are left of the shift, and `new` put one more than the owner there.
        ((self.0 >> PAGE_BITS) as u16).wrapping_sub(1)
    }
}

/// Where a key is. Valid until the table changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) held: Held,
    key: Key,
    bucket: usize,
    /// Link to the record before it in its chain; 0 if it is the first.
    previous: u32,
    /// Link to the record after it.
    next: u32,
}

/// The table.
///
/// # Invariants
///
/// A record is in exactly one of: the chain of its key's bucket; the free queue (key 0); taken by a
/// caller of [`Table::take`] (key 0); never used (`fresh` or above).
pub(super) struct Table<M: Memory> {
    records: M::Array<Record>,
    heads: M::Array<u32>,
    seed: u64,
    /// Records from here on have never been used.
    fresh: u32,
    /// The first in the free queue, as a link.
    first: u32,
    /// The last in it, as a link.
    last: u32,
    /// Number of records in the queue.
    queued: u32,
    /// This many at its end were freed since [`Table::settle`].
    unsettled: u32,
}

impl<M: Memory> Table<M> {
    /// A table over zeroed arrays. `None` if they are empty or too long to be numbered.
    pub(super) fn new(records: M::Array<Record>, heads: M::Array<u32>, seed: u64) -> Option<Self> {
        if heads.is_empty() || records.len() > MAX_RECORDS as usize {
            return None;
        }
        Some(Self {
            records,
            heads,
            seed,
            fresh: 0,
            first: 0,
            last: 0,
            queued: 0,
            unsettled: 0,
        })
    }

    fn bucket(&self, key: Key) -> usize {
        let product = u128::from(key.0 ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // CAST: the two halves of the product, folded.
        let folded = product as u64 ^ (product >> 64) as u64;
        // CAST: below the number of heads, which is a length.
        ((folded >> 32).wrapping_mul(self.heads.len() as u64) >> 32) as usize
    }

    fn record(&self, link: u32) -> Option<&Record> {
        self.records.get(link.checked_sub(1)? as usize)
    }

    fn record_mut(&mut self, link: u32) -> Option<&mut Record> {
        self.records.get_mut(link.checked_sub(1)? as usize)
    }

    /// Where `key` is, if it is in the table.
    pub(super) fn find(&self, key: Key) -> Option<Place> {
        let bucket = self.bucket(key);
        let mut previous = 0;
        let mut link = *self.heads.get(bucket)?;
        loop {
            let record = self.record(link)?;
            let next = record.next & !FILLED;
            if record.key == key.0 {
                return Some(Place {
                    held: Held {
                        at: ArenaPage::from_link(link)?,
                        version: record.version,
                        sum: PageSum {
                            crc: record.crc,
                            tag: record.tag,
                        },
                        filled: record.next & FILLED != 0,
                    },
                    key,
                    bucket,
                    previous,
                    next,
                });
            }
            previous = link;
            link = next;
        }
    }

    /// Sets the link behind `previous`, or the head of `bucket` for 0, to `link`.
    fn set_link(&mut self, bucket: usize, previous: u32, link: u32) {
        if previous == 0 {
            if let Some(head) = self.heads.get_mut(bucket) {
                *head = link;
            }
        } else if let Some(record) = self.record_mut(previous) {
            record.next = record.next & FILLED | link;
        }
    }

    /// Inserts `held` under `key`, in a page that was taken. The key must not be in the table.
    pub(super) fn insert(&mut self, key: Key, held: Held) {
        let bucket = self.bucket(key);
        let next = self.heads.get(bucket).copied().unwrap_or(0);
        self.fill(key, held, next);
        self.set_link(bucket, 0, held.at.link());
    }

    /// Puts `held`, in a page that was taken, in place of the one at `place`, whose page becomes free.
    pub(super) fn replace(&mut self, place: &Place, held: Held) {
        self.fill(place.key, held, place.next);
        self.set_link(place.bucket, place.previous, held.at.link());
        self.give(place.held.at);
    }

    /// Removes what is at `place`, whose page becomes free.
    pub(super) fn remove(&mut self, place: &Place) {
        self.set_link(place.bucket, place.previous, place.next);
        self.give(place.held.at);
    }

    fn fill(&mut self, key: Key, held: Held, next: u32) {
        if let Some(record) = self.record_mut(held.at.link()) {
            *record = Record {
                key: key.0,
                version: held.version,
                tag: held.sum.tag,
                crc: held.sum.crc,
                next: next | if held.filled { FILLED } else { 0 },
            };
        }
    }

    /// The place of what page `at` holds, if anything.
    pub(super) fn held_at(&self, at: u32) -> Option<Place> {
        let key = Key(self.records.get(at as usize)?.key);
        if key.0 == 0 {
            return None;
        }
        self.find(key)
    }

    /// The owner, page index and version that page `at` holds, if any.
    pub(super) fn listed_at(&self, at: u32) -> Option<(u16, u64, u64)> {
        let record = self.records.get(at as usize)?;
        let key = Key(record.key);
        let page = record.key & ((1 << PAGE_BITS) - 1);
        (record.key != 0).then(|| (key.owner(), page, record.version))
    }

    /// Pages that were ever used: all entries are below.
    pub(super) fn used(&self) -> u32 {
        self.fresh
    }

    /// Whether [`Table::take`] would return a page.
    pub(super) fn can_take(&self) -> bool {
        (self.fresh as usize) < self.records.len() || self.queued > self.unsettled
    }

    /// Takes the page that has been free longest, but never one that was freed since [`Table::settle`].
    pub(super) fn take(&mut self) -> Option<ArenaPage> {
        if (self.fresh as usize) < self.records.len() {
            let at = ArenaPage(self.fresh);
            self.fresh = self.fresh.checked_add(1)?;
            return Some(at);
        }
        if self.queued <= self.unsettled {
            return None;
        }
        let at = ArenaPage::from_link(self.first)?;
        let next = self.record(self.first)?.next;
        self.first = next;
        self.queued = self.queued.saturating_sub(1);
        Some(at)
    }

    /// Frees a page that was taken.
    pub(super) fn give(&mut self, at: ArenaPage) {
        let link = at.link();
        if let Some(record) = self.record_mut(link) {
            *record = Record::default();
        }
        if self.queued == 0 {
            self.first = link;
        } else if let Some(record) = self.record_mut(self.last) {
            record.next = link;
        }
        self.last = link;
        self.queued = self.queued.saturating_add(1);
        self.unsettled = self.unsettled.saturating_add(1);
    }

    /// Nothing refers any more to pages that were freed before.
    pub(super) fn settle(&mut self) {
        self.unsettled = 0;
    }
}
