// SPDX-License-Identifier: GPL-2.0

//! One run: load and faults, then a calm phase, and at the end every page is read.

mod witness;

use anemone::engine::client::mirror::Policy;
use anemone::wire::MacAddress;

use crate::client::{Client, ClientEvent, LocalEvent};
use crate::content::{Bytes, Content};
use crate::context::Context;
use crate::course::Course;
use crate::disturbance::Disturbance;
use crate::event::{Event, Node};
use crate::faults::{Counts, Fault};
use crate::full::{Fullness, DEATH_NS, FULL_AFTER_DEATH_NS, FULL_NS, IN_THE_WAY_NS};
use crate::network::Network;
use crate::night::Night;
use crate::oracle::{Claim, Ending, Evidence};
use crate::rewound::Rewound;
use crate::scenario::{Simplify, MS, S};
use crate::server::{Copy, SimServer};
use witness::Witness;

/// When programs begin requests.
const LOAD_NS: u64 = 10 * MS;

/// An event outside the stations.
#[derive(Debug)]
pub enum WorldEvent {
    /// The network becomes rough or undisturbed.
    ChangeLinks,
    /// A fault begins.
    InjectFault,
    /// A fault of a disk begins.
    InjectDiskFault,
    /// A fault of a host's clock begins.
    InjectClockFault,
    /// A server is removed.
    InjectMaintenance,
    /// Something happens to a client's host.
    InjectHostFault,
    /// A fault begins or ends.
    Disturbance(Disturbance),
    /// Programs become idle.
    Night,
    /// A frame that was sent hours ago is delivered.
    ComeLate,
    /// Programs begin requests again.
    Dawn,
    /// Programs that fill the servers begin or end.
    ToggleDemand,
    /// Check that no request waits for too long.
    Watch,
    /// Load and faults end.
    Calm,
    /// Read all pages, as many as ops are free.
    ReadAll,
    /// Check the pages that are left on the servers.
    Finish,
    /// All requests have ended, or never will.
    End,
}

/// The parts of a world that the oracle may read. The oracle is itself a part of the world.
macro_rules! witness {
    ($world:expr) => {
        Witness {
            now_ns: $world.ctx.now_ns,
            clients: &$world.clients,
            servers: &$world.servers,
            network: &$world.ctx.network,
            seals: &$world.ctx.seals,
            lease_ended_ns: $world.lease_ended_ns,
            dead_ns: $world.ctx.scenario.dead_ns(),
            rewound: &$world.rewound,
            opening_ns: $world.ctx.scenario.opening_ns(),
            admits_all: $world.clients.len() <= usize::from($world.ctx.scenario.max_clients),
        }
    };
}

/// The result of a run.
pub struct Report {
    pub counts: Counts,
    /// How the contract was broken, if it was.
    pub failure: Option<String>,
    /// The last events.
    pub trace: Vec<String>,
}

/// The whole state of a run.
pub struct World {
    pub ctx: Context,
    pub clients: Vec<Client>,
    pub servers: Vec<SimServer>,
    /// When the last lease was ended.
    pub lease_ended_ns: Option<u64>,
    /// Pages still to be read at the end, for each client.
    to_read: Option<Vec<Vec<u32>>>,
    is_over: bool,
    is_unloaded: bool,
    /// Whether the faults have ended.
    pub is_calm: bool,
    /// Since when servers have been full.
    pub fullness: Fullness,
    /// The server that was rolled back, and the pages that it lost.
    pub rewound: Rewound,
    /// Whether a crowd's restarted server is as full as the others.
    pub has_caught_up: bool,
}

/// Runs a seed with a simplified scenario. With `traced` the last events are kept.
pub fn run(seed: u64, simpler: &[Simplify], traced: bool) -> Report {
    let mut world = World::new(seed, simpler, traced);
    world.begin();
    world.live();
    let World { ctx, .. } = world;
    let mut counts = ctx.counts;
    counts.simulated_ns = ctx.now_ns;
    counts.grounds = ctx.oracle.grounds.clone();
    Report {
        counts,
        failure: ctx.oracle.failure().map(str::to_owned),
        trace: ctx.trace.into_lines(),
    }
}

impl World {
    fn new(seed: u64, simpler: &[Simplify], traced: bool) -> Self {
        let mut ctx = Context::new(seed, simpler, traced);
        let clients = (0..ctx.scenario.clients)
            .map(|number| Client::new(number, &mut ctx))
            .collect();
        let servers = 0..ctx.scenario.servers;
        let servers = servers
            .map(|number| SimServer::new(number, ctx.drift()))
            .collect();
        Self {
            ctx,
            clients,
            servers,
            lease_ended_ns: None,
            to_read: None,
            is_over: false,
            is_unloaded: false,
            is_calm: false,
            fullness: Fullness::default(),
            rewound: Rewound::default(),
            has_caught_up: false,
        }
    }

