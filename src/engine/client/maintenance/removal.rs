// SPDX-License-Identifier: GPL-2.0

//! Removing servers, one at a time.
//!
//! The worker checks whether pages need a draining server ([`Removals::look`]). When no page seems to need
//! it, or when it is to be removed at once, it quiesces: no page-out that ends relies on a copy there any
//! more. After every shard has been notified, the other servers are asked whether they still have their
//! pages, because one may have restarted unnoticed. Then the whole map is checked. A page needs the server
//! unless it is also on the disk or on a server that has answered. The session is closed if no page needs the
//! server and no other copy was lost meanwhile. Otherwise the others are asked and the map is checked again,
//! or the server is kept. If pages may be lost, no answer is waited for.
//!
//! The worker carries out some of the steps in each of its runs ([`Removals::next_step_of_run`]). An
//! operator waits until all are carried out ([`Removals::next_step`]). While the machine hibernates, the
//! worker removes no server.

use super::super::cluster::{Close, Cluster, Outbox, Random, Removal};
use super::super::config::NS_PER_S;
use super::super::ids::{BySlot, ServerSlot, SlotSet};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::removal_need::{Found, ServerNeed, Walk};
use crate::wire::MacAddress;

/// The time until the worker checks the next part of the map.
const WALK_NS: u64 = 2_000_000;
/// The time until it checks again after a page needed the server.
const NEEDED_NS: u64 = 100_000_000;
/// How long to wait for a page-out that is under way when its page is checked, and how often in all.
const BUSY_NS: u64 = 1_000_000;
const BUSY_WAITS: u32 = 100;
/// The time between two checks whether the other servers have answered, and how long they are waited for. A
/// server that does not answer is suspected much sooner.
const ANSWER_LOOK_NS: u64 = 2_000_000;
const ANSWER_NS: u64 = 5 * NS_PER_S;
/// How often the whole map is checked if other copies are lost meanwhile.
const LOOKS: u32 = 8;

/// How a server is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
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
    /// Carry out the steps until [`Step::Done`].
    Quiescing,
    /// Another server is quiescing. Carry out the steps until [`Step::Done`], then begin again.
    Another,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call [`Removals::with_cluster`] under the cluster's lock.
    Cluster,
    /// Call [`Shard::servers_changed`](super::super::shard::Shard::servers_changed) of every shard, under
    /// its lock.
    Shards,
    /// Call [`Removals::walk`] without a lock.
    Walk,
    /// Call [`Removals::look`] without a lock.
    Look,
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
            Ok(_) => WALK_NS,
            Err(_) => NEEDED_NS,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The server begins to quiesce.
    Begin,
    /// The shards are notified of that.
    Announce,
    /// The other servers are asked whether they have their pages.
    Ask,
    /// The removal waits for their answers.
    Unanswered,
    /// The map is checked.
    Look,
    /// The removal waits for a page-out.
    Busy,
    /// The whole map has been checked: the server is closed if the result is still valid.
    Close,
    /// The server stops quiescing.
    Cancel(RemoveError),
    /// The shards are notified of the end.
    Notify(Result<u64, RemoveError>),
    /// The removal has ended.
    Over(Result<u64, RemoveError>),
}

/// A quiescing server.
struct Quiescing {
    slot: ServerSlot,
    session: u64,
    mac: MacAddress,
    how: How,
    /// Whether it is kept if a page needs it. Otherwise it continues to drain.
    stays: bool,
    stage: Stage,
    /// When the other servers were first asked whether they have their pages, and how often the versions had
    /// jumped by then.
    asked: Option<(u64, u32)>,
    /// The servers that have answered.
    confirmed: SlotSet,
    /// The rule of the check that is under way.
    need: Option<ServerNeed>,
    /// The page that is checked next.
    next: u32,
    /// The number of pages before it that need the server.
    needing: u64,
    looks_left: u32,
    waits_left: u32,
    is_closed: bool,
}

impl Quiescing {
    fn look_again(&mut self) {
        self.asked = None;
        self.need = None;
        self.next = 0;
        self.needing = 0;
    }

