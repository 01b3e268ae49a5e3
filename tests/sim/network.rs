// SPDX-License-Identifier: GPL-2.0

//! The segment between all stations: one switch, with every fault that a switch can have.

use std::collections::{BTreeMap, BTreeSet};

use anemone::wire::{Announce, MacAddress, Opcode, PageVersion};
use rand::Rng;
use zerocopy::FromBytes;

use crate::context::Context;
use crate::event::{Event, Node, Wire};
use crate::faults::Fault;
use crate::scenario::{Rates, Scenario, MS, S};

/// Frames of the past that are kept to be sent again.
const RECORDED: usize = 256;

/// The state of the network.
pub struct Network {
    /// Stations by their addresses.
    stations: BTreeMap<MacAddress, Node>,
    /// The rates of faults while it is rough.
    rates: Rates,
    rough: bool,
    /// When it last became rough or undisturbed, or when the longest frame last changed.
    gentle_since_ns: u64,
    /// Longer frames are dropped.
    pub longest: usize,
    /// The pairs of stations, source and destination, between which frames are dropped.
    blocked: BTreeSet<(Node, Node)>,
    /// Since when a link has not been cut.
    whole_since_ns: BTreeMap<(Node, Node), u64>,
    recorded: Vec<Wire>,
}

impl Network {
    /// A network without stations and cuts.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            stations: BTreeMap::new(),
            rates: scenario.rates,
            rough: scenario.rates.any(),
            gentle_since_ns: 0,
            longest: usize::MAX,
            blocked: BTreeSet::new(),
            whole_since_ns: BTreeMap::new(),
            recorded: Vec::new(),
        }
    }

    /// Connects a station.
    pub fn plug(&mut self, mac: MacAddress, node: Node) {
        self.stations.insert(mac, node);
    }

    /// Disconnects a station.
    pub fn unplug(&mut self, mac: MacAddress) {
        self.stations.remove(&mac);
    }

    /// The station with this address.
    pub fn station(&self, mac: MacAddress) -> Option<Node> {
        self.stations.get(&mac).copied()
    }

    /// Begins or ends a rough phase.
    pub fn set_rough(&mut self, now_ns: u64, rough: bool) {
        let rough = rough && self.rates.any();
        if std::mem::replace(&mut self.rough, rough) != rough {
            self.gentle_since_ns = now_ns;
        }
    }

    /// From now on drops frames longer than this.
    pub fn set_longest(&mut self, now_ns: u64, longest: usize) {
        self.longest = longest;
        self.gentle_since_ns = now_ns;
    }

    /// Cuts or restores the path from one station to another.
    pub fn set_blocked(&mut self, now_ns: u64, from: Node, to: Node, blocked: bool) {
        let changed = match blocked {
            true => self.blocked.insert((from, to)),
            false => self.blocked.remove(&(from, to)),
        };
        if changed {
            self.whole_since_ns.insert((from, to), now_ns);
            self.whole_since_ns.insert((to, from), now_ns);
        }
    }

    /// Since when the path between two stations has been cut in one direction or in both; `None` if it is
    /// not.
    pub fn cut_since_ns(&self, one: Node, other: Node) -> Option<u64> {
        let is_cut = self.blocked.contains(&(one, other)) || self.blocked.contains(&(other, one));
        let since_ns = self.whole_since_ns.get(&(one, other)).copied();
        since_ns.filter(|_| is_cut)
    }

    /// Since when frames between two stations have been undisturbed.
    pub fn gentle_since_ns(&self, one: Node, other: Node) -> Option<u64> {
        if self.rough
            || self.blocked.contains(&(one, other))
            || self.blocked.contains(&(other, one))
        {
            return None;
        }
        let whole = self.whole_since_ns.get(&(one, other)).copied();
        Some(whole.unwrap_or(0).max(self.gentle_since_ns))
    }
}

impl Context {
    /// Sends a frame.
    pub fn transmit(&mut self, wire: Wire) {
        if self.scenario.signed {
            if let Err(why) = self.authentic.note_sent(&wire) {
                self.oracle.fail(|| why);
            }
        }
        if let Some(night) = self
            .night
            .as_mut()
            .filter(|night| night.until_ns().is_none())
        {
            night.keep(&wire);
        }
        if self.network.recorded.len() < RECORDED {
            self.network.recorded.push(wire.clone());
        } else if self.chance(0.05) {
            let place = self.rng.random_range(0..RECORDED);
            self.network.recorded[place] = wire.clone();
        }
        self.disturb(&wire);
        self.carry(wire);
    }

    /// Delivers a frame to its destination, without recording it.
    pub fn carry(&mut self, wire: Wire) {
        let from = self.network.stations.get(&wire.source).copied();
        let to: Vec<Node> = if wire.destination == MacAddress::BROADCAST {
            let others = self.network.stations.values().copied();
            others.filter(|node| Some(*node) != from).collect()
        } else {
            let station = self.network.stations.get(&wire.destination);
            station.copied().into_iter().collect()
        };
        for node in to {
            if from.is_some_and(|from| self.network.blocked.contains(&(from, node))) {
                self.counts.fault(Fault::FramePartitioned);
                continue;
            }
            self.carry_to(node, wire.clone());
        }
    }