    fn begin(&mut self) {
        let ctx = &mut self.ctx;
        for (number, server) in self.servers.iter_mut().enumerate() {
            ctx.network.plug(server.mac, Node::Server(number));
            server.start(ctx);
        }
        for number in 0..self.clients.len() {
            self.begin_client(number);
        }
        let ctx = &mut self.ctx;
        if let Some(disk) = ctx.scenario.disk {
            for number in 0..self.clients.len() {
                let event = ClientEvent::Local(LocalEvent::Attach);
                ctx.after(0, Event::Client(number, event));
            }
            ctx.after(
                disk.disturbance_ns,
                Event::World(WorldEvent::InjectDiskFault),
            );
        }
        if ctx.scenario.course == (Course::Crowd { restart: true }) {
            self.later(2 * S, Disturbance::Crash(0));
            self.later(2 * S + 100 * MS, Disturbance::Start(0));
        }
        if self.ctx.scenario.course == Course::Rewound {
            self.later(self.ctx.scenario.active_ns / 2, Disturbance::PutBack(0));
        }
        let ctx = &mut self.ctx;
        if let Course::Full { death } = ctx.scenario.course {
            let lasts_ns = if death { FULL_AFTER_DEATH_NS } else { FULL_NS };
            ctx.after(lasts_ns, Event::World(WorldEvent::ToggleDemand));
        }
        if ctx.scenario.course == (Course::Full { death: true }) {
            self.later(DEATH_NS, Disturbance::Die(0));
        }
        let ctx = &mut self.ctx;
        ctx.after(100 * MS, Event::World(WorldEvent::Watch));
        ctx.after(S, Event::World(WorldEvent::ChangeLinks));
        ctx.after(
            ctx.scenario.disturbance_ns,
            Event::World(WorldEvent::InjectFault),
        );
        let enabled = ctx.scenario.enabled;
        if enabled.clock_steps || enabled.sleep {
            let delay_ns = ctx.draw_clock(4 * ctx.scenario.disturbance_ns);
            ctx.after(delay_ns, Event::World(WorldEvent::InjectClockFault));
        }
        if enabled.remove {
            let delay_ns = 10 * MS + ctx.draw_maintenance(4 * ctx.scenario.disturbance_ns);
            ctx.after(delay_ns, Event::World(WorldEvent::InjectMaintenance));
        }
        if enabled.any_of_host() {
            let delay_ns = 100 * MS + ctx.draw_host(4 * ctx.scenario.disturbance_ns);
            ctx.after(delay_ns, Event::World(WorldEvent::InjectHostFault));
        }
        let active_ns = ctx.scenario.active_ns;
        match ctx.scenario.course {
            Course::Night => ctx.after(active_ns / 2, Event::World(WorldEvent::Night)),
            _ => ctx.after(active_ns, Event::World(WorldEvent::Calm)),
        }
    }

    /// Starts a client's interface and programs.
    fn begin_client(&mut self, number: usize) {
        let ctx = &mut self.ctx;
        let client = &self.clients[number];
        ctx.network.plug(client.mac, Node::Client(number));
        for server in &self.servers[..ctx.scenario.servers_at_first] {
            ctx.after(0, Event::Client(number, ClientEvent::Add(server.mac)));
        }
        ctx.after(LOAD_NS, Event::Client(number, ClientEvent::Load));
        ctx.after(0, Event::Client(number, ClientEvent::Kick));
    }

    /// A client's power fails: its pages on servers belong to no running client.
    pub fn die(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.is_dead {
            return;
        }
        self.ctx.counts.fault(Fault::ClientDied);
        self.end_life(number);
    }

    /// The life of a client is over.
    fn end_life(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.is_dead = true;
        client.done.clear();
        client.has_repaired = false;
        let mac = client.mac;
        self.ctx.oracle.forget_client(number);
        self.ctx.network.unplug(mac);
        for server in &mut self.servers {
            server.note_death(self.ctx.now_ns, mac);
        }
    }

