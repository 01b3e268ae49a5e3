// SPDX-License-Identifier: GPL-2.0

//! Compares what clients' maps say with what servers hold.

use anemone::engine::client::ids::PageIndex;
use anemone::wire::MacAddress;
use rand::Rng;

use crate::content::{describe, Content};
use crate::course::Course;
use crate::scenario::{DiskScenario, S};
use crate::server::SimServer;
use crate::world::World;

/// Pages of a client that each audit checks, before the end.
const SAMPLE: u32 = 100;

impl World {
    /// Every replica bit names a server that holds that version, and at the end no server holds
    /// a page that no bit names.
    pub fn audit(&mut self, at_end: bool) {
        if self.lease_ended_ns.is_some() {
            // The client notices it later.
            return;
        }
        let pages = self.ctx.scenario.pages;
        for client in 0..self.clients.len() {
            if self.clients[client].is_dead {
                if at_end {
                    self.audit_old_lives(client);
                }
                continue;
            }
            let hibernations = self.clients[client].hibernation.ended;
            if u64::from(self.clients[client].device.versions().jumps()) > hibernations {
                // No client is rolled back here without being notified.
                let why = format!("client {client} takes itself for one that was rolled back");
                self.ctx.oracle.fail(|| why);
            }
            let lacking = self.clients[client].device.servers.lacking();
            if !lacking.is_empty() && !self.rewound.any() {
                // Only servers that were rolled back lack pages.
                let why = format!("client {client} misses pages on {lacking:?} that are there");
                self.ctx.oracle.fail(|| why);
            }
            let sample = match self.ctx.scenario.course {
                Course::Crowd { .. } => SAMPLE / 20,
                _ => SAMPLE,
            };
            let (from, to) = match at_end || pages <= sample {
                true => (0, pages),
                false => {
                    let from = self.ctx.rng.random_range(0..pages - sample);
                    (from, from + sample)
                }
            };
            for page in from..to {
                if let Err(why) = self.audit_replicas(client, page) {
                    self.ctx.oracle.fail(|| why);
                }
                self.audit_disk(client, page);
                if at_end {
                    self.audit_orphans(client, page);
                }
            }
        }
    }

    /// No server with a session of a client's new life keeps pages of an older life.
    fn audit_old_lives(&mut self, dead: usize) {
        let identity = self.clients[dead].identity;
        let mut lives = self.clients.iter();
        let Some(heir) = lives.find(|one| one.identity == identity && !one.is_dead) else {
            return;
        };
        for server in &self.servers {
            if !heir.has_open(server.mac, server.incarnation()) {
                continue;
            }
            for page in 0..self.ctx.scenario.pages {
                let mut held = server.held(&self.ctx.seals, page).into_iter();
                if let Some((copy, _)) = held.find(|(_, word)| word >> 56 == dead as u64 + 1) {
                    self.ctx
                        .oracle
                        .fail(|| format!("{copy:?} of client {dead} page {page} outlives it"));
                }
            }
        }
    }

    /// Every DISK bit names a block that holds what the page may contain.
    fn audit_disk(&mut self, client: usize, page: u32) {
        let Some(true) = self.clients[client].counts_on_disk(page) else {
            return;
        };
        let Some(local) = &self.clients[client].local else {
            return;
        };
        let block = local.disk.block(page);
        let possible = self.ctx.oracle.possible(client, page);
        if !possible.iter().any(|content| content.is(&block[..])) {
            let possible: Vec<String> = possible.iter().map(Content::to_string).collect();
            self.ctx.oracle.fail(|| {
                format!(
                    "client {client} page {page}: the disk has {}, possible: {}",
                    describe(&block[..]),
                    possible.join(" or ")
                )
            });
        }
    }

    /// Every I/O of a healthy disk ends.
    pub fn audit_disks_at_end(&mut self) {
        for client in self.clients.iter().filter(|client| !client.is_dead) {
            if let Some(local) = &client.local {
                if !local.mirror.is_idle() {
                    let buffered = local.mirror.buffered();
                    self.ctx
                        .oracle
                        .fail(|| format!("{buffered} buffers are still in use at the end"));
                }
            }
        }
    }

    /// Repair has had time, and servers to copy to, so every page has its copies.
    pub fn audit_repair(&mut self) {
        let ctx = &mut self.ctx;
        if self.lease_ended_ns.is_some() || ctx.scenario.repair_pages_per_s < 1000 {
            return;
        }
        let begun = |since_ns: u64| since_ns + 10 * S >= ctx.now_ns;
        let is_new = |server: &SimServer| server.running_since_ns().is_some_and(begun);
        let any_is_new = self.servers.iter().any(is_new);
        for (number, client) in self.clients.iter().enumerate() {
            if any_is_new && client.repair_left() > 0 {
                // Pages lost by a server that has just restarted are still being copied.
                continue;
            }
            let well = self.servers.iter().filter(|server| {
                let roomy = server.free_pages() > 0 && server.full_ns.is_none();
                let added_ns = client.added_ns.get(&server.mac);
                let known = added_ns.is_some_and(|added_ns| added_ns + 5 * S < ctx.now_ns);
                let running_ns = server.running_since_ns();
                roomy && known && running_ns.is_some_and(|since_ns| since_ns + 10 * S < ctx.now_ns)
            });
            let well: Vec<MacAddress> = well.map(|server| server.mac).collect();
            let wanted = well.len().min(ctx.scenario.replicas as usize);
            let since_ns = ctx.now_ns.saturating_sub(10 * S);
            let has_disk = client.has_readable_disk(since_ns);
            for page in ctx.oracle.written_pages(number) {
                let entry = client.entry(page);
                // A server that was rolled back may lack the page, if the other copies were lost in a
                // page-out that failed.
                let is_well = |slot| {
                    let mac = client.device.servers.address(slot).mac;
                    let found = self.servers.iter().position(|server| server.mac == mac);
                    well.contains(&mac) && !found.is_some_and(|one| self.rewound.is(one))
                };
                // Whether a server's quota allows more pages of a client is not known here.
                let is_readable = has_disk
                    && ctx.scenario.quota_pages >= u64::from(ctx.scenario.pages)
                    && client.counts_on_disk(page) == Some(true);
                let short = entry.filter(|(slots, _)| {
                    slots.len() < wanted && (is_readable || slots.iter().any(is_well))
                });
                if let Some((slots, _)) = short {
                    let left = client.repair_left();
                    ctx.oracle.fail(|| {
                        format!("client {number} page {page}: only {slots:?}; {left} parts left")
                    });
                }
            }
        }
    }

