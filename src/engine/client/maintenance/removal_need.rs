// SPDX-License-Identifier: GPL-2.0

//! The rule whether a server may be removed: whether any page needs it.

use core::ops::Range;

use super::super::disk_state::DiskState;
use super::super::ids::{PageIndex, ServerSlot, SlotSet};
use super::super::page_map::{Entry, PageMap};
use super::super::server_table::ServerTable;
use super::super::storage::Words;

/// The rule for every page that a server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerNeed {
    slot: ServerSlot,
    /// The servers whose copies count instead.
    others: SlotSet,
    /// Those of them of which one has to have the page, unless the disk has it.
    sure: SlotSet,
    /// Whether the local disk's copy counts too. A disk that is faulty or timed out does not count.
    disk: bool,
    /// How many of those copies are enough.
    enough: usize,
    /// [`ServerTable::changes_against`], read before `others` was determined.
    changes: u32,
}

impl ServerNeed {
    /// The rule for a draining server: a page needs it until there are as many other copies as possible, up
    /// to `replicas`. The local disk counts as one while it can be read. One of these copies has to be on a
    /// server of `sure`, or on the disk.
    pub fn draining(
        slot: ServerSlot,
        table: &ServerTable,
        replicas: usize,
        disk: DiskState,
        sure: SlotSet,
    ) -> Self {
        let changes = table.changes_against();
        let others = table.counting().without(SlotSet::one(slot));
        let possible = others.len().saturating_add(usize::from(disk.is_usable()));
        Self {
            slot,
            others,
            sure: others.intersection(sure),
            disk: disk.is_usable(),
            enough: replicas.min(possible).max(1),
            changes,
        }
    }

    /// The rule for a server that is removed at once: a page needs it if no other copy counts. A server that
    /// has long been silent does not count, because it may never come back. Nor does one that is not of
    /// `sure`.
    pub fn at_once(slot: ServerSlot, table: &ServerTable, disk: DiskState, sure: SlotSet) -> Self {
        let changes = table.changes_against();
        let others = table
            .valid()
            .without(table.quiescing())
            .without(table.lost())
            .without(SlotSet::one(slot))
            .intersection(sure);
        Self {
            slot,
            others,
            sure: others,
            disk: disk.is_usable(),
            enough: 1,
            changes,
        }
    }

    /// Whether every copy that counted still counts. The result of a check of the map is invalid once a
    /// server, one of its copies, or the disk was lost.
    pub fn is_valid(&self, table: &ServerTable, disk: DiskState) -> bool {
        self.changes == table.changes_against() && (!self.disk || disk.is_usable())
    }

    fn is_needed_by(&self, entry: Entry) -> bool {
        let replicas = entry.replicas();
        let on_disk = usize::from(self.disk && entry.is_on_disk());
        let copies = |slots| replicas.intersection(slots).len().saturating_add(on_disk);
        entry.is_written()
            && replicas.contains(self.slot)
            && (copies(self.others) < self.enough || copies(self.sure) == 0)
    }

    /// The first of `pages` that needs the server. Pages that are being written are skipped.
    pub fn find<W: Words>(&self, map: &PageMap<W>, pages: Range<u32>) -> Option<PageIndex> {
        pages.map(PageIndex).find(|&page| {
            let entry = map.load(page);
            !entry.is_busy() && self.is_needed_by(entry)
        })
    }

    /// Counts those of `pages` that need the quiescing server, and removes the checked pages from the front.
    /// Every shard must have been notified that the server quiesces. A page that is being written, and whose
    /// old contents need the server, counts. If `waits`, it is left for later instead.
    pub fn count<W: Words>(&self, map: &PageMap<W>, pages: &mut Range<u32>, waits: bool) -> u64 {
        let mut needing = 0_u64;
        while pages.start < pages.end {
            let entry = map.load(PageIndex(pages.start));
            if self.is_needed_by(entry) {
                if waits && entry.is_busy() {
                    break;
                }
                needing = needing.saturating_add(1);
            }
            pages.start = pages.start.saturating_add(1);
        }
        needing
    }
}

/// Searches the whole map for a page that needs a server, a part at a time. The search begins where the
/// last such page was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// The server's session. For another session the search restarts.
    session: u64,
    next: u32,
    seen: u32,
}

/// The progress of a [`Scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A page needs the server.
    Needed,
    /// None of the pages checked so far needs the server.
    NotYet,
    /// No page needs the server, except perhaps pages that are being written.
    None,
}