    fn walk<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) -> Stage {
        let (how, slot, confirmed) = (self.how, self.slot, self.confirmed);
        let need = self
            .need
            .get_or_insert_with(|| need(how, slot, confirmed, device));
        // CAST: a map has fewer than 2^32 pages.
        let len = device.map.len() as u32;
        let end = self.next.saturating_add(pages).min(len);
        let mut part = self.next..end;
        let found = need.count(&device.map, &mut part, self.waits_left > 0);
        self.needing = self.needing.saturating_add(found);
        self.next = part.start;
        if self.next < end {
            self.waits_left = self.waits_left.saturating_sub(1);
            return Stage::Busy;
        }
        match self.needing {
            _ if end < len => Stage::Look,
            0 => Stage::Close,
            _ if how == How::Regardless => Stage::Close,
            1 if mutated!(ClosedOnePageEarly) => Stage::Close,
            needing => Stage::Cancel(RemoveError::Needed(needing)),
        }
    }

    /// Asks the other servers whether they have their pages. One that is silent is soon suspected, and then
    /// not waited for.
    fn ask<S: Storage, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<S, R>,
        outbox: &mut impl Outbox,
        device: &SwapDevice<S>,
    ) -> Stage {
        let jumps = device.versions().jumps();
        let (since_ns, _) = *self.asked.get_or_insert((now_ns, jumps));
        let confirmed = cluster.confirm(now_ns, since_ns, &device.servers, outbox);
        self.confirmed = confirmed.slots;
        let is_over = now_ns.saturating_sub(since_ns) >= ANSWER_NS;
        match confirmed.is_complete || is_over {
            true => Stage::Look,
            false => Stage::Unanswered,
        }
    }

    /// Whether the machine may have been put back to an earlier state, or off, since the servers were asked.
    fn is_forgotten<S: Storage>(&self, device: &SwapDevice<S>) -> bool {
        let jumps = device.versions().jumps();
        self.asked.is_some_and(|(_, before)| before != jumps)
    }

    fn with_cluster<S: Storage, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<S, R>,
        outbox: &mut impl Outbox,
        device: &SwapDevice<S>,
    ) -> Stage {
        let (slot, session, table) = (self.slot, self.session, &device.servers);
        match self.stage {
            Stage::Begin => match cluster.begin_quiescing(slot, session, table) {
                true => Stage::Announce,
                false => Stage::Over(Ok(0)),
            },
            Stage::Ask => self.ask(now_ns, cluster, outbox, device),
            // Read under the lock: once the machine's notice has had the lock, the worker closes no server.
            Stage::Close if self.how == How::Drained && device.is_hibernating() => {
                cluster.cancel_quiescing(slot, session, self.stays, table);
                Stage::Notify(Err(RemoveError::Unknown))
            }
            Stage::Close => {
                // Under the cluster's lock no server is lost. A disk that fails from here on fails after the
                // removal.
                let is_valid = match &self.need {
                    Some(need) if self.how != How::Regardless => {
                        need.is_valid(table, device.disk.load())
                    }
                    _ => true,
                };
                let is_valid = is_valid && !self.is_forgotten(device);
                match cluster.close(now_ns, slot, session, is_valid, table) {
                    Close::Outdated => {
                        self.looks_left = self.looks_left.saturating_sub(1);
                        self.look_again();
                        match self.looks_left {
                            0 => Stage::Cancel(RemoveError::Unknown),
                            _ => Stage::Ask,
                        }
                    }
                    Close::Gone => Stage::Notify(Ok(self.needing)),
                    Close::Done => {
                        self.is_closed = true;
                        Stage::Notify(Ok(self.needing))
                    }
                }
            }
            Stage::Cancel(error) => {
                cluster.cancel_quiescing(slot, session, self.stays, table);
                Stage::Notify(Err(error))
            }
            other => other,
        }
    }
}

/// The rule for every page before a server is removed in the way `how`, if one of the servers `sure` has to
/// have it.
fn need<S: Storage>(
    how: How,
    slot: ServerSlot,
    sure: SlotSet,
    device: &SwapDevice<S>,
) -> ServerNeed {
    let (table, disk) = (&device.servers, device.disk.load());
    match how {
        How::Drained => ServerNeed::draining(slot, table, device.replicas(), disk, sure),
        How::AtOnce | How::Regardless => ServerNeed::at_once(slot, table, disk, sure),
    }
}

