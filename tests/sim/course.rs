// SPDX-License-Identifier: GPL-2.0

//! Special runs, for conditions that need a scenario of their own.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scenario::{Enabled, Rates, Scenario, MS, S};

/// The kind of run that a seed stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// Load and faults, at random.
    #[default]
    Usual,
    /// Twenty clients on four healthy servers: the clients must not all choose the same server. One of the
    /// servers may restart, so that all clients find it empty.
    Crowd { restart: bool },
    /// Hours without requests, and frames that are delivered after them.
    Night,
    /// Servers with room for half of the clients' pages, for a long time. Sometimes there is plenty of room.
    /// A client may die for good meanwhile.
    Full { death: bool },
    /// A server is rolled back: not drawn, see [`crate::rewound`].
    Rewound,
}

/// Clients of a crowd.
const CROWD: usize = 20;

impl Course {
    /// Drawn from separate random numbers, so that the meaning of other seeds does not change.
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xe1_636f_7572_7365);
        match rng.random_range(0..1000) {
            number @ 0..6 => Self::Crowd {
                restart: number % 2 == 1,
            },
            number @ 10..30 => Self::Full {
                death: number % 4 == 1,
            },
            30..40 => Self::Night,
            _ => Self::Usual,
        }
    }
}

impl Scenario {
    /// Adapts the scenario to its course.
    pub fn arrange(&mut self, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x61_7272_616e_6765);
        match self.course {
            Course::Usual | Course::Rewound => {}
            Course::Crowd { .. } => self.arrange_crowd(&mut rng),
            Course::Night => self.arrange_night(),
            Course::Full { death } => {
                if death {
                    self.clients = self.clients.max(2);
                }
                self.arrange_full(&mut rng);
                if death {
                    self.arrange_death(&mut rng);
                }
            }
        }
    }

    /// Few enough hosts that simulating hours takes no longer than seconds of other runs.
    fn arrange_night(&mut self) {
        self.clients = self.clients.min(2);
        self.servers_at_first = self.servers_at_first.min(3);
        self.servers = self.servers_at_first;
        (self.enabled.add, self.enabled.remove) = (false, false);
        self.io_timeout_s = self.io_timeout_s.min(20);
        self.active_ns = self.active_ns.clamp(4 * S, 8 * S);
        // Former lives take up places too.
        self.max_clients = 8;
    }

    /// Servers are full for ten seconds or more at a time. Then programs end, and there is room.
    fn arrange_full(&mut self, rng: &mut ChaCha8Rng) {
        self.pages = self.pages.clamp(64, 256);
        self.servers = self.servers_at_first;
        self.io_timeout_s = self.io_timeout_s.min(20);
        let wanted = self.pages * self.clients as u32 * self.replicas;
        // CAST: few.
        self.capacity_pages = (wanted / self.servers as u32 / 2).max(4);
        self.quota_pages = u64::MAX;
        self.max_clients = 8;
        self.gap_ns = [10 * MS, 30 * MS][rng.random_range(0..2)];
        self.active_ns = 40 * S;
        self.page_outs = 70;
        self.discards = 0;
        if rng.random_bool(0.5) {
            self.rates = Rates::default();
            self.enabled = Enabled {
                change_page: self.enabled.change_page,
                clock_rates: self.enabled.clock_rates,
                ..Enabled::default()
            };
        }
        let enabled = &mut self.enabled;
        // The pages that fill the servers must not be lost.
        (enabled.crash, enabled.rebirth, enabled.add) = (false, false, false);
        (enabled.remove, enabled.reload, enabled.hibernate) = (false, false, false);
    }

    /// The clients that stay need the room of the one that dies.
    fn arrange_death(&mut self, rng: &mut ChaCha8Rng) {
        self.gap_ns = 10 * MS;
        self.lease_s = [1, 3][rng.random_range(0..2)];
        self.active_ns = 45 * S;
    }

    /// Servers fill up to two thirds within some seconds, which is a few announcements.
    fn arrange_crowd(&mut self, rng: &mut ChaCha8Rng) {
        self.clients = CROWD;
        self.servers = 4;
        self.servers_at_first = 4;
        self.max_clients = CROWD as u16 + 4;
        self.pages = 128;
        self.replicas = 2;
        self.min_copies = 1;
        self.io_timeout_s = 5;
        self.ops_per_shard = self.ops_per_shard.clamp(2, 8);
        let copies = self.pages * CROWD as u32 * self.replicas;
        self.capacity_pages = copies / 4 * 3 / 2;
        self.quota_pages = u64::MAX;
        self.gap_ns = [10 * MS, 20 * MS][rng.random_range(0..2)];
        self.active_ns = 5 * S;
        self.page_outs = 60;
        self.discards = [0, 0, 5, 20][rng.random_range(0..4)];
        self.rates = Rates::default();
        self.disk = None;
        self.enabled = Enabled {
            change_page: self.enabled.change_page,
            slow_client: self.enabled.slow_client,
            ..Enabled::default()
        };
    }
}
