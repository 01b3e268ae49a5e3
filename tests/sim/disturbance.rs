// SPDX-License-Identifier: GPL-2.0

//! Faults outside the stations, and their ends.

mod inject;

use rand::seq::IndexedRandom;
use rand::Rng;

use anemone::engine::client::maintenance::removal::RemovalMode;
use anemone::engine::client::mirror::Policy;

use crate::client::{ClientEvent, LocalEvent};
use crate::event::{Event, Node};
use crate::faults::Fault;
use crate::scenario::{MS, S};
use crate::world::{World, WorldEvent};

/// The beginning or the end of a fault.
#[derive(Clone, Debug)]
pub enum Disturbance {
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
    /// A server is rolled back.
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
    /// A client's disk is taken out of its machine.
    TakeDisk(usize),
    /// A client's module is to be unloaded.
    Unload(usize),
    /// A client's host is about to hibernate, and to be without power for this long.
    Hibernate(usize, u64),
    /// Its image is made.
    MakeImage(usize, u64),
    /// It has no power for this long.
    PowerOff(usize, u64),
    /// It runs again.
    EndHibernation(usize),
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
    pub fn later(&mut self, delay_ns: u64, disturbance: Disturbance) {
        self.ctx
            .after(delay_ns, Event::World(WorldEvent::Disturbance(disturbance)));
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

    /// Carries out the beginning or the end of a fault.
    pub fn disturb(&mut self, disturbance: Disturbance) {
        let ctx = &mut self.ctx;
        let now_ns = ctx.now_ns;
        ctx.note(|| format!("disturbance: {disturbance:?}"));
        match disturbance {
            Disturbance::Block(ways, blocked) => {
                for (from, to) in ways {
                    ctx.network.set_blocked(now_ns, from, to, blocked);
                }
            }
            Disturbance::Longest(longest) => {
                if !self.is_calm {
                    ctx.network.set_longest(now_ns, longest);
                }
            }
            Disturbance::Crash(server) => {
                ctx.counts.fault(Fault::ServerCrashed);
                self.servers[server].crash(ctx);
            }
            Disturbance::Start(server) => {
                if !self.servers[server].is_alive() {
                    ctx.counts.fault(Fault::ServerRestarted);
                    self.servers[server].start(ctx);
                }
            }
            Disturbance::Pause(server) => {
                if self.servers[server].is_alive() {
                    ctx.counts.fault(Fault::ServerPaused);
                    self.servers[server].pause();
                }
            }
            Disturbance::Suspend(server) => {
                let state = &mut self.servers[server];
                if state.is_alive() && !state.is_paused() {
                    ctx.counts.fault(Fault::ServerSuspended);
                    state.suspend(ctx);
                }
            }
            Disturbance::Resume(server) => {
                if self.servers[server].is_paused() {
                    self.servers[server].resume(ctx);
                }
            }
            Disturbance::PutBack(server) => self.put_back(server),
            Disturbance::Lie(server, free_pages) => self.servers[server].set_lie(free_pages),
            Disturbance::IoTimeout(io_timeout_s) => {
                ctx.counts.fault(Fault::IoTimeoutChanged);
                for client in &self.clients {
                    client.device.set_io_timeout_ns(io_timeout_s * S);
                }
                ctx.scenario.io_timeout_s = io_timeout_s as u32;
                ctx.oracle.set_io_timeout(now_ns, io_timeout_s * S);
            }
            Disturbance::Die(client) => self.die(client),
            Disturbance::Restart(client) => self.restart(client),
            Disturbance::Disk(client, fault) => {
                let local = self.clients[client].local.as_mut();
                if let Some(local) = local.filter(|local| !local.disk.is_gone()) {
                    match fault {
                        DiskFault::Slow => local.disk.slow(),
                        DiskFault::Fails(failing) => local.disk.fail(failing),
                        DiskFault::Hangs => local.disk.hang(),
                    }
                }
            }
            Disturbance::Heal(client) => {
                if let Some(local) = &mut self.clients[client].local {
                    for (id, delay_ns) in local.disk.heal(ctx) {
                        let event = ClientEvent::Local(LocalEvent::Ended(id));
                        ctx.after(delay_ns, Event::Client(client, event));
                    }
                    let event = ClientEvent::Local(LocalEvent::ReAdd);
                    ctx.after(S, Event::Client(client, event));
                }
            }
            Disturbance::TakeDisk(client) => self.clients[client].take_disk(ctx),
            Disturbance::Unload(client) => self.clients[client].begin_unload(ctx),
            Disturbance::Hibernate(client, lasts_ns) => self.begin_hibernation(client, lasts_ns),
            Disturbance::MakeImage(client, lasts_ns) => self.make_image(client, lasts_ns),
            Disturbance::PowerOff(client, lasts_ns) => self.power_off(client, lasts_ns),
            Disturbance::EndHibernation(client) => self.end_hibernation(client),
            Disturbance::Interface(client, is_up) => {
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
            Disturbance::Sleep(client, lasts_ns) => {
                let state = &mut self.clients[client];
                if !state.is_dead && state.frozen_until_ns <= now_ns {
                    ctx.counts.fault(Fault::ClientSuspended);
                    let until_ns = now_ns + lasts_ns;
                    state.frozen_until_ns = until_ns;
                    state.suspend(ctx, until_ns);
                    ctx.oracle.freeze(now_ns, client, until_ns);
                }
            }
            Disturbance::StepClock(Node::Client(client), by_ns) => {
                ctx.counts.fault(Fault::ClockStepped);
                self.clients[client].step_clock(ctx, by_ns);
                ctx.oracle.step_clock(now_ns, client);
            }
            Disturbance::StepClock(Node::Server(server), by_ns) => {
                ctx.counts.fault(Fault::ClockStepped);
                self.servers[server].step_clock(ctx, by_ns);
            }
            Disturbance::Freeze(client, lasts_ns) => {
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
            self.disturb(Disturbance::Heal(client));
            self.disturb(Disturbance::Interface(client, true));
        }
        for server in 0..self.servers.len() {
            self.disturb(Disturbance::Resume(server));
            self.disturb(Disturbance::Lie(server, None));
        }
    }
}
