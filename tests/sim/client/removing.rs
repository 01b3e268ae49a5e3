// SPDX-License-Identifier: GPL-2.0

//! A model of the driver's part in the removal of servers: by its worker, and for an operator.

use anemone::engine::client::ids::{PageIndex, ServerSlot, SlotSet};
use anemone::engine::client::maintenance::removal::{
    Begun, Outcome, RemovalMode, RemovalStep, Removals, RemoveError,
};
use anemone::wire::MacAddress;

use super::{Client, ClientEvent};
use crate::context::Context;
use crate::faults::Fault;
use crate::scenario::{MS, S};

/// The task that holds the lock of the removals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Worker,
    /// An operator, who removes this server.
    Operator(MacAddress, RemovalMode),
}

/// A server whose session was closed.
pub struct Closed {
    pub mac: MacAddress,
    pub incarnation: u64,
    /// Its pages that were on no disk, if none of them may be lost.
    pub pages: Vec<u32>,
    /// Not before this time the other servers were asked whether they have their pages.
    pub asked_ns: u64,
}

/// The removals of a client.
#[derive(Default)]
pub struct Removing {
    removals: Removals,
    holder: Option<Holder>,
    /// How the quiescing server is removed, if an operator has begun that.
    quiescing: Option<RemovalMode>,
    /// The shard that is notified next.
    notifying: Option<usize>,
    /// Servers whose removal was begun at some time.
    removed: Vec<MacAddress>,
    /// When shards were last notified. After that the other servers are asked whether they have their pages.
    asked_ns: u64,
    /// Servers whose session was closed since the oracle's last check.
    pub closed: Vec<Closed>,
    /// Since when no page has needed a draining server.
    unneeded_ns: Option<(MacAddress, u64)>,
}

/// How long a server that no page needs may continue to drain, for a quick and for a slow client.
const UNNEEDED_NS: [u64; 2] = [3 * S, 10 * S];

impl Client {
    /// An operator removes a server.
    pub(super) fn remove(&mut self, ctx: &mut Context, mac: MacAddress, mode: RemovalMode) {
        if self.removing.holder.is_some() {
            self.after(ctx, MS, ClientEvent::Remove(mac, mode));
            return;
        }
        self.removing.holder = Some(Holder::Operator(mac, mode));
        self.begin_removal(ctx, mac, mode);
    }

    fn begin_removal(&mut self, ctx: &mut Context, mac: MacAddress, mode: RemovalMode) {
        let clock_ns = self.clock_ns(ctx);
        let begun =
            self.removing
                .removals
                .remove(clock_ns, mac, mode, &mut self.cluster, &self.device);
        ctx.note(|| format!("client {} removes {mac}, {mode:?}: {begun:?}", self.number));
        if begun != Ok(Begun::Another) && begun != Err(RemoveError::NotThere) {
            self.added_ns.remove(&mac);
            self.removing.removed.push(mac);
        }
        match begun {
            Ok(Begun::Another | Begun::Quiescing) => {
                self.removing.quiescing = Some(mode).filter(|_| begun == Ok(Begun::Quiescing));
                let delay_ns = ctx.host_delay();
                self.after(ctx, delay_ns, ClientEvent::RemovalStep);
                return;
            }
            // The server may have opened a session.
            Ok(Begun::Gone) => self.removing.closed.push(Closed {
                mac,
                incarnation: 0,
                pages: Vec::new(),
                asked_ns: ctx.now_ns,
            }),
            Ok(Begun::Draining { .. }) | Err(_) => {}
        }
        self.release_removals(ctx);
    }

    /// An operator releases the lock, and kicks the worker.
    fn release_removals(&mut self, ctx: &mut Context) {
        self.removing.holder = None;
        self.run_cluster(ctx);
    }

    /// The worker begins a run of the removals, unless an operator holds the lock.
    pub(super) fn begin_drain(&mut self) {
        self.removing.holder.get_or_insert(Holder::Worker);
    }

    /// Whether an operator removes a server.
    pub(super) fn has_operator(&self) -> bool {
        matches!(self.removing.holder, Some(Holder::Operator(..)))
    }

    /// Whether the worker holds the lock.
    pub(super) fn is_draining(&self) -> bool {
        self.removing.holder == Some(Holder::Worker)
    }

    /// The operator carries out the next step.
    pub(super) fn continue_removal(&mut self, ctx: &mut Context) {
        let Some(Holder::Operator(mac, mode)) = self.removing.holder else {
            return;
        };
        let mut delay_ns = ctx.host_delay();
        if !self.notify_of_removal(ctx) {
            match self.removing.removals.next_step() {
                Some(RemovalStep::Wait(wait_ns)) => delay_ns += wait_ns,
                Some(step @ RemovalStep::Done(_)) => {
                    let was_own = self.removing.quiescing.is_some();
                    self.carry_out_removal(ctx, step);
                    match was_own {
                        true => self.release_removals(ctx),
                        false => self.begin_removal(ctx, mac, mode),
                    }
                    return;
                }
                Some(step) => {
                    self.carry_out_removal(ctx, step);
                    if step == RemovalStep::Cluster {
                        self.run_cluster(ctx);
                    }
                }
                None => {
                    self.release_removals(ctx);
                    return;
                }
            }
        }
        self.after(ctx, delay_ns, ClientEvent::RemovalStep);
    }