    fn carry_to(&mut self, node: Node, mut wire: Wire) {
        if wire.bytes.len() > self.network.longest {
            self.counts.fault(Fault::FrameJumboDropped);
            return;
        }
        let rates = match self.network.rough {
            true => self.network.rates,
            false => Rates::default(),
        };
        if self.chance(rates.lose) {
            self.counts.fault(Fault::FrameLost);
            self.note(|| format!("network loses {}", show(&wire)));
            return;
        }
        if self.chance(rates.repeat) {
            self.counts.fault(Fault::FrameRepeated);
            let latency_ns = self.latency(rates);
            self.after(latency_ns, Event::Deliver(node, wire.clone()));
        }
        if self.chance(rates.corrupt) {
            self.counts.fault(Fault::FrameCorrupted);
            self.corrupt(&mut wire);
        }
        if self.chance(rates.truncate) {
            self.counts.fault(Fault::FrameTruncated);
            let len = self.rng.random_range(0..=wire.bytes.len());
            wire.bytes_mut().truncate(len);
        }
        let latency_ns = self.latency(rates);
        self.after(latency_ns, Event::Deliver(node, wire));
    }

    fn latency(&mut self, rates: Rates) -> u64 {
        let base_ns = self.scenario.latency_ns;
        let mut latency_ns = base_ns + self.rng.random_range(0..=base_ns / 20);
        if self.chance(rates.reorder) {
            self.counts.fault(Fault::FrameReordered);
            latency_ns += self.rng.random_range(0..4 * base_ns);
        }
        if self.chance(rates.delay) {
            self.counts.fault(Fault::FrameDelayed);
            latency_ns += match self.rng.random_range(0..10) {
                0..6 => self.rng.random_range(0..20 * MS),
                6..9 => self.rng.random_range(0..500 * MS),
                _ => self.rng.random_range(0..20 * S),
            };
        }
        latency_ns
    }

    fn corrupt(&mut self, wire: &mut Wire) {
        for _ in 0..self.rng.random_range(1..4) {
            let bit = self.rng.random_range(0..(wire.bytes.len() + 12) * 8);
            let mask = 1 << (bit % 8);
            match bit / 8 {
                byte @ 0..6 => wire.destination.0[byte] ^= mask,
                byte @ 6..12 => wire.source.0[byte - 6] ^= mask,
                byte => wire.bytes_mut()[byte - 12] ^= mask,
            }
        }
    }

    /// Sends a frame that no station sends now: a replayed, forged or foreign one.
    fn disturb(&mut self, present: &Wire) {
        if !self.network.rough {
            return;
        }
        let rates = self.network.rates;
        if self.chance(rates.replay) {
            if let Some(wire) = self.recorded() {
                self.counts.fault(Fault::FrameReplayed);
                self.note(|| format!("replay of {}", show(&wire)));
                self.carry(wire);
            }
        }
        // An attacker looks out for exchanges of keys.
        let is_key_reply = present.bytes.get(1) == Some(&(Opcode::KeyReply as u8));
        let forges_reply = self.scenario.signed && is_key_reply && rates.forge > 0.0;
        if self.chance(rates.forge) || (forges_reply && self.chance(0.2)) {
            let model = match self.chance(0.5) {
                true => Some(present.clone()),
                false => self.recorded(),
            };
            let forged = match self.scenario.signed {
                true => model.and_then(|wire| self.attack(wire, present)),
                false => model.and_then(|wire| self.forge(wire)),
            };
            if let Some(wire) = forged {
                self.counts.fault(Fault::FrameForged);
                self.note(|| format!("forged {}", show(&wire)));
                self.carry(wire);
            }
        }
        if self.chance(rates.foreign) {
            if let Some(mut wire) = self.recorded() {
                self.counts.fault(Fault::FrameForeign);
                self.rng.fill(&mut wire.bytes_mut()[..]);
                self.carry(wire);
            }
        }
    }

    fn recorded(&mut self) -> Option<Wire> {
        let count = self.network.recorded.len();
        let place = self.rng.random_range(0..count.max(1));
        self.network.recorded.get(place).cloned()
    }
}

/// A frame as a short text.
pub fn show(wire: &Wire) -> String {
    let what = match anemone::wire::Frame::parse(&wire.bytes) {
        Ok(frame) => {
            let h = frame.header;
            if let (Opcode::Announce, Ok(said)) =
                (h.opcode, Announce::read_from_bytes(frame.payload))
            {
                let (free, all) = (said.free_pages, said.capacity_pages);
                return format!("{} announces {free} of {all} free", wire.source);
            }
            if h.opcode == Opcode::Free {
                let pages = <[PageVersion]>::ref_from_bytes(frame.payload).unwrap_or_default();
                let pages: Vec<String> = pages
                    .iter()
                    .map(|one| format!("{} below {}", one.page, one.version))
                    .collect();
                return format!("{} frees {}", wire.source, pages.join(", "));
            }
            format!(
                "{:?} {:?} tag {:x}.{} page {} version {} fragment {}/{} mask {:x} low {} session {:.4x} incarnation {:.4x}",
                h.opcode, h.status, h.tag, h.attempt, h.page, h.version, h.fragment_index,
                h.fragment_count, h.fragment_mask.bits(), h.low_water,
                h.session >> 48, h.incarnation >> 48,
            )
        }
        Err(error) => format!("{error:?}"),
    };
    format!("{} -> {}: {what}", wire.source, wire.destination)
}