    /// The client starts again. It keeps only its identity. The new life has another number, so that pages of
    /// the old life cannot be mistaken for the new one's.
    pub fn restart(&mut self, dead: usize) {
        let identity = self.clients[dead].identity;
        let mut lives = self.clients.iter();
        if lives.any(|client| client.identity == identity && !client.is_dead) || self.is_unloaded {
            return;
        }
        self.ctx.counts.fault(Fault::ClientReborn);
        let number = self.clients.len();
        let mut client = Client::with_identity(number, identity, &mut self.ctx);
        let is_night = self.ctx.night.as_ref().and_then(Night::until_ns).is_some();
        client.is_loaded = !self.is_calm && !is_night;
        self.clients.push(client);
        self.begin_client(number);
        if self.ctx.scenario.disk.is_some() {
            let event = ClientEvent::Local(LocalEvent::Attach);
            self.ctx.after(0, Event::Client(number, event));
        }
    }

    fn live(&mut self) {
        while !self.is_over && self.ctx.oracle.failure().is_none() {
            let Some((at_ns, event)) = self.ctx.queue.take() else {
                return;
            };
            self.ctx.now_ns = at_ns;
            let leases = self.ctx.counts.of(Fault::LeaseExpired);
            self.happen(event);
            if self.ctx.counts.of(Fault::LeaseExpired) != leases {
                self.lease_ended_ns = Some(at_ns);
            }
            self.judge();
        }
    }

    fn happen(&mut self, event: Event) {
        let ctx = &mut self.ctx;
        match event {
            Event::Deliver(Node::Client(number), wire) => {
                let client = &mut self.clients[number];
                if client.is_dead {
                } else if client.frozen_until_ns <= ctx.now_ns {
                    ctx.counts.frames += 1;
                    client.backlog = 0;
                    client.deliver(ctx, &wire);
                } else if client.takes_backlog(ctx.now_ns) {
                    let until_ns = client.frozen_until_ns;
                    ctx.queue
                        .put(until_ns, Event::Deliver(Node::Client(number), wire));
                }
            }
            Event::Deliver(Node::Server(number), wire) => {
                ctx.counts.frames += 1;
                self.servers[number].deliver(ctx, wire);
            }
            Event::Client(number, event) => {
                let client = &mut self.clients[number];
                if client.is_dead {
                } else if client.frozen_until_ns <= ctx.now_ns {
                    client.handle(ctx, event);
                } else {
                    let until_ns = client.frozen_until_ns;
                    ctx.queue.put(until_ns, Event::Client(number, event));
                }
            }
            Event::ServerTimer(number) => self.servers[number].handle_timer(ctx),
            Event::ServerFlush(number) => self.servers[number].flush(ctx),
            Event::World(event) => self.turn(event),
        }
    }

    fn turn(&mut self, event: WorldEvent) {
        let now_ns = self.ctx.now_ns;
        match event {
            WorldEvent::ChangeLinks => self.change_links(),
            WorldEvent::InjectFault => self.inject_fault(),
            WorldEvent::InjectDiskFault => self.inject_disk_fault(),
            WorldEvent::InjectClockFault => self.inject_clock_fault(),
            WorldEvent::InjectMaintenance => self.inject_maintenance(),
            WorldEvent::InjectHostFault => self.inject_host_fault(),
            WorldEvent::Night => self.fall_night(),
            WorldEvent::ComeLate => self.come_late(),
            WorldEvent::Dawn => self.dawn(),
            WorldEvent::ToggleDemand => self.toggle_demand(),
            WorldEvent::Disturbance(disturbance) => self.disturb(disturbance),
            WorldEvent::Watch => {
                self.ctx.oracle.check_waits(now_ns);
                if !self.is_unloaded {
                    self.audit(false);
                    for client in self.clients.iter_mut().filter(|client| !client.is_dead) {
                        client.check_draining(&mut self.ctx);
                    }
                    self.watch_crowd();
                    self.watch_full();
                }
                let is_night = self.ctx.night.as_ref().and_then(Night::until_ns).is_some();
                let delay_ns = match is_night {
                    true => 10 * S,
                    false => 100 * MS,
                };
                self.ctx.after(delay_ns, Event::World(WorldEvent::Watch));
            }
            WorldEvent::Calm => {
                self.ctx.note(|| "calm".into());
                self.is_calm = true;
                // The fragments that come while another CPU copies one are lost, and each page has several.
                self.ctx.scenario.enabled.slow_copy = false;
                self.calm();
                for client in &mut self.clients {
                    client.is_loaded = false;
                }
                let io_timeout_ns = u64::from(self.ctx.scenario.io_timeout_s) * S;
                let thawed = self.clients.iter().map(|client| client.frozen_until_ns);
                let from_ns = thawed.max().unwrap_or(0).max(now_ns);
                let at_ns = from_ns + io_timeout_ns.max(10 * S);
                self.ctx.queue.put(at_ns, Event::World(WorldEvent::ReadAll));
            }
            WorldEvent::ReadAll => self.read_all(),
            WorldEvent::Finish => {
                self.audit(true);
                self.audit_repair();
                self.audit_mirrors();
                self.audit_rewound();
                let mirrored = self.clients.iter().filter(|c| c.pages_mirrored() > 0);
                for _ in mirrored {
                    self.ctx.counts.fault(Fault::MirroredLater);
                }
                let repaired = self.clients.iter().map(Client::pages_repaired);
                self.ctx.counts.repaired += repaired.sum::<u64>();
                self.unload();
                self.ctx.after(S, Event::World(WorldEvent::End));
            }
            WorldEvent::End => {
                self.ctx.oracle.check_waits(now_ns);
                self.audit_disks_at_end();
                for client in self.clients.iter().filter(|client| !client.is_dead) {
                    if let Err(why) = client.check_counters(&self.ctx) {
                        self.ctx.oracle.fail(|| why);
                    }
                }
                self.is_over = true;
            }
        }
    }

