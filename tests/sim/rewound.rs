// SPDX-License-Identifier: GPL-2.0

//! A server that is rolled back: it suddenly lacks pages that it had.
//!
//! These runs are separate from the others. Nothing else removes copies in them, so that every page must be
//! read as it was written.

use anemone::engine::client::ids::{PageIndex, SlotSet};
use rand::Rng;

use crate::client::Client;
use crate::course::Course;
use crate::scenario::{Enabled, Scenario};
use crate::world::World;

/// How many of a hundred pages that another server has too it then lacks.
const LOST: u32 = 40;

/// The pages that were lost.
#[derive(Default)]
pub struct Rewound {
    /// The server that lost them.
    server: Option<usize>,
    /// How many.
    pages: u64,
}

impl Rewound {
    /// Whether this server lost some.
    pub fn is(&self, server: usize) -> bool {
        self.server == Some(server)
    }

    /// Whether any server lost some.
    pub fn any(&self) -> bool {
        self.server.is_some()
    }
}

/// Makes a scenario one in which a server is rolled back.
pub fn arrange(scenario: &mut Scenario) {
    scenario.course = Course::Rewound;
    scenario.clients = scenario.clients.min(2);
    scenario.servers = scenario.servers_at_first.clamp(3, 4);
    scenario.servers_at_first = scenario.servers;
    scenario.pages = scenario.pages.clamp(32, 256);
    scenario.replicas = scenario.replicas.max(2);
    scenario.capacity_pages = scenario.pages * scenario.clients as u32;
    scenario.quota_pages = u64::MAX;
    scenario.max_clients = 8;
    scenario.lease_s = 86_400;
    scenario.repair_pages_per_s = 10_000;
    let enabled = scenario.enabled;
    scenario.enabled = Enabled {
        change_page: enabled.change_page,
        slow_client: enabled.slow_client,
        slow_copy: enabled.slow_copy,
        clock_rates: enabled.clock_rates,
        partition: enabled.partition,
        pause: enabled.pause,
        interface: enabled.interface,
        ..Enabled::default()
    };
}

impl World {
    /// Makes a server lose some of the pages that another server has as well.
    pub fn put_back(&mut self, number: usize) {
        let pages = self.ctx.scenario.pages;
        let mac = self.servers[number].mac;
        self.rewound.server = Some(number);
        for client in &self.clients {
            let servers = &client.device.servers;
            let valid = servers.valid();
            let Some(slot) = valid.iter().find(|slot| servers.mac(*slot) == mac) else {
                continue;
            };
            let others = valid.without(SlotSet::one(slot));
            let is_lost = |page: &u32| {
                let entry = client.device.map.load(PageIndex(*page));
                let is_elsewhere = !entry.replicas().intersection(others).is_empty();
                let is_settled = entry.is_written() && !entry.is_busy();
                is_settled && entry.replicas().contains(slot) && is_elsewhere
            };
            let mut lost: Vec<u32> = (0..pages).filter(is_lost).collect();
            lost.retain(|_| self.ctx.rng.random_ratio(LOST, 100));
            self.rewound.pages += lost.len() as u64;
            let session = servers.address(slot).session;
            self.servers[number].lose(&self.ctx, client.mac, session, &lost);
        }
    }

    /// Every page has been read since: counts how many of the lost copies were noticed.
    pub fn audit_rewound(&mut self) {
        let missed: u64 = self.clients.iter().map(Client::copies_missing).sum();
        let lost = self.rewound.pages;
        self.ctx.counts.lost += lost;
        self.ctx.counts.missed += missed;
        if missed > lost {
            self.ctx
                .oracle
                .fail(|| format!("{missed} copies are missed of {lost} that were lost"));
        }
    }
}
