// SPDX-License-Identifier: GPL-2.0

//! The least utilised of the servers that may take a page (`shard/placement.rs` says which may).
//!
//! Utilisation is what the server last reported, in an announcement or with its last acknowledgement,
//! plus what this client has placed there since and has under way. So a burst does not go entirely to
//! the server that was emptiest a second ago. Acknowledgements report the pages of other clients too.
//! With announcements alone, twenty clients that each fill the emptiest server would all fill the same
//! one until the next announcement. Among nearly equal servers one that holds an older version is
//! preferred: it needs no new memory, and its old copy need not be freed.
//!
//! The rules: `docs/protocol.md`, "Utilisation".

use super::ids::{ServerSlot, SlotSet};
use super::server_table::Load;

/// One in units of utilisation: 16 bits after the point.
const ONE: u64 = 1 << 16;

/// How much fuller a holder may be and still be preferred: 1/32.
const HOLDER_BONUS: u64 = ONE / 32;

/// What a shard knows of a server in addition to its announcement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placed {
    announcement: u32,
    /// Pages placed since that announcement and not acknowledged.
    pages: u16,
    /// The utilisation reported since, in 1/65535; 0 if none was.
    reported: u16,
}

impl Placed {
    /// A page is sent to the server.
    pub fn add(&mut self, load: Load) {
        self.renew(load);
        self.pages = self.pages.saturating_add(1);
    }

    /// A page sent there was acknowledged by a frame that reports the server's utilisation.
    pub fn acknowledged(&mut self, load: Load, utilisation: u16) {
        self.renew(load);
        self.pages = self.pages.saturating_sub(1);
        if !mutated!(HerdFollowed) {
            self.reported = utilisation.max(1);
        }
    }

    fn renew(&mut self, load: Load) {
        if self.announcement != load.announcement {
            *self = Self {
                announcement: load.announcement,
                pages: 0,
                reported: 0,
            };
        }
    }

    /// How full the server is, in 1/65536, if `shards` shards have placed as much as this one.
    pub fn utilisation(&mut self, load: Load, shards: u32) -> u64 {
        self.renew(load);
        let capacity_pages = u64::from(load.capacity_pages);
        let used_pages = match self.reported {
            0 => load.used_pages,
            _ => 0,
        };
        let used_pages = u64::from(self.pages)
            .saturating_mul(u64::from(shards))
            .saturating_add(u64::from(used_pages));
        used_pages
            .saturating_mul(ONE)
            .checked_div(capacity_pages)
            .map_or(ONE, |placed| {
                placed.saturating_add(u64::from(self.reported))
            })
    }
}

/// The slot of `candidates` with the lowest utilisation; `holders` get a bonus.
pub fn least_utilised(
    candidates: SlotSet,
    holders: SlotSet,
    mut utilisation: impl FnMut(ServerSlot) -> u64,
) -> Option<ServerSlot> {
    candidates.iter().min_by_key(|&slot| {
        let full = utilisation(slot);
        if holders.contains(slot) {
            full.saturating_sub(HOLDER_BONUS)
        } else {
            full
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::bench::slot;

    #[test]
    fn a_burst_spreads_by_free_memory() {
        let loads = [
            Load {
                capacity_pages: 1000,
                used_pages: 0,
                announcement: 1,
            },
            Load {
                capacity_pages: 3000,
                used_pages: 0,
                announcement: 1,
            },
        ];
        let mut placed = [Placed::default(); 2];
        let mut got = [0; 2];
        for _ in 0..400 {
            let chosen = least_utilised(SlotSet::from_bits(3), SlotSet::EMPTY, |slot| {
                placed[slot.index()].utilisation(loads[slot.index()], 1)
            })
            .unwrap()
            .index();
            placed[chosen].add(loads[chosen]);
            got[chosen] += 1;
        }
        assert_eq!(got, [100, 300]);
    }

    #[test]
    fn an_announcement_replaces_what_was_placed() {
        let mut placed = Placed::default();
        let mut load = Load {
            capacity_pages: 100,
            used_pages: 10,
            announcement: 7,
        };
        placed.add(load);
        placed.add(load);
        assert_eq!(placed.utilisation(load, 1), 12 * ONE / 100);
        assert_eq!(placed.utilisation(load, 4), 18 * ONE / 100);
        load.announcement = 8;
        load.used_pages = 12;
        assert_eq!(placed.utilisation(load, 1), 12 * ONE / 100);
    }

    #[test]
    fn what_an_acknowledgement_says_counts_other_clients_too() {
        let load = Load {
            capacity_pages: 100,
            used_pages: 10,
            announcement: 7,
        };
        let mut placed = Placed::default();
        placed.add(load);
        placed.add(load);
        placed.acknowledged(load, u16::MAX / 2);
        let half = u64::from(u16::MAX / 2);
        assert_eq!(placed.utilisation(load, 1), half + ONE / 100);
        assert_eq!(placed.utilisation(load, 4), half + 4 * ONE / 100);
        // A frame may arrive twice, or after an announcement that included the page.
        placed.acknowledged(load, u16::MAX / 2);
        placed.acknowledged(load, u16::MAX / 2);
        assert_eq!(placed.utilisation(load, 4), half);
        let load = Load {
            announcement: 8,
            ..load
        };
        assert_eq!(placed.utilisation(load, 4), 10 * ONE / 100, "it is newer");
    }

    #[test]
    fn an_old_holder_wins_among_near_equals_only() {
        let near = [ONE / 2 + ONE / 64, ONE / 2];
        let far = [ONE / 2 + ONE / 16, ONE / 2];
        let choose = |levels: [u64; 2]| {
            least_utilised(SlotSet::from_bits(3), SlotSet::one(slot(0)), |slot| {
                levels[slot.index()]
            })
        };
        assert_eq!(choose(near), Some(slot(0)));
        assert_eq!(choose(far), Some(slot(1)));
        assert_eq!(least_utilised(SlotSet::EMPTY, SlotSet::ALL, |_| 0), None);
    }

    #[test]
    fn a_server_without_capacity_is_full() {
        let load = Load {
            capacity_pages: 0,
            used_pages: 0,
            announcement: 0,
        };
        assert_eq!(Placed::default().utilisation(load, 1), ONE);
    }
}