    /// The worker carries out the next step of its run.
    pub(super) fn continue_drain(&mut self, ctx: &mut Context) {
        if self.notify_of_removal(ctx) {
            return;
        }
        let clock_ns = self.clock_ns(ctx);
        match self.removing.removals.next_step_of_run() {
            RemovalStep::Wait(wait_ns) => {
                self.round.look_again_at(clock_ns.saturating_add(wait_ns));
                self.removing.holder = None;
            }
            RemovalStep::Idle => self.removing.holder = None,
            step => self.carry_out_removal(ctx, step),
        }
    }

    /// Notifies the next shard, if there is one.
    fn notify_of_removal(&mut self, ctx: &mut Context) -> bool {
        let Some(shard) = self.removing.notifying.take() else {
            return false;
        };
        let clock_ns = self.clock_ns(ctx);
        self.shards[shard].servers_changed(clock_ns, &self.device);
        self.pump(ctx, shard);
        self.removing.notifying = Some(shard + 1).filter(|next| *next < self.shards.len());
        true
    }

    fn carry_out_removal(&mut self, ctx: &mut Context, step: RemovalStep) {
        let mut part = || 1 + ctx.draw_maintenance(1000) as u32;
        match step {
            RemovalStep::Cluster => self.change_cluster(ctx),
            RemovalStep::Shards => {
                self.removing.notifying = Some(0);
                self.removing.asked_ns = ctx.now_ns;
            }
            RemovalStep::VerifyQuiescing => self
                .removing
                .removals
                .verify_quiescing(&self.device, part()),
            RemovalStep::ScanDraining => self.removing.removals.scan_draining(&self.device, part()),
            RemovalStep::Done(outcome) => self.end_removal(ctx, outcome),
            RemovalStep::Wait(_) | RemovalStep::Idle => {}
        }
    }

    fn change_cluster(&mut self, ctx: &mut Context) {
        let clock_ns = self.clock_ns(ctx);
        let before = self.device.servers.valid();
        let mut frames = self.frames();
        let (cluster, device) = (&mut self.cluster, &self.device);
        self.removing
            .removals
            .with_cluster(clock_ns, cluster, &mut frames, device);
        self.transmit_all(ctx, frames);
        for slot in before.without(self.device.servers.valid()).iter() {
            let pages = self.audit_closed(ctx, slot);
            let address = self.device.servers.address(slot);
            self.removing.closed.push(Closed {
                mac: address.mac,
                incarnation: address.incarnation,
                pages,
                asked_ns: self.removing.asked_ns,
            });
        }
    }

    /// The slots that it counts as holding a page, except for `aside`.
    pub(super) fn counted(&self, page: u32, aside: SlotSet) -> SlotSet {
        let servers = &self.device.servers;
        let entry = self.device.map.load(PageIndex(page));
        let live = servers
            .valid()
            .without(servers.lost())
            .without(servers.quiescing());
        entry.replicas().intersection(live).without(aside)
    }

    /// How many copies of a page on `slot` count, apart from its own; `None` if the page is being written, or
    /// needs no copy there.
    fn others(&self, page: u32, slot: ServerSlot, aside: SlotSet) -> Option<usize> {
        let entry = self.device.map.load(PageIndex(page));
        let holds = entry.is_written() && entry.replicas().contains(slot) && !entry.is_busy();
        let disk = entry.is_on_disk() && self.device.disk.load().is_usable();
        let others = self.counted(page, aside.union(SlotSet::one(slot)));
        holds.then_some(others.len() + usize::from(disk))
    }

    /// A session has been closed, so that the copies there are dropped. Unless it was closed regardless, none
    /// of them was the last copy of a page. A page does not count if a page-out of it has failed since the
    /// other servers were asked, because those that were sent the new version have no copy of the old one.
    /// Returns those of which only servers have others.
    fn audit_closed(&self, ctx: &mut Context, slot: ServerSlot) -> Vec<u32> {
        let mut pages = Vec::new();
        if self.removing.quiescing == Some(RemovalMode::Regardless) {
            return pages;
        }
        for page in 0..self.device.map.len() as u32 {
            let Some(others) = self.others(page, slot, SlotSet::EMPTY) else {
                continue;
            };
            let (number, asked_ns) = (self.number, self.removing.asked_ns);
            if others == 0 && !ctx.oracle.has_failed_since(number, page, asked_ns) {
                ctx.oracle.fail(|| {
                    format!("client {number} page {page}: only {slot:?} has it, and is closed")
                });
            }
            if others == self.counted(page, SlotSet::one(slot)).len() {
                pages.push(page);
            }
        }
        pages
    }