    /// A usable disk has had time to get every page of each healthy server.
    pub fn audit_mirrors(&mut self) {
        let ctx = &mut self.ctx;
        let (rate, pages) = (ctx.scenario.repair_pages_per_s, ctx.scenario.pages);
        if self.lease_ended_ns.is_some() || rate < 1000 || (rate < 10_000 && pages > 1000) {
            return;
        }
        // Repair uses half of the buffers. A slow disk does not take all pages in time, two at a time.
        let is_quick = |disk: DiskScenario| {
            let at_once = (disk.buffers / 2) as u64;
            2 * disk.latency_ns * u64::from(pages) <= at_once * 12 * S
        };
        if !ctx.scenario.disk.is_some_and(is_quick) {
            return;
        }
        let since_ns = ctx.now_ns.saturating_sub(12 * S);
        for (number, client) in self.clients.iter().enumerate() {
            if !client.has_usable_disk(since_ns) {
                continue;
            }
            let is_well = |slot| {
                let mac = client.device.servers.address(slot).mac;
                let found = self.servers.iter().position(|server| server.mac == mac);
                // One that was rolled back may lack the page.
                let kept = found.filter(|&one| !self.rewound.is(one));
                let running_ns = kept.and_then(|one| self.servers[one].running_since_ns());
                running_ns.is_some_and(|running_ns| running_ns <= since_ns)
            };
            for page in ctx.oracle.written_pages(number) {
                let holders = client.entry(page).map(|(slots, _)| slots);
                let is_held = holders.is_some_and(|slots| slots.iter().any(is_well));
                if is_held && client.counts_on_disk(page) == Some(false) {
                    let left = client.out_of_sync_left();
                    ctx.oracle.fail(|| {
                        format!("client {number} page {page}: not on the disk; {left} parts left")
                    });
                }
            }
        }
    }

    fn audit_replicas(&self, client: usize, page: u32) -> Result<(), String> {
        let number = client;
        let client = &self.clients[client];
        let Some((slots, generation)) = client.entry(page) else {
            return Ok(());
        };
        for slot in slots.iter() {
            let address = client.device.servers.address(slot);
            let found = self.servers.iter().position(|one| one.mac == address.mac);
            if found.is_some_and(|server| self.rewound.is(server)) {
                // A missing page is detected when it is read.
                continue;
            }
            let server = found.map(|server| &self.servers[server]);
            let held = server
                .map(|server| server.held(&self.ctx.seals, page))
                .unwrap_or_default();
            let server_is_same =
                server.and_then(|server| server.incarnation()) == Some(address.incarnation);
            let holds = held
                .iter()
                .any(|(copy, word)| copy.version as u8 == generation && is_of(number, *word));
            if server_is_same && !holds {
                return Err(format!(
                    "client {number} page {page}: {} counts as holding generation {generation}, and holds {held:?}",
                    address.mac
                ));
            }
        }
        Ok(())
    }

    fn audit_orphans(&mut self, client: usize, page: u32) {
        let Some((slots, generation)) = self.clients[client].entry(page) else {
            return;
        };
        for server in &self.servers {
            let known = slots.iter().any(|slot| {
                let address = self.clients[client].device.servers.address(slot);
                address.mac == server.mac
            });
            for (copy, word) in server.held(&self.ctx.seals, page) {
                if !is_of(client, word) || (word == 0 && self.clients.len() > 1) {
                    continue;
                }
                if known && copy.version as u8 == generation {
                    continue;
                }
                let owner = &self.clients[client];
                if owner.has_removed(server.mac)
                    && !owner.has_open(server.mac, server.incarnation())
                {
                    // The BYE may have been lost: the server then keeps the pages until the lease expires.
                    continue;
                }
                if self.clients[client].device.copies.contains(PageIndex(page)) {
                    // Repair has sent the page, and waits for the acknowledgement.
                    continue;
                }
                let late = server.came_late(self.clients[client].mac, page);
                if late || self.clients[client].frees_dropped() > 0 {
                    self.ctx.counts.orphans += 1;
                    continue;
                }
                self.ctx
                    .oracle
                    .fail(|| format!("{copy:?} of client {client} page {page} is never freed"));
            }
        }
    }
}

/// Whether a page with this first word may be the client's.
fn is_of(client: usize, word: u64) -> bool {
    word == 0 || word >> 56 == client as u64 + 1
}
