// SPDX-License-Identifier: GPL-2.0

//! Faults outside the stations, and their ends.

use rand::seq::IndexedRandom;
use rand::Rng;

use anemone::engine::client::maintenance::removal::How;
use anemone::engine::client::mirror::Policy;

use crate::client::{ClientEvent, LocalEvent};
use crate::event::{Event, Node};
use crate::faults::Fault;
use crate::scenario::{MS, S};
use crate::world::{World, WorldEvent};

/// The beginning or the end of a fault.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Cuts (true) or restores the paths from some stations to others.
    Block(Vec<(Node, Node)>, bool),
    /// Sets the length of the longest frames that the switch forwards.
    Longest(usize),
    /// A server crashes.
    Crash(usize),
    /// A server starts or restarts.
    Start(usize),
    /// A server stops.
    Pause(usize),
    /// A server's host is suspended.
    Suspend(usize),
    /// A server continues.
    Resume(usize),
    /// A server is put back to an earlier state.
    PutBack(usize),
    /// A server announces this many free pages; the true number for `None`.
    Lie(usize, Option<u64>),
    /// A client's interface goes down (false) or up.
    Interface(usize, bool),
    /// A client is stopped for this long.
    Freeze(usize, u64),
    /// A client's host is suspended for this long.
    Sleep(usize, u64),
    /// The clock of a host steps forward by this much.
    StepClock(Node, u64),
    /// The I/O timeout changes to this many seconds.
    IoTimeout(u64),
    /// A client's power fails.
    Die(usize),
    /// The client starts again.
    Restart(usize),
    /// A client's disk has a fault.
    Disk(usize, DiskFault),
    /// A client's disk is healthy again.
    Heal(usize),
}

/// A fault of a disk.
#[derive(Clone, Copy, Debug)]
pub enum DiskFault {
    Slow,
    /// It fails this many of a hundred I/Os.
    Fails(u32),
    Hangs,
}

/// The kinds of faults to choose from.
#[derive(Clone, Copy)]
enum Kind {
    Partition,
    Jumbo,
    Mtu,
    Interface,
    Crash,
    Pause,
    Lie,
    Add,
    Freeze,
    IoTimeout,
    Die,
    Suspend,
}

/// The most lives of all clients together.
const LIVES: usize = 24;