    fn end_removal(&mut self, ctx: &mut Context, outcome: Outcome) {
        let mode = self.removing.quiescing.take();
        ctx.note(|| format!("client {} has removed: {outcome:?}", self.number));
        match (mode, outcome.result) {
            (None, Ok(_)) if outcome.is_closed => {
                ctx.counts.fault(Fault::ServerDrained);
            }
            (Some(RemovalMode::AtOnce), Ok(_)) if outcome.is_closed => {
                ctx.counts.fault(Fault::ServerRemoved);
            }
            (Some(RemovalMode::Regardless), Ok(1..)) if outcome.is_closed => {
                ctx.counts.fault(Fault::ServerForced);
            }
            (Some(RemovalMode::AtOnce), Err(RemoveError::Needed(_))) => {
                ctx.counts.fault(Fault::RemovalRefused);
            }
            _ => {}
        }
        let servers = &self.device.servers;
        let is_there = |slot| servers.address(slot).mac == outcome.mac;
        let stays = !self.cluster.is_draining(outcome.mac) && servers.valid().iter().any(is_there);
        if outcome.result.is_err() && stays {
            // It was not draining before. A draining server that has restarted meanwhile is gone.
            self.added_ns.insert(outcome.mac, ctx.now_ns);
        }
    }

    /// Adds a server, perhaps one that is being removed.
    pub(super) fn add(&mut self, ctx: &mut Context, mac: MacAddress) {
        ctx.note(|| format!("client {} adds {mac}", self.number));
        let was_draining = self.cluster.is_draining(mac);
        let added = self
            .cluster
            .add(self.clock.read(ctx.now_ns), mac, &self.device.servers);
        if was_draining && added.is_ok() {
            ctx.counts.fault(Fault::RemovalCancelled);
        }
        // No session with a removed server is opened before its old slot has been swept.
        if added.is_ok() && (was_draining || !self.removing.removed.contains(&mac)) {
            self.added_ns.insert(mac, ctx.now_ns);
        }
        self.run_cluster(ctx);
    }

    /// Sessions have been opened. Some may have been closed since.
    pub(super) fn note_opened(&mut self, ctx: &Context, opened: SlotSet) {
        for slot in opened.intersection(self.device.servers.valid()).iter() {
            let mac = self.device.servers.address(slot).mac;
            self.opened_ns.entry(mac).or_insert(ctx.now_ns);
            if self.removing.removed.contains(&mac) && !self.cluster.is_draining(mac) {
                self.added_ns.insert(mac, ctx.now_ns);
            }
        }
    }

    /// Whether the removal of a server was begun at some time.
    pub fn has_removed(&self, mac: MacAddress) -> bool {
        self.removing.removed.contains(&mac)
    }

    /// Whether a copy of the page counts that is on a disk, or on a server that answers, not on `aside`.
    fn is_sure(&self, page: u32, aside: SlotSet) -> bool {
        let servers = self.counted(page, aside);
        let disk = self.device.disk.load().is_usable();
        disk && self.device.map.load(PageIndex(page)).is_on_disk()
            || !servers
                .intersection(self.device.servers.usable())
                .is_empty()
    }

    /// Checks that no server continues to drain although no page needs it.
    pub fn check_draining(&mut self, ctx: &mut Context) {
        let draining = self.device.servers.draining();
        let slots = draining.intersection(self.device.servers.valid());
        let is_needed = |slot: &ServerSlot| {
            let servers = &self.device.servers;
            let disk = self.device.disk.load().is_usable();
            let possible = servers.counting().len() + usize::from(disk);
            let enough = self.device.replicas().min(possible).max(1);
            (0..self.device.map.len() as u32).any(|page| {
                let entry = self.device.map.load(PageIndex(page));
                let is_written = entry.is_busy() && entry.replicas().contains(*slot);
                is_written
                    || self
                        .others(page, *slot, draining)
                        .is_some_and(|have| have < enough || !self.is_sure(page, draining))
            })
        };
        let unneeded = slots.iter().find(|slot| !is_needed(slot));
        let running = self.frozen_until_ns.max(self.asleep_until_ns) <= ctx.now_ns;
        let Some(slot) = unneeded.filter(|_| running && !self.is_resting()) else {
            self.removing.unneeded_ns = None;
            return;
        };
        let mac = self.device.servers.mac(slot);
        let since = self.removing.unneeded_ns.filter(|(other, _)| *other == mac);
        let (_, since_ns) = since.unwrap_or((mac, ctx.now_ns));
        self.removing.unneeded_ns = Some((mac, since_ns));
        let limit_ns = UNNEEDED_NS[usize::from(ctx.scenario.enabled.slow_client)];
        if ctx.now_ns > since_ns + limit_ns {
            let number = self.number;
            ctx.oracle
                .fail(|| format!("client {number}: {mac} still drains, although no page needs it"));
        }
    }
}
