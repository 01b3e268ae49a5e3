// SPDX-License-Identifier: GPL-2.0

//! Draws faults, and plans when they begin and end.

use anemone::wire::Fragmentation;

use super::*;
use crate::client::overhead;

impl World {
    /// Begins a fault of a disk, and schedules the next one.
    pub fn inject_disk_fault(&mut self) {
        let Some(scenario) = self.ctx.scenario.disk.filter(|_| !self.is_calm) else {
            return;
        };
        if self.ctx.put_off(WorldEvent::InjectDiskFault) {
            return;
        }
        let delay_ns = self.ctx.rng.random_range(0..2 * scenario.disturbance_ns);
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
        self.disturb(Disturbance::Disk(client, fault));
        self.later(lasts_ns, Disturbance::Heal(client));
    }

    /// Begins a fault of a host's clock, and schedules the next one. Drawn from separate random numbers.
    pub fn inject_clock_fault(&mut self) {
        let enabled = self.ctx.scenario.enabled;
        let is_off = self.is_calm || !(enabled.clock_steps || enabled.sleep);
        if is_off || self.ctx.put_off(WorldEvent::InjectClockFault) {
            return;
        }
        let disturbance_ns = self.ctx.scenario.disturbance_ns;
        let delay_ns = S + self.ctx.draw_clock(4 * disturbance_ns);
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::InjectClockFault));
        let (clients, servers) = (self.clients.len(), self.servers.len());
        // CAST: few.
        let client = self.ctx.draw_clock(clients as u64) as usize;
        let server = self.ctx.draw_clock(servers as u64) as usize;
        let most_ns = [4 * S, 20 * S, 600 * S, 5 * 3600 * S][self.ctx.draw_clock(4) as usize];
        let time_ns = S / 2 + self.ctx.draw_clock(most_ns);
        let disturbance = match self.ctx.draw_clock(3) {
            0 if enabled.sleep => Disturbance::Sleep(client, time_ns % (10 * S)),
            1 if enabled.clock_steps => Disturbance::StepClock(Node::Client(client), time_ns),
            2 if enabled.clock_steps => Disturbance::StepClock(Node::Server(server), time_ns),
            _ => return,
        };
        self.disturb(disturbance);
    }

    /// Removes a server, perhaps adds it again, and schedules the next removal. Drawn from separate random
    /// numbers.
    pub fn inject_maintenance(&mut self) {
        let is_off = self.is_calm || !self.ctx.scenario.enabled.remove;
        if is_off || self.ctx.put_off(WorldEvent::InjectMaintenance) {
            return;
        }
        let disturbance_ns = self.ctx.scenario.disturbance_ns;
        let delay_ns = MS + self.ctx.draw_maintenance(4 * disturbance_ns);
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::InjectMaintenance));
        let (clients, servers) = (self.clients.len(), self.servers.len());
        // CAST: few.
        let client = self.ctx.draw_maintenance(clients as u64) as usize;
        let server = self.ctx.draw_maintenance(servers as u64) as usize;
        let mac = self.servers[server].mac;
        let mode = match self.ctx.draw_maintenance(10) {
            0..6 => RemovalMode::Drained,
            6..9 => RemovalMode::AtOnce,
            _ => RemovalMode::Regardless,
        };
        let added_ns = &self.clients[client].added_ns;
        let is_last = added_ns.len() <= 1 || !added_ns.contains_key(&mac);
        if is_last && mode == RemovalMode::Regardless {
            return;
        }
        self.ctx
            .after(0, Event::Client(client, ClientEvent::Remove(mac, mode)));
        let lasts_ns = match self.ctx.draw_maintenance(8) {
            0 => return,
            1..4 => self.ctx.draw_maintenance(100 * MS),
            _ => self.ctx.draw_maintenance(8 * S),
        };
        self.ctx
            .after(lasts_ns, Event::Client(client, ClientEvent::Add(mac)));
    }

    /// Something happens to a client's host. Schedules the next time. Drawn from separate random numbers.
    pub fn inject_host_fault(&mut self) {
        let enabled = self.ctx.scenario.enabled;
        let is_off = self.is_calm || !enabled.any_of_host();
        if is_off || self.ctx.put_off(WorldEvent::InjectHostFault) {
            return;
        }
        let delay_ns = 100 * MS + self.ctx.draw_host(8 * self.ctx.scenario.disturbance_ns);
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::InjectHostFault));
        // CAST: few.
        let client = self.ctx.draw_host(self.clients.len() as u64) as usize;
        let lasts_ns = self.ctx.draw_host(4 * S);
        let may_go = self.clients.len() < LIVES;
        let disturbance = match self.ctx.draw_host(3) {
            _ if self.clients[client].is_dead => return,
            0 if enabled.take_disk => Disturbance::TakeDisk(client),
            1 if enabled.reload && may_go => {
                self.inject_unload(client);
                return;
            }
            2 if enabled.hibernate => Disturbance::Hibernate(client, lasts_ns),
            _ => return,
        };
        self.disturb(disturbance);
    }

    /// Unloads a client's module, half of the time with a disk that has not answered for a while.
    fn inject_unload(&mut self, client: usize) {
        let may_hang = self.ctx.scenario.disk.is_some_and(|disk| disk.hang);
        let mut delay_ns = 0;
        if may_hang && self.ctx.draw_host(2) == 0 {
            delay_ns = self.ctx.draw_host(500 * MS);
            let lasts_ns = self.ctx.draw_host(20 * S);
            self.disturb(Disturbance::Disk(client, DiskFault::Hangs));
            self.later(lasts_ns, Disturbance::Heal(client));
        }
        self.later(delay_ns, Disturbance::Unload(client));
    }

    /// Begins a fault, and schedules the next one.
    pub fn inject_fault(&mut self) {
        if self.is_calm || self.ctx.put_off(WorldEvent::InjectFault) {
            return;
        }
        let disturbance_ns = self.ctx.scenario.disturbance_ns;
        let delay_ns = self.ctx.rng.random_range(0..2 * disturbance_ns);
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
                let least = Fragmentation::MIN_MTU + overhead(&self.ctx.scenario);
                let lengths = [1500, 1500, 4000, 1400, 1000, least];
                let longest = lengths.choose(&mut self.ctx.rng).copied();
                let longest = longest.unwrap_or(1500);
                let fault = match longest < 1500 {
                    true => Fault::NarrowLimit,
                    false => Fault::JumboLimit,
                };
                self.ctx.counts.fault(fault);
                self.disturb(Disturbance::Longest(longest));
                self.later(lasts_ns, Disturbance::Longest(usize::MAX));
            }
            Kind::Mtu => {
                self.ctx.counts.fault(Fault::MtuChanged);
                let mtu = [1500, 9000, 700, 4300].choose(&mut self.ctx.rng).copied();
                let event = ClientEvent::SetMtu(mtu.unwrap_or(1500));
                self.ctx.after(0, Event::Client(client, event));
            }
            Kind::Interface => {
                self.disturb(Disturbance::Interface(client, false));
                self.later(lasts_ns, Disturbance::Interface(client, true));
            }
            Kind::Crash => {
                // Rare enough that there are pages to lose.
                if self.servers[server].is_alive() && self.ctx.rng.random_bool(0.5) {
                    self.disturb(Disturbance::Crash(server));
                    self.later(lasts_ns, Disturbance::Start(server));
                }
            }
            Kind::Pause => {
                self.disturb(Disturbance::Pause(server));
                self.later(lasts_ns, Disturbance::Resume(server));
            }
            Kind::Suspend => {
                self.disturb(Disturbance::Suspend(server));
                self.later(lasts_ns, Disturbance::Resume(server));
            }
            Kind::Lie => {
                let free_pages = [0, 1, u64::MAX].choose(&mut self.ctx.rng).copied();
                self.disturb(Disturbance::Lie(server, free_pages));
                self.later(lasts_ns, Disturbance::Lie(server, None));
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
                    self.disturb(Disturbance::Die(client));
                    self.later(lasts_ns, Disturbance::Restart(client));
                }
            }
            Kind::IoTimeout => {
                let io_timeout_s = [1, 2, 10, 60].choose(&mut self.ctx.rng).copied();
                self.disturb(Disturbance::IoTimeout(io_timeout_s.unwrap_or(1)));
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
        self.disturb(Disturbance::Freeze(client, lasts_ns));
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
        self.disturb(Disturbance::Block(ways.clone(), true));
        self.later(lasts_ns, Disturbance::Block(ways, false));
    }
}