impl World {
    pub fn later(&mut self, delay_ns: u64, trouble: Trouble) {
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::Trouble(trouble)));
    }

    /// A running client, if there is one.
    fn any_client(&mut self) -> usize {
        let living = self.clients.iter().enumerate();
        let living: Vec<usize> = living
            .filter(|(_, one)| !one.is_dead)
            .map(|(n, _)| n)
            .collect();
        let chosen = self.ctx.rng.random_range(0..living.len().max(1));
        living.get(chosen).copied().unwrap_or(0)
    }

    /// Draws how long a fault lasts.
    fn while_ns(&mut self) -> u64 {
        let rng = &mut self.ctx.rng;
        match rng.random_range(0..10) {
            0..4 => rng.random_range(0..100 * MS),
            4..8 => rng.random_range(0..2 * S),
            _ => rng.random_range(0..20 * S),
        }
    }

    /// The network becomes rough or undisturbed, for a while.
    pub fn change_links(&mut self) {
        if self.is_calm || self.ctx.put_off(WorldEvent::ChangeLinks) {
            return;
        }
        let now_ns = self.ctx.now_ns;
        let rough = self.ctx.rng.random_bool(0.6);
        self.ctx.note(|| format!("rough: {rough}"));
        self.ctx.network.set_rough(now_ns, rough);
        let delay_ns = self.ctx.rng.random_range(200 * MS..8 * S);
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::ChangeLinks));
    }

    /// Begins a fault of a disk, and schedules the next one.
    pub fn inject_disk_fault(&mut self) {
        let Some(scenario) = self.ctx.scenario.disk.filter(|_| !self.is_calm) else {
            return;
        };
        if self.ctx.put_off(WorldEvent::InjectDiskFault) {
            return;
        }
        let delay_ns = self.ctx.rng.random_range(0..2 * scenario.trouble_ns);
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::InjectDiskFault));
        let client = self.any_client();
        let lasts_ns = self.while_ns();
        let rng = &mut self.ctx.rng;
        let fault = match rng.random_range(0..6) {
            0 if scenario.slow => DiskFault::Slow,
            1 if scenario.fail => {
                DiskFault::Fails([5, 50, 100].choose(rng).copied().unwrap_or_default())
            }
            2 if scenario.hang => DiskFault::Hangs,
            3 if scenario.detach => {
                let force = self.ctx.draw_maintenance(2) == 0;
                let event = ClientEvent::Local(LocalEvent::Detach(force));
                self.ctx.after(0, Event::Client(client, event));
                return;
            }
            4 if scenario.configure => {
                self.ctx.counts.fault(Fault::DiskConfigured);
                let policies = [Policy::Lag, Policy::Strict, Policy::Off];
                let mut config = scenario.config;
                let rng = &mut self.ctx.rng;
                config.policy = policies.choose(rng).copied().unwrap_or_default();
                let event = ClientEvent::Local(LocalEvent::Configure(config));
                self.ctx.after(0, Event::Client(client, event));
                return;
            }
            _ => return,
        };
        self.trouble(Trouble::Disk(client, fault));
        self.later(lasts_ns, Trouble::Heal(client));
    }

    /// Begins a fault of a host's clock, and schedules the next one. Drawn from separate random numbers.
    pub fn inject_clock_fault(&mut self) {
        let enabled = self.ctx.scenario.enabled;
        let is_off = self.is_calm || !(enabled.clock_steps || enabled.sleep);
        if is_off || self.ctx.put_off(WorldEvent::InjectClockFault) {
            return;
        }
        let trouble_ns = self.ctx.scenario.trouble_ns;
        let delay_ns = S + self.ctx.draw_clock(4 * trouble_ns);
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::InjectClockFault));
        let (clients, servers) = (self.clients.len(), self.servers.len());
        // CAST: few.
        let client = self.ctx.draw_clock(clients as u64) as usize;
        let server = self.ctx.draw_clock(servers as u64) as usize;
        let most_ns = [4 * S, 20 * S, 600 * S, 5 * 3600 * S][self.ctx.draw_clock(4) as usize];
        let time_ns = S / 2 + self.ctx.draw_clock(most_ns);
        let trouble = match self.ctx.draw_clock(3) {
            0 if enabled.sleep => Trouble::Sleep(client, time_ns % (10 * S)),
            1 if enabled.clock_steps => Trouble::StepClock(Node::Client(client), time_ns),
            2 if enabled.clock_steps => Trouble::StepClock(Node::Server(server), time_ns),
            _ => return,
        };
        self.trouble(trouble);
    }

    /// Removes a server, perhaps adds it again, and schedules the next removal. Drawn from separate random
    /// numbers.
    pub fn inject_maintenance(&mut self) {
        let is_off = self.is_calm || !self.ctx.scenario.enabled.remove;
        if is_off || self.ctx.put_off(WorldEvent::InjectMaintenance) {
            return;
        }
        let trouble_ns = self.ctx.scenario.trouble_ns;
        let delay_ns = MS + self.ctx.draw_maintenance(4 * trouble_ns);
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::InjectMaintenance));
        let (clients, servers) = (self.clients.len(), self.servers.len());
        // CAST: few.
        let client = self.ctx.draw_maintenance(clients as u64) as usize;
        let server = self.ctx.draw_maintenance(servers as u64) as usize;
        let mac = self.servers[server].mac;
        let how = match self.ctx.draw_maintenance(10) {
            0..6 => How::Drained,
            6..9 => How::AtOnce,
            _ => How::Regardless,
        };
        let added_ns = &self.clients[client].added_ns;
        let is_last = added_ns.len() <= 1 || !added_ns.contains_key(&mac);
        if is_last && how == How::Regardless {
            return;
        }
        self.ctx
            .after(0, Event::Client(client, ClientEvent::Remove(mac, how)));
        let lasts_ns = match self.ctx.draw_maintenance(8) {
            0 => return,
            1..4 => self.ctx.draw_maintenance(100 * MS),
            _ => self.ctx.draw_maintenance(8 * S),
        };
        self.ctx
            .after(lasts_ns, Event::Client(client, ClientEvent::Add(mac)));
    }

    /// Begins a fault, and schedules the next one.
    pub fn inject_fault(&mut self) {
        if self.is_calm || self.ctx.put_off(WorldEvent::InjectFault) {
            return;
        }
        let trouble_ns = self.ctx.scenario.trouble_ns;
        let delay_ns = self.ctx.rng.random_range(0..2 * trouble_ns);
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::InjectFault));
        let enabled = self.ctx.scenario.enabled;
        let kinds: Vec<Kind> = [
            (enabled.partition, Kind::Partition),
            (enabled.jumbo_limit, Kind::Jumbo),
            (enabled.mtu_change, Kind::Mtu),
            (enabled.interface, Kind::Interface),
            (enabled.crash, Kind::Crash),
            (enabled.pause, Kind::Pause),
            (enabled.lie, Kind::Lie),
            (enabled.add, Kind::Add),
            (enabled.freeze, Kind::Freeze),
            (enabled.io_timeout, Kind::IoTimeout),
            (enabled.rebirth, Kind::Die),
            (enabled.suspend, Kind::Suspend),
        ]
        .iter()
        .filter(|(enabled, _)| *enabled)
        .map(|(_, kind)| *kind)
        .collect();
        let Some(kind) = kinds.choose(&mut self.ctx.rng) else {
            return;
        };
        let server = self.ctx.rng.random_range(0..self.servers.len());
        let client = self.any_client();
        let lasts_ns = self.while_ns();
        match kind {
            Kind::Partition => self.inject_partition(client, server, lasts_ns),
            Kind::Jumbo => {
                let lengths = [1500, 1500, 4000, 1400, 1000, 600];
                let longest = lengths.choose(&mut self.ctx.rng).copied();
                let longest = longest.unwrap_or(1500);
                let fault = match longest < 1500 {
                    true => Fault::NarrowLimit,
                    false => Fault::JumboLimit,
                };
                self.ctx.counts.fault(fault);
                self.trouble(Trouble::Longest(longest));
                self.later(lasts_ns, Trouble::Longest(usize::MAX));
            }
            Kind::Mtu => {
                self.ctx.counts.fault(Fault::MtuChanged);
                let mtu = [1500, 9000, 700, 4300].choose(&mut self.ctx.rng).copied();
                let event = ClientEvent::SetMtu(mtu.unwrap_or(1500));
                self.ctx.after(0, Event::Client(client, event));
            }
            Kind::Interface => {
                self.trouble(Trouble::Interface(client, false));
                self.later(lasts_ns, Trouble::Interface(client, true));
            }
            Kind::Crash => {
                // Rare enough that there are pages to lose.
                if self.servers[server].is_alive() && self.ctx.rng.random_bool(0.5) {
                    self.trouble(Trouble::Crash(server));
                    self.later(lasts_ns, Trouble::Start(server));
                }
            }
            Kind::Pause => {
                self.trouble(Trouble::Pause(server));
                self.later(lasts_ns, Trouble::Resume(server));
            }
            Kind::Suspend => {
                self.trouble(Trouble::Suspend(server));
                self.later(lasts_ns, Trouble::Resume(server));
            }
            Kind::Lie => {
                let free_pages = [0, 1, u64::MAX].choose(&mut self.ctx.rng).copied();
                self.trouble(Trouble::Lie(server, free_pages));
                self.later(lasts_ns, Trouble::Lie(server, None));
            }
            Kind::Add => {
                let mac = self.servers[server].mac;
                if !self.clients[client].added_ns.contains_key(&mac) {
                    self.ctx.counts.fault(Fault::ServerAdded);
                    let event = ClientEvent::Add(mac);
                    self.ctx.after(0, Event::Client(client, event));
                }
            }
            Kind::Freeze => self.inject_freeze(client, lasts_ns),
            Kind::Die => {
                // Rare enough that there are pages to lose, and that there are numbers for all lives.
                if self.clients.len() < LIVES && self.ctx.rng.random_bool(0.3) {
                    self.trouble(Trouble::Die(client));
                    self.later(lasts_ns, Trouble::Restart(client));
                }
            }
            Kind::IoTimeout => {
                let io_timeout_s = [1, 2, 10, 60].choose(&mut self.ctx.rng).copied();
                self.trouble(Trouble::IoTimeout(io_timeout_s.unwrap_or(1)));
            }
        }
    }

    fn inject_freeze(&mut self, client: usize, lasts_ns: u64) {
        let leases_ns = 3 * u64::from(self.ctx.scenario.lease_s) * S;
        let is_long = leases_ns < 10 * S && self.ctx.rng.random_bool(0.3);
        if is_long {
            self.ctx.counts.fault(Fault::StoodThreeLeases);
        }
        let lasts_ns = match is_long {
            true => leases_ns + lasts_ns % S,
            false => lasts_ns,
        };
        self.trouble(Trouble::Freeze(client, lasts_ns));
    }

    fn inject_partition(&mut self, client: usize, server: usize, lasts_ns: u64) {
        let clients: Vec<usize> = match self.ctx.rng.random_bool(0.7) {
            true => vec![client],
            false => (0..self.clients.len()).collect(),
        };
        let servers: Vec<usize> = match self.ctx.rng.random_bool(0.7) {
            true => vec![server],
            false => (0..self.servers.len()).collect(),
        };
        let direction = self.ctx.rng.random_range(0..4);
        self.ctx.counts.fault(match direction {
            0 | 1 => Fault::PartitionOneWay,
            _ => Fault::Partition,
        });
        let mut ways = Vec::new();
        for &client in &clients {
            for &server in &servers {
                let (client, server) = (Node::Client(client), Node::Server(server));
                if direction != 0 {
                    ways.push((client, server));
                }
                if direction != 1 {
                    ways.push((server, client));
                }
            }
        }
        self.trouble(Trouble::Block(ways.clone(), true));
        self.later(lasts_ns, Trouble::Block(ways, false));
    }

    /// Carries out the beginning or the end of a fault.
    pub fn trouble(&mut self, trouble: Trouble) {
        let ctx = &mut self.ctx;
        let now_ns = ctx.now_ns;
        ctx.note(|| format!("trouble: {trouble:?}"));
        match trouble {
            Trouble::Block(ways, blocked) => {
                for (from, to) in ways {
                    ctx.network.set_blocked(now_ns, from, to, blocked);
                }
            }
            Trouble::Longest(longest) => {
                if !self.is_calm {
                    ctx.network.set_longest(now_ns, longest);
                }
            }
            Trouble::Crash(server) => {
                ctx.counts.fault(Fault::ServerCrashed);
                self.servers[server].crash(ctx);
            }
            Trouble::Start(server) => {
                if !self.servers[server].is_alive() {
                    ctx.counts.fault(Fault::ServerRestarted);
                    self.servers[server].start(ctx);
                }
            }
            Trouble::Pause(server) => {
                if self.servers[server].is_alive() {
                    ctx.counts.fault(Fault::ServerPaused);
                    self.servers[server].pause();
                }
            }
            Trouble::Suspend(server) => {
                let state = &mut self.servers[server];
                if state.is_alive() && !state.is_paused() {
                    ctx.counts.fault(Fault::ServerSuspended);
                    state.suspend(ctx);
                }
            }
            Trouble::Resume(server) => {
                if self.servers[server].is_paused() {
                    self.servers[server].resume(ctx);
                }
            }
            Trouble::PutBack(server) => self.put_back(server),
            Trouble::Lie(server, free_pages) => self.servers[server].set_lie(free_pages),
            Trouble::IoTimeout(io_timeout_s) => {
                ctx.counts.fault(Fault::IoTimeoutChanged);
                for client in &self.clients {
                    client.device.set_io_timeout_ns(io_timeout_s * S);
                }
                ctx.scenario.io_timeout_s = io_timeout_s as u32;
                ctx.oracle.set_io_timeout(now_ns, io_timeout_s * S);
            }
            Trouble::Die(client) => self.die(client),
            Trouble::Restart(client) => self.restart(client),
            Trouble::Disk(client, fault) => {
                if let Some(local) = &mut self.clients[client].local {
                    match fault {
                        DiskFault::Slow => local.disk.slow(),
                        DiskFault::Fails(failing) => local.disk.fail(failing),
                        DiskFault::Hangs => local.disk.hang(),
                    }
                }
            }
            Trouble::Heal(client) => {
                if let Some(local) = &mut self.clients[client].local {
                    for (id, delay_ns) in local.disk.heal(ctx) {
                        let event = ClientEvent::Local(LocalEvent::Ended(id));
                        ctx.after(delay_ns, Event::Client(client, event));
                    }
                    let event = ClientEvent::Local(LocalEvent::ReAdd);
                    ctx.after(S, Event::Client(client, event));
                }
            }
            Trouble::Interface(client, is_up) => {
                if !is_up {
                    ctx.counts.fault(Fault::InterfaceDown);
                }
                let state = &mut self.clients[client];
                if is_up && !state.is_up {
                    state.mtu_set_ns = now_ns;
                }
                // This does not depend on whether the client is stopped.
                state.is_up = is_up;
                ctx.after(0, Event::Client(client, ClientEvent::Kick));
            }
            Trouble::Sleep(client, lasts_ns) => {
                let state = &mut self.clients[client];
                if !state.is_dead && state.frozen_until_ns <= now_ns {
                    ctx.counts.fault(Fault::ClientSuspended);
                    let until_ns = now_ns + lasts_ns;
                    state.frozen_until_ns = until_ns;
                    state.suspend(ctx, until_ns);
                    ctx.oracle.freeze(now_ns, client, until_ns);
                }
            }
            Trouble::StepClock(Node::Client(client), by_ns) => {
                ctx.counts.fault(Fault::ClockStepped);
                self.clients[client].step_clock(ctx, by_ns);
                ctx.oracle.step_clock(now_ns, client);
            }
            Trouble::StepClock(Node::Server(server), by_ns) => {
                ctx.counts.fault(Fault::ClockStepped);
                self.servers[server].step_clock(ctx, by_ns);
            }
            Trouble::Freeze(client, lasts_ns) => {
                ctx.counts.fault(Fault::ClientFrozen);
                let frozen_until_ns = &mut self.clients[client].frozen_until_ns;
                let until_ns = (*frozen_until_ns).max(now_ns + lasts_ns);
                *frozen_until_ns = until_ns;
                ctx.oracle.freeze(now_ns, client, until_ns);
            }
        }
    }

    /// Ends all faults. The switch may still drop long frames, and a server may stay away.
    pub fn calm(&mut self) {
        let now_ns = self.ctx.now_ns;
        self.ctx.network.set_rough(now_ns, false);
        for client in 0..self.clients.len() {
            for server in 0..self.servers.len() {
                let (client, server) = (Node::Client(client), Node::Server(server));
                self.ctx.network.set_blocked(now_ns, client, server, false);
                self.ctx.network.set_blocked(now_ns, server, client, false);
            }
        }
        for client in 0..self.clients.len() {
            self.trouble(Trouble::Heal(client));
            self.trouble(Trouble::Interface(client, true));
        }
        for server in 0..self.servers.len() {
            self.trouble(Trouble::Resume(server));
            self.trouble(Trouble::Lie(server, None));
        }
    }
}