    fn read_all(&mut self) {
        let ctx = &mut self.ctx;
        let is_going = |client: &Client| client.is_unloading && !client.is_dead;
        if self.clients.iter().any(is_going) {
            ctx.after(5 * MS, Event::World(WorldEvent::ReadAll));
            return;
        }
        let to_read = self.to_read.get_or_insert_with(|| {
            let clients = 0..self.clients.len();
            clients
                .map(|client| ctx.oracle.written_pages(client))
                .collect()
        });
        for (client, pages) in self.clients.iter_mut().zip(to_read.iter_mut()) {
            while let Some(page) = pages.pop() {
                if !client.page_in(ctx, page) {
                    pages.push(page);
                    break;
                }
            }
        }
        let is_read = to_read.iter().all(Vec::is_empty) && ctx.oracle.under_way() == 0;
        // Repair does not know of changes that the worker has not handled yet.
        if is_read && !self.clients.iter().any(Client::has_pending_changes) {
            ctx.after(5 * S, Event::World(WorldEvent::Finish));
        } else {
            ctx.after(5 * MS, Event::World(WorldEvent::ReadAll));
        }
    }

    /// Removes the clients' devices, on which no request is under way.
    fn unload(&mut self) {
        self.is_unloaded = true;
        let ctx = &mut self.ctx;
        for client in self.clients.iter_mut().filter(|client| !client.is_dead) {
            ctx.counts.fault(Fault::Unloaded);
            client.unload(ctx);
        }
    }

    /// Lets the oracle check the requests that have ended.
    fn judge(&mut self) {
        for number in 0..self.clients.len() {
            if std::mem::take(&mut self.clients[number].has_unloaded) {
                self.end_life(number);
                let delay_ns = self.ctx.draw_host(2 * S);
                self.later(delay_ns, Disturbance::Restart(number));
            }
            for closed in std::mem::take(&mut self.clients[number].removing.closed) {
                let witness = witness!(self);
                let server = witness.server_of(closed.mac);
                let claim = Claim {
                    server,
                    incarnation: closed.incarnation,
                };
                let oracle = &mut self.ctx.oracle;
                oracle.close(number, claim, &witness);
                let (asked_ns, pages) = (closed.asked_ns, &closed.pages);
                oracle.give_up(asked_ns, number, pages, "a closed server", &witness);
                self.servers[server].note_close(self.ctx.now_ns, self.clients[number].mac);
            }
            let local = self.clients[number].local.as_mut();
            if let Some((asked_ns, pages)) = local.and_then(|local| local.given_up.take()) {
                let witness = witness!(self);
                let oracle = &mut self.ctx.oracle;
                oracle.forget_disk(number);
                oracle.give_up(asked_ns, number, &pages, "a detached disk", &witness);
            }
            if std::mem::take(&mut self.clients[number].has_repaired) {
                let witness = witness!(self);
                self.ctx
                    .oracle
                    .look_again(self.ctx.now_ns, number, &witness);
            }
            for done in std::mem::take(&mut self.clients[number].done) {
                let counts = &mut self.ctx.counts;
                match done.is_page_out {
                    true => counts.page_outs += 1,
                    false => counts.page_ins += 1,
                }
                let ending = match (&done.bytes, done.is_page_out) {
                    (None, true) if done.is_refused => {
                        counts.errors += 1;
                        Ending::NoSpace
                    }
                    (None, _) => {
                        counts.errors += 1;
                        Ending::Error
                    }
                    (Some(_), true) => Ending::Written,
                    (Some(bytes), false) => Ending::Read(&bytes[..]),
                };
                let witness = witness!(self);
                self.ctx
                    .oracle
                    .end(self.ctx.now_ns, done.id, ending, &witness);
            }
        }
    }
}
