// SPDX-License-Identifier: GPL-2.0

//! Removing servers, one at a time.
//!
//! The worker checks whether pages need a draining server ([`Removals::look`]). When no page seems to need
//! it, or when it is to be removed at once, it quiesces: no page-out that ends relies on a copy there any
//! more. After every shard has been notified, the whole map is checked. The server's session is closed if
//! no page needs it and no other copy was lost meanwhile. Otherwise the map is checked again, or the server
//! is kept.
//!
//! The worker carries out some of the steps in each of its runs ([`Removals::next_step_of_run`]). An
//! operator waits until all are carried out ([`Removals::next_step`]). While the machine hibernates, the
//! worker removes no server.

use super::super::cluster::{Close, Cluster, Random, Removal};
use super::super::ids::{BySlot, ServerSlot};
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
        self.need = None;
        self.next = 0;
        self.needing = 0;
    }

    fn walk<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) -> Stage {
        let (how, slot) = (self.how, self.slot);
        let need = self.need.get_or_insert_with(|| need(how, slot, device));
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

    fn with_cluster<S: Storage, R: Random>(
        &mut self,
        now_ns: u64,
        cluster: &mut Cluster<S, R>,
        device: &SwapDevice<S>,
    ) -> Stage {
        let (slot, session, table) = (self.slot, self.session, &device.servers);
        match self.stage {
            Stage::Begin => match cluster.begin_quiescing(slot, session, table) {
                true => Stage::Announce,
                false => Stage::Over(Ok(0)),
            },
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
                match cluster.close(now_ns, slot, session, is_valid, table) {
                    Close::Outdated => {
                        self.looks_left = self.looks_left.saturating_sub(1);
                        self.look_again();
                        match self.looks_left {
                            0 => Stage::Cancel(RemoveError::Unknown),
                            _ => Stage::Look,
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

/// The rule for every page before a server is removed in the way `how`.
fn need<S: Storage>(how: How, slot: ServerSlot, device: &SwapDevice<S>) -> ServerNeed {
    let (table, disk) = (&device.servers, device.disk.load());
    match how {
        How::Drained => ServerNeed::draining(slot, table, device.replicas(), disk),
        How::AtOnce | How::Regardless => ServerNeed::at_once(slot, table, disk),
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
            let need = need(How::Drained, slot, device);
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
            Stage::Begin | Stage::Close | Stage::Cancel(_) => Step::Cluster,
            Stage::Look => Step::Walk,
            Stage::Announce => {
                one.stage = Stage::Look;
                Step::Shards
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
        device: &SwapDevice<S>,
    ) {
        if let Some(one) = &mut self.quiescing {
            one.stage = one.with_cluster(now_ns, cluster, device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{cluster, device};
    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn quiescing() -> Removals {
        let mut removals = Removals::default();
        let slot = ServerSlot::new(3).unwrap();
        removals.quiesce(slot, 7, MAC, How::Drained, false);
        removals
    }

    #[test]
    fn a_removal_waits_for_the_one_under_way() {
        let (mut cluster, device, mut removals) = (cluster(), device(), quiescing());
        let other = MacAddress([2, 0, 0, 0, 0, 2]);
        cluster.add(0, other, &device.servers).unwrap();
        let mut remove =
            |removals: &mut Removals| removals.remove(0, other, How::AtOnce, &mut cluster, &device);
        assert_eq!(remove(&mut removals), Ok(Begun::Another));
        assert_eq!(removals.quiescing.as_ref().map(|one| one.mac), Some(MAC));
        removals.quiescing = None;
        assert_eq!(remove(&mut removals), Ok(Begun::Gone));
    }

    #[test]
    fn a_run_of_the_worker_checks_one_part_of_the_map() {
        let (mut cluster, device, mut removals) = (cluster(), device(), quiescing());
        for stage in [Stage::Look, Stage::Busy] {
            removals.quiescing.as_mut().unwrap().stage = stage;
            if stage == Stage::Look {
                assert_eq!(removals.next_step_of_run(), Step::Walk);
                assert_eq!(removals.next_step_of_run(), Step::Wait(0));
            } else {
                assert_eq!(removals.next_step_of_run(), Step::Wait(BUSY_NS));
            }
        }
        // The server is gone.
        removals.quiescing.as_mut().unwrap().stage = Stage::Begin;
        assert_eq!(removals.next_step_of_run(), Step::Cluster);
        removals.with_cluster(0, &mut cluster, &device);
        assert!(matches!(removals.next_step_of_run(), Step::Done(_)));
        assert_eq!(removals.next_step_of_run(), Step::Wait(WALK_NS));
        assert_eq!(removals.next_step_of_run(), Step::Look);
        removals.look(&device, 1);
        assert_eq!(removals.next_step_of_run(), Step::Idle);
        assert_eq!(removals.next_step_of_run(), Step::Look);
    }

    #[test]
    fn the_worker_closes_no_server_while_the_machine_hibernates() {
        let (mut cluster, device) = (cluster(), device());
        for (how, stage) in [
            (How::Drained, Stage::Notify(Err(RemoveError::Unknown))),
            // The tasks of operators still run.
            (How::AtOnce, Stage::Notify(Ok(0))),
        ] {
            let mut removals = quiescing();
            device.begin_hibernation();
            let one = removals.quiescing.as_mut().unwrap();
            (one.how, one.stage) = (how, Stage::Close);
            removals.with_cluster(0, &mut cluster, &device);
            assert_eq!(removals.quiescing.unwrap().stage, stage);
        }
    }
}