/// The draining servers, and the quiescing one.
#[derive(Default)]
pub struct Removals {
    walks: BySlot<Walk>,
    quiescing: Option<Quiescing>,
    /// How the worker's run ends, if it has done its part.
    end: Option<Step>,
}

impl Removals {
    /// Begins to remove a server. Call this under the cluster's lock.
    pub fn remove<S: Storage, R: Random>(
        &mut self,
        now_ns: u64,
        mac: MacAddress,
        how: How,
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
            Some(Removal::Draining(_, _)) if how == How::Drained => Ok(Begun::Draining { is_new }),
            Some(Removal::Draining(slot, session)) => {
                self.quiesce(slot, session, mac, how, is_new);
                Ok(Begun::Quiescing)
            }
        }
    }

    fn quiesce(&mut self, slot: ServerSlot, session: u64, mac: MacAddress, how: How, stays: bool) {
        self.quiescing = Some(Quiescing {
            slot,
            session,
            mac,
            how,
            stays,
            stage: Stage::Begin,
            asked: None,
            confirmed: SlotSet::ALL,
            need: None,
            next: 0,
            needing: 0,
            looks_left: LOOKS,
            waits_left: BUSY_WAITS,
            is_closed: false,
        });
    }

    /// Carries out [`Step::Look`]: checks `pages` more of the map for each draining server. A server that no
    /// page seems to need begins to quiesce.
    pub fn look<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) {
        self.end = Some(Step::Idle);
        let mut again_ns = u64::MAX;
        // A slot keeps its draining bit until it belongs to another server.
        let draining = device.servers.draining();
        for slot in draining.intersection(device.servers.valid()).iter() {
            let address = device.servers.address(slot);
            // Others do not answer.
            let usable = device.servers.usable();
            let need = need(How::Drained, slot, usable, device);
            let walk = &mut self.walks[slot];
            let wait_ns = match walk.advance(address.session, &need, &device.map, pages) {
                Found::NotYet => WALK_NS,
                Found::Needed => NEEDED_NS,
                Found::None => {
                    self.quiesce(slot, address.session, address.mac, How::Drained, false);
                    self.end = None;
                    return;
                }
            };
            again_ns = again_ns.min(wait_ns);
            self.end = Some(Step::Wait(again_ns));
        }
    }

    /// As [`Self::next_step`], for a run of the worker. [`Step::Wait`] or [`Step::Idle`] is the last.
    pub fn next_step_of_run(&mut self) -> Step {
        if let Some(end) = self.end.take() {
            return end;
        }
        let step = self.next_step().unwrap_or(Step::Look);
        self.end = match step {
            Step::Walk => Some(Step::Wait(0)),
            Step::Done(outcome) => Some(Step::Wait(outcome.again_ns())),
            _ => None,
        };
        step
    }

    /// Returns the next step; `None` if no server quiesces. The caller carries it out before it calls this
    /// again.
    pub fn next_step(&mut self) -> Option<Step> {
        let one = self.quiescing.as_mut()?;
        Some(match one.stage {
            Stage::Begin | Stage::Ask | Stage::Close | Stage::Cancel(_) => Step::Cluster,
            Stage::Look => Step::Walk,
            Stage::Announce => {
                one.stage = match one.how == How::Regardless || mutated!(ClosedUnasked) {
                    true => Stage::Look,
                    false => Stage::Ask,
                };
                Step::Shards
            }
            Stage::Unanswered => {
                one.stage = Stage::Ask;
                Step::Wait(ANSWER_LOOK_NS)
            }
            Stage::Busy => {
                one.stage = Stage::Look;
                Step::Wait(BUSY_NS)
            }
            Stage::Notify(result) => {
                one.stage = Stage::Over(result);
                Step::Shards
            }
            Stage::Over(result) => {
                let outcome = Outcome {
                    mac: one.mac,
                    is_closed: one.is_closed,
                    result,
                };
                self.quiescing = None;
                Step::Done(outcome)
            }
        })
    }

    /// Checks `pages` more of the map.
    pub fn walk<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) {
        if let Some(one) = &mut self.quiescing {
            one.stage = one.walk(device, pages);
        }
    }

    /// Carries out [`Step::Cluster`].
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
