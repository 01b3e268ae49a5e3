// SPDX-License-Identifier: GPL-2.0

//! Removing servers, one at a time: which draining server quiesces next, and which steps belong to one run of
//! the worker. The steps of a quiescing server: `removal/quiescing.rs`.
//!
//! The worker checks whether pages need a draining server ([`Removals::scan_draining`]). When none seems to
//! need it, or when it is to be removed at once, it quiesces.
//!
//! The worker carries out some of the steps in each of its runs ([`Removals::next_step_of_run`]). An
//! operator waits until all are carried out ([`Removals::next_step`]). While the machine hibernates, the
//! worker removes no server.

mod quiescing;

use super::super::cluster::{Cluster, Outbox, Random, Removal};
use super::super::ids::BySlot;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::removal_need::{Found, Scan};
use crate::wire::MacAddress;
use quiescing::{need, Quiescing};

/// The time until the worker checks the next part of the map.
const SCAN_NS: u64 = 2_000_000;
/// The time until it checks again after a page needed the server.
const NEEDED_NS: u64 = 100_000_000;

/// How a server is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalMode {
    /// As soon as no page needs it.
    Drained,
    /// At once, unless that loses pages.
    AtOnce,
    /// At once, even if that loses pages.
    Regardless,
}

/// Why a server is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveError {
    /// There is no such server.
    NotThere,
    /// This many pages would be lost.
    Needed(u64),
    /// It is not known how many pages need it: other copies were lost during each check of the map, or the
    /// machine hibernates.
    Unknown,
}

/// The result of [`Removals::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The server had no pages, and is removed.
    Gone,
    /// It drains. The worker removes it when no page needs it.
    Draining {
        /// Whether it begins to drain now.
        is_new: bool,
    },
    /// Carry out the steps until [`RemovalStep::Done`].
    Quiescing,
    /// Another server is quiescing. Carry out the steps until [`RemovalStep::Done`], then begin again.
    Another,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalStep {
    /// Call [`Removals::with_cluster`] under the cluster's lock.
    Cluster,
    /// Call [`Shard::servers_changed`](super::super::shard::Shard::servers_changed) of every shard, under
    /// its lock.
    Shards,
    /// Call [`Removals::verify_quiescing`] without a lock.
    VerifyQuiescing,
    /// Call [`Removals::scan_draining`] without a lock.
    ScanDraining,
    /// Wait for this many nanoseconds. In a run of the worker it is the last step: the next run is due then.
    Wait(u64),
    /// The last step for the quiescing server was carried out: the result.
    Done(Outcome),
    /// The last step of a run of the worker: no server drains.
    Idle,
}

/// How the removal of a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The server.
    pub mac: MacAddress,
    /// Whether its session has been closed. If not, and there is no error, it was gone already or has been
    /// added again.
    pub is_closed: bool,
    /// How many pages have lost their only copy, or why the server is kept.
    pub result: Result<u64, RemoveError>,
}

impl Outcome {
    /// The time in nanoseconds until the worker checks the draining servers again.
    fn again_ns(&self) -> u64 {
        match self.result {
            Ok(_) => SCAN_NS,
            Err(_) => NEEDED_NS,
        }
    }
}

/// The draining servers, and the quiescing one.
#[derive(Default)]
pub struct Removals {
    scans: BySlot<Scan>,
    quiescing: Option<Quiescing>,
    /// How the worker's run ends, if it has done its part.
    end: Option<RemovalStep>,
}

impl Removals {
    /// Begins to remove a server. Call this under the cluster's lock.
    pub fn remove<S: Storage, R: Random>(
        &mut self,
        now_ns: u64,
        mac: MacAddress,
        mode: RemovalMode,
        cluster: &mut Cluster<S, R>,
        device: &SwapDevice<S>,
    ) -> Result<Begun, RemoveError> {
        if self.quiescing.is_some() {
            return Ok(Begun::Another);
        }
        let is_new = !cluster.is_draining(mac);
        match cluster.remove(now_ns, mac, &device.servers) {
            None => Err(RemoveError::NotThere),
            Some(Removal::Done) => Ok(Begun::Gone),
            Some(Removal::Draining(slot, session)) if mode != RemovalMode::Drained => {
                self.quiescing = Some(Quiescing::new(slot, session, mac, mode, is_new));
                Ok(Begun::Quiescing)
            }
            Some(Removal::Draining(..)) => Ok(Begun::Draining { is_new }),
        }
    }

    /// Carries out [`RemovalStep::ScanDraining`]: checks `pages` more of the map for each draining server. A
    /// server that no page seems to need begins to quiesce.
    pub fn scan_draining<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) {
        self.end = Some(RemovalStep::Idle);
        let (mode, mut again_ns) = (RemovalMode::Drained, u64::MAX);
        // A slot keeps its draining bit until it belongs to another server.
        let draining = device.servers.draining();
        for slot in draining.intersection(device.servers.valid()).iter() {
            let address = device.servers.address(slot);
            // Others do not answer.
            let usable = device.servers.usable();
            let need = need(mode, slot, usable, device);
            let scan = &mut self.scans[slot];
            let wait_ns = match scan.advance(address.session, &need, &device.map, pages) {
                Found::NotYet => SCAN_NS,
                Found::Needed => NEEDED_NS,
                Found::None => {
                    let (session, mac) = (address.session, address.mac);
                    self.quiescing = Some(Quiescing::new(slot, session, mac, mode, false));
                    self.end = None;
                    return;
                }
            };
            again_ns = again_ns.min(wait_ns);
            self.end = Some(RemovalStep::Wait(again_ns));
        }
    }

    /// As [`Self::next_step`], for a run of the worker. [`RemovalStep::Wait`] or [`RemovalStep::Idle`] is the
    /// last.
    pub fn next_step_of_run(&mut self) -> RemovalStep {
        if let Some(end) = self.end.take() {
            return end;
        }
        let step = self.next_step().unwrap_or(RemovalStep::ScanDraining);
        self.end = match step {
            RemovalStep::VerifyQuiescing => Some(RemovalStep::Wait(0)),
            RemovalStep::Done(outcome) => Some(RemovalStep::Wait(outcome.again_ns())),
            _ => None,
        };
        step
    }

    /// Returns the next step; `None` if no server quiesces. The caller carries it out before it calls this
    /// again.
    pub fn next_step(&mut self) -> Option<RemovalStep> {
        let step = self.quiescing.as_mut()?.next_step();
        if matches!(step, RemovalStep::Done(_)) {
            self.quiescing = None;
        }
        Some(step)
    }

    /// Carries out [`RemovalStep::VerifyQuiescing`]: checks `pages` more of the map.
    pub fn verify_quiescing<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) {
        if let Some(one) = &mut self.quiescing {
            one.stage = one.verify(device, pages);
        }
    }

    /// Carries out [`RemovalStep::Cluster`].
    pub fn with_cluster<S: Storage, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<S, R>,
        outbox: &mut impl Outbox,
        device: &SwapDevice<S>,
    ) {
        if let Some(one) = &mut self.quiescing {
            one.stage = one.with_cluster(now_ns, cluster, outbox, device);
        }
    }
}

#[cfg(test)]
mod tests;
