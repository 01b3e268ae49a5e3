// SPDX-License-Identifier: GPL-2.0

//! Servers that are full for a long time, and then have room again.

use anemone::wire::Fragmentation;

use crate::client::ClientEvent;
use crate::course::Course;
use crate::event::Event;
use crate::faults::Fault;
use crate::scenario::{Scenario, S};
use crate::server::SimServer;
use crate::world::{World, WorldEvent};

/// How long programs need more memory than there is.
pub const FULL_NS: u64 = 12 * S;
/// The same if a client dies meanwhile, and when it does.
pub const FULL_AFTER_DEATH_NS: u64 = 30 * S;
pub const DEATH_NS: u64 = 6 * S;

/// How long after the end of a dead client's lease its pages may be on a full server, and in the way of
/// others: until the server is asked again, and for the challenges.
pub const IN_THE_WAY_NS: u64 = 9 * S;

/// How long they need little: long enough that the oracle allows no error for lack of room.
const ROOMY_NS: u64 = 9 * S;

/// How long all servers must have been full for that to count as long.
const LONG_NS: u64 = 5 * S;

/// The most frames meanwhile for one request, for one page for which a free made room, or for one copy that
/// repair made, on average, if each page is sent once: clients must not retry without end, whatever is lost.
/// In 2,000 seeds it was less than 40.
const FRAMES: f64 = 60.0;
/// The most frames of each client and server in a second, without any request.
const FRAMES_PER_S: u64 = 20;

/// Since when all servers have been full.
#[derive(Default)]
pub struct Fullness {
    since_ns: Option<u64>,
    was_long: bool,
    /// Frames delivered, requests ended, pages freed, and copies made by then.
    frames: u64,
    ended: u64,
    freed: u64,
    copied: u64,
}

impl Scenario {
    /// When the lease of a client that has died for good is over, if nothing disturbs the others.
    pub fn dead_ns(&self) -> Option<u64> {
        let lease_ns = u64::from(self.lease_s) * S;
        let is_sure = self.course == (Course::Full { death: true }) && self.is_undisturbed();
        is_sure.then_some(DEATH_NS + lease_ns)
    }

    /// How often a page is sent on average until it arrives undamaged: if one of its fragments is damaged,
    /// all are sent again.
    fn sends_of_page(&self) -> f64 {
        let usual = Fragmentation::for_mtu(self.mtu);
        let is_narrow = self.enabled.jumbo_limit || self.enabled.mtu_change;
        let cut = usual.filter(|_| !is_narrow);
        let fragments = cut.unwrap_or(Fragmentation::NARROWEST).count();
        (1.0 - self.rates.corrupt).powi(-i32::from(fragments))
    }
}

impl World {
    /// Programs end, and most of their pages are discarded; or they begin to need more memory than there is.
    pub fn toggle_demand(&mut self) {
        if self.is_calm {
            return;
        }
        let was_full = self.ctx.scenario.discards == 0;
        if !was_full && self.ctx.scenario.is_undisturbed() {
            self.check_room();
        }
        let scenario = &mut self.ctx.scenario;
        let lasts_ns = match was_full {
            true => {
                (scenario.page_outs, scenario.discards) = (5, 10);
                ROOMY_NS
            }
            false => {
                (scenario.page_outs, scenario.discards) = (70, 0);
                FULL_NS
            }
        };
        self.ctx
            .note(|| format!("programs need more than there is: {}", !was_full));
        self.ctx
            .after(lasts_ns, Event::World(WorldEvent::ToggleDemand));
        if was_full {
            for client in 0..self.clients.len() {
                let event = ClientEvent::DiscardMost;
                self.ctx.after(0, Event::Client(client, event));
            }
        }
    }

    /// Whether a server has an eighth of its memory free.
    fn has_room(&self, server: &SimServer) -> bool {
        server.free_pages() >= u64::from(self.ctx.scenario.capacity_pages) / 8
    }

    /// Servers have been notified of the freed pages, and have not been filled since. One server of a few
    /// pages may be full by chance, but not all.
    fn check_room(&mut self) {
        let free: u64 = self.servers.iter().map(SimServer::free_pages).sum();
        let capacity = u64::from(self.ctx.scenario.capacity_pages) * self.servers.len() as u64;
        if free < capacity / 16 {
            self.ctx.oracle.fail(|| {
                format!(
                    "servers have {free} of {capacity} pages free {ROOMY_NS} ns after most were discarded"
                )
            });
        }
    }

    /// Checks whether servers are full, and whether they have room again.
    pub fn watch_full(&mut self) {
        if !matches!(self.ctx.scenario.course, Course::Full { .. }) {
            return;
        }
        let now_ns = self.ctx.now_ns;
        let is_full = self.servers.iter().all(|server| server.free_pages() == 0);
        let has_room = self.servers.iter().any(|server| self.has_room(server));
        let counts = &mut self.ctx.counts;
        let ended = counts.page_outs + counts.page_ins;
        let freed: u64 = self.servers.iter().map(SimServer::pages_freed).sum();
        let clients = self.clients.iter();
        let copied = clients.map(|client| client.pages_repaired() + client.pages_mirrored());
        let copied: u64 = copied.sum();
        let fullness = &mut self.fullness;
        if is_full {
            let since_ns = *fullness.since_ns.get_or_insert(now_ns);
            if since_ns == now_ns {
                (fullness.frames, fullness.ended) = (counts.frames, ended);
                (fullness.freed, fullness.copied) = (freed, copied);
            }
            if now_ns < since_ns + LONG_NS {
                return;
            }
            if !std::mem::replace(&mut fullness.was_long, true) {
                counts.fault(Fault::FullForLong);
                if self.ctx.scenario.disk.is_some() {
                    counts.fault(Fault::FullBesideDisk);
                }
            }
            let frames = counts.frames - fullness.frames;
            let stations = self.clients.len() + self.servers.len();
            // CAST: few.
            let idle = FRAMES_PER_S * stations as u64 * (now_ns - since_ns) / S;
            let most = FRAMES * self.ctx.scenario.sends_of_page();
            let requests = ended - fullness.ended;
            // This check, every 100 ms, misses room that repair or a page-out has used in between.
            let freed = freed.saturating_sub(fullness.freed);
            let copied = copied.saturating_sub(fullness.copied);
            // CAST: few.
            if frames > (most * (requests + freed + copied) as f64) as u64 + idle {
                self.ctx.oracle.fail(|| {
                    format!(
                        "{frames} frames for {requests} requests, {freed} freed pages and {copied} copies while \
                         servers were full"
                    )
                });
            }
        } else {
            fullness.since_ns = None;
            if has_room && std::mem::take(&mut fullness.was_long) {
                counts.fault(Fault::RoomAgain);
            }
        }
    }
}
