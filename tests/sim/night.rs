// SPDX-License-Identifier: GPL-2.0

//! Frames that the network delays for hours: kept by day, delivered in the night and in the morning, when
//! versions, sessions and incarnations have changed. Hosts run during those hours: they ping, announce,
//! crash and restart. Only their programs are idle.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::client::ClientEvent;
use crate::context::Context;
use crate::disturbance::Disturbance;
use crate::event::{Event, Wire};
use crate::faults::Fault;
use crate::network::show;
use crate::scenario::{MS, S};
use crate::world::{World, WorldEvent};

/// Frames that are kept.
const KEPT: usize = 300;
/// How many of them are delivered in the night.
const BY_NIGHT: usize = 30;
/// The least duration of the night.
const HOUR_NS: u64 = 3600 * S;

/// The frames that the network keeps until the morning.
pub struct Night {
    rng: ChaCha8Rng,
    kept: Vec<Wire>,
    seen: u64,
    /// When the night ends, while it lasts.
    until_ns: Option<u64>,
}

impl Night {
    /// A night that has not begun, with separate random numbers.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x6e_6967_6874),
            kept: Vec::new(),
            seen: 0,
            until_ns: None,
        }
    }

    /// When the night ends, if it is night.
    pub fn until_ns(&self) -> Option<u64> {
        self.until_ns
    }

    /// May keep a frame: each frame of the day with the same probability (reservoir sampling).
    pub fn keep(&mut self, wire: &Wire) {
        self.seen += 1;
        let place = self.rng.random_range(0..self.seen);
        // CAST: it is below the number kept where it is used.
        if self.kept.len() < KEPT {
            self.kept.push(wire.clone());
        } else if let Some(kept) = self.kept.get_mut(place as usize) {
            *kept = wire.clone();
        }
    }
}

impl Context {
    /// Puts an event off until the morning, if it is night. Returns whether it is.
    pub fn put_off(&mut self, event: WorldEvent) -> bool {
        let until_ns = self.night.as_ref().and_then(Night::until_ns);
        if let Some(until_ns) = until_ns {
            let delay_ns = self.scenario.disturbance_ns;
            self.queue.put(until_ns + delay_ns, Event::World(event));
        }
        until_ns.is_some()
    }
}

impl World {
    /// The night begins: programs become idle and faults end, but servers restart and clients crash.
    pub fn fall_night(&mut self) {
        self.calm();
        let now_ns = self.ctx.now_ns;
        for client in &mut self.clients {
            client.is_loaded = false;
        }
        let (servers, clients) = (self.servers.len(), self.clients.len());
        let Some(night) = &mut self.ctx.night else {
            return;
        };
        let lasts_ns = HOUR_NS + night.rng.random_range(0..HOUR_NS);
        let until_ns = now_ns + lasts_ns;
        night.until_ns = Some(until_ns);
        let mut disturbances = Vec::new();
        for server in 0..servers {
            if night.rng.random_bool(0.4) {
                let at_ns = night.rng.random_range(0..lasts_ns / 2);
                disturbances.push((at_ns, Disturbance::Crash(server)));
                disturbances.push((at_ns + 10 * S, Disturbance::Start(server)));
            }
        }
        for client in 0..clients {
            if night.rng.random_bool(0.4) {
                let at_ns = night.rng.random_range(0..lasts_ns / 2);
                disturbances.push((at_ns, Disturbance::Die(client)));
                disturbances.push((at_ns + 20 * S, Disturbance::Restart(client)));
            }
        }
        night.kept.shuffle(&mut night.rng);
        let early = (0..BY_NIGHT).map(|_| night.rng.random_range(HOUR_NS / 2..lasts_ns));
        let early: Vec<u64> = early.collect();
        self.ctx.note(|| format!("night, for {} s", lasts_ns / S));
        for (delay_ns, disturbance) in disturbances {
            self.later(delay_ns, disturbance);
        }
        for delay_ns in early {
            self.ctx.after(delay_ns, Event::World(WorldEvent::ComeLate));
        }
        self.ctx.queue.put(until_ns, Event::World(WorldEvent::Dawn));
    }

    /// The night ends: programs begin requests again, and the remaining frames are delivered meanwhile.
    pub fn dawn(&mut self) {
        let day_ns = self.ctx.scenario.active_ns / 2;
        let Some(night) = &mut self.ctx.night else {
            return;
        };
        night.until_ns = None;
        let late = night.kept.len();
        let late = (0..late).map(|_| night.rng.random_range(0..day_ns));
        let late: Vec<u64> = late.collect();
        for delay_ns in late {
            self.ctx.after(delay_ns, Event::World(WorldEvent::ComeLate));
        }
        for (number, client) in self.clients.iter_mut().enumerate() {
            client.is_loaded = !client.is_dead && !client.is_unloading;
            let event = ClientEvent::Load;
            self.ctx.after(10 * MS, Event::Client(number, event));
        }
        self.ctx.note(|| "dawn".into());
        self.ctx.after(day_ns, Event::World(WorldEvent::Calm));
    }

    /// Delivers a frame that was sent hours ago.
    pub fn come_late(&mut self) {
        let kept = self.ctx.night.as_mut().and_then(|night| night.kept.pop());
        if let Some(wire) = kept {
            self.ctx.counts.fault(Fault::FrameHoursOld);
            self.ctx.note(|| format!("hours late: {}", show(&wire)));
            self.ctx.carry(wire);
        }
    }
}