impl Scan {
    /// Checks `pages` more, for the server with `session`.
    pub fn advance<W: Words>(
        &mut self,
        session: u64,
        need: &ServerNeed,
        map: &PageMap<W>,
        pages: u32,
    ) -> Found {
        if self.session != session {
            *self = Self {
                session,
                ..Self::default()
            };
        }
        // CAST: a map has fewer than 2^32 pages.
        let len = map.len() as u32;
        let end = self.next.saturating_add(pages).min(len);
        if let Some(page) = need.find(map, self.next..end) {
            self.next = page.0;
            self.seen = 0;
            return Found::Needed;
        }
        self.seen = self.seen.saturating_add(end.saturating_sub(self.next));
        self.next = if end >= len { 0 } else { end };
        if self.seen < len {
            return Found::NotYet;
        }
        self.seen = 0;
        Found::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::bench::{map, slot, table};
    use crate::engine::client::disk_state::Policy;
    use crate::engine::client::ids::Version;
    use crate::sync::Atomic;

    use std::vec::Vec;

    const NO_DISK: DiskState = DiskState::NONE;

    fn count(need: ServerNeed, map: &PageMap<Vec<Atomic<u32>>>) -> u64 {
        need.count(map, &mut (0..map.len() as u32), false)
    }

    #[test]
    fn a_leaving_server_is_needed_until_others_have_as_many_copies_as_can_be() {
        let table = table(3);
        table.set_draining(slot(0), true);
        // Replicas 0 and 1; 0, 1 and 2; 1 and 2; 0 only.
        let map = map(&[0b011, 0b111, 0b110, 0b001], false);
        let need = ServerNeed::draining(slot(0), &table, 2, NO_DISK, SlotSet::ALL);
        assert_eq!(need.find(&map, 0..4), Some(PageIndex(0)));
        assert_eq!(need.find(&map, 1..4), Some(PageIndex(3)));
        assert_eq!(need.find(&map, 1..3), None);
        assert_eq!(count(need, &map), 2);
        // Only one other server is left: one copy there is all that is possible.
        table.set_draining(slot(2), true);
        assert_eq!(
            count(
                ServerNeed::draining(slot(0), &table, 2, NO_DISK, SlotSet::ALL),
                &map
            ),
            1
        );
        // No other server is left: the last copy is not given up.
        table.set_draining(slot(1), true);
        assert_eq!(
            count(
                ServerNeed::draining(slot(0), &table, 2, NO_DISK, SlotSet::ALL),
                &map
            ),
            3
        );
        assert_eq!(
            count(
                ServerNeed::at_once(slot(0), &table, NO_DISK, SlotSet::ALL),
                &map
            ),
            1
        );
    }

    #[test]
    fn a_page_that_is_being_written_is_looked_at_again() {
        let table = table(2);
        table.set_draining(slot(0), true);
        let map = map(&[0b001], false);
        let need = ServerNeed::draining(slot(0), &table, 1, NO_DISK, SlotSet::ALL);
        let begun = map.begin_write(PageIndex(0)).unwrap();
        assert_eq!(need.find(&map, 0..1), None);
        assert_eq!(need.count(&map, &mut (0..1), false), 1, "it never ends");
        let mut pages = 0..1;
        assert_eq!(need.count(&map, &mut pages, true), 0);
        assert_eq!(pages, 0..1, "it is left for later");
        map.finish_write(
            PageIndex(0),
            begun,
            Version(2),
            SlotSet::from_bits(0b10),
            false,
        );
        assert_eq!(need.count(&map, &mut pages, true), 0);
        assert_eq!(pages, 1..1);
    }

    #[test]
    fn a_scan_goes_all_round_from_where_a_page_was_found() {
        let table = table(2);
        let map = map(&[0b10, 0b10, 0b01, 0b10, 0b10], false);
        let need = ServerNeed::at_once(slot(0), &table, NO_DISK, SlotSet::ALL);
        let mut scan = Scan::default();
        assert_eq!(scan.advance(7, &need, &map, 2), Found::NotYet);
        assert_eq!(scan.advance(7, &need, &map, 2), Found::Needed);
        assert_eq!(scan.advance(7, &need, &map, 2), Found::Needed);
        map.set_free_pending(PageIndex(2));
        let mut parts = 1;
        while scan.advance(7, &need, &map, 2) == Found::NotYet {
            parts += 1;
        }
        assert_eq!(parts, 3, "two, one to the end, two from the beginning");
        // The search for another server begins at the first page.
        scan.advance(7, &need, &map, 2);
        scan.advance(8, &need, &map, 2);
        assert_eq!(scan.next, 2);
    }

    #[test]
    fn a_copy_on_the_disk_counts_while_there_is_one() {
        let table = table(2);
        table.set_draining(slot(0), true);
        let map = map(&[0b01], false);
        let begun = map.begin_write(PageIndex(0)).unwrap();
        map.finish_write(PageIndex(0), begun, Version(2), SlotSet::from_bits(1), true);
        let disk = DiskState::new(true, true, true, Policy::Lag);
        let count = |need: ServerNeed| count(need, &map);
        assert_eq!(
            count(ServerNeed::at_once(slot(0), &table, disk, SlotSet::ALL)),
            0
        );
        assert_eq!(
            count(ServerNeed::at_once(slot(0), &table, NO_DISK, SlotSet::ALL)),
            1
        );
        assert_eq!(
            count(ServerNeed::draining(slot(0), &table, 1, disk, SlotSet::ALL)),
            0
        );
        assert_eq!(
            count(ServerNeed::draining(slot(0), &table, 2, disk, SlotSet::ALL)),
            1,
            "the other, too"
        );
        let faulty = DiskState::new(true, true, false, Policy::Lag);
        assert_eq!(
            count(ServerNeed::draining(
                slot(0),
                &table,
                2,
                faulty,
                SlotSet::ALL
            )),
            1,
            "the other has no copy, and the disk's cannot be read"
        );
        assert_eq!(
            count(ServerNeed::at_once(slot(0), &table, faulty, SlotSet::ALL)),
            1
        );
    }

    #[test]
    fn a_copy_on_a_dead_server_is_not_counted_on() {
        let table = table(3);
        let map = map(&[0b011, 0b101], false);
        table.suspect(slot(1));
        table.set_lost(slot(1), true);
        let count = || {
            count(
                ServerNeed::at_once(slot(0), &table, NO_DISK, SlotSet::ALL),
                &map,
            )
        };
        assert_eq!(count(), 1);
        table.set_lost(slot(1), false);
        assert_eq!(count(), 0);
    }

    #[test]
    fn the_only_other_copy_is_on_a_server_that_is_sure() {
        let table = table(3);
        table.set_draining(slot(0), true);
        let map = map(&[0b011, 0b111], false);
        for (sure, needing) in [(0b110, 0), (0b100, 1), (0b001, 2)] {
            let sure = SlotSet::from_bits(sure);
            for need in [
                ServerNeed::draining(slot(0), &table, 1, NO_DISK, sure),
                ServerNeed::at_once(slot(0), &table, NO_DISK, sure),
            ] {
                assert_eq!(count(need, &map), needing);
            }
        }
        // Other copies count as before.
        let need = ServerNeed::draining(slot(0), &table, 2, NO_DISK, SlotSet::from_bits(0b010));
        assert_eq!(count(need, &map), 1);
    }

    #[test]
    fn a_check_is_valid_until_a_server_or_disk_that_counted_is_lost() {
        let table = table(3);
        table.set_draining(slot(0), true);
        let disk = DiskState::new(true, true, true, Policy::Lag);
        let faulty = DiskState::new(true, true, false, Policy::Lag);
        let both = || {
            [
                ServerNeed::draining(slot(0), &table, 2, disk, SlotSet::ALL),
                ServerNeed::at_once(slot(0), &table, disk, SlotSet::ALL),
            ]
        };
        let all_hold =
            |needs: &[ServerNeed], disk| needs.iter().all(|it| it.is_valid(&table, disk));
        let none_holds =
            |needs: &[ServerNeed], disk| !needs.iter().any(|it| it.is_valid(&table, disk));
        let needs = both();
        assert!(all_hold(&needs, disk));
        assert!(none_holds(&needs, faulty));
        assert!(none_holds(&needs, NO_DISK));
        // First the server is silent, which may be temporary; then it is lost.
        table.suspect(slot(1));
        assert!(all_hold(&needs, disk));
        table.set_lost(slot(1), true);
        assert!(none_holds(&needs, disk));
        // The server is back, but a check that begins only now has missed the loss.
        table.set_lost(slot(1), false);
        assert!(none_holds(&needs, disk));
        let needs = both();
        assert!(all_hold(&needs, disk));
        table.close(slot(1));
        assert!(none_holds(&needs, disk));
        // The loss of a disk that did not count changes nothing.
        assert!(
            ServerNeed::at_once(slot(0), &table, faulty, SlotSet::ALL).is_valid(&table, NO_DISK)
        );
    }

    #[test]
    fn a_freed_page_needs_no_server() {
        let table = table(2);
        let map = map(&[0b001], false);
        map.set_free_pending(PageIndex(0));
        assert_eq!(
            count(
                ServerNeed::at_once(slot(0), &table, NO_DISK, SlotSet::ALL),
                &map
            ),
            0
        );
    }
}
