// SPDX-License-Identifier: GPL-2.0

//! A quiescing server: the steps until its session is closed, or until it is kept.
//!
//! No page-out that ends relies on a copy there any more. After every shard has been notified, the other
//! servers are asked whether they still have their pages, because one may have restarted unnoticed. Then the
//! whole map is checked. A page needs the server unless it is also on the disk or on a server that has
//! answered. The session is closed if no page needs the server and no other copy was lost meanwhile.
//! Otherwise the others are asked and the map is checked again, or the server is kept. If pages may be lost,
//! no answer is waited for.

use super::super::super::cluster::{Close, Cluster, Outbox, Random};
use super::super::super::ids::{ServerSlot, SlotSet};
use super::super::super::storage::Storage;
use super::super::super::swap_device::SwapDevice;
use super::super::removal_need::ServerNeed;
use super::super::{ANSWER_NS, RECHECK_NS};
use super::{Outcome, RemovalMode, RemovalStep, RemoveError};
use crate::wire::MacAddress;

/// How long to wait for a page-out that is under way when its page is checked, and how often in all.
pub(super) const BUSY_NS: u64 = 1_000_000;
const BUSY_WAITS: u32 = 100;
/// How often the whole map is checked if other copies are lost meanwhile.
const VERIFICATIONS: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The server begins to quiesce.
    Begin,
    /// The shards are notified of that.
    Announce,
    /// The other servers are asked whether they have their pages.
    Ask,
    /// The removal waits for their answers.
    Unanswered,
    /// The map is checked.
    Verify,
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
pub(super) struct Quiescing {
    slot: ServerSlot,
    session: u64,
    pub(super) mac: MacAddress,
    pub(super) mode: RemovalMode,
    /// Whether it is kept if a page needs it. Otherwise it continues to drain.
    stays: bool,
    pub(super) stage: Stage,
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
    verifications_left: u32,
    waits_left: u32,
    is_closed: bool,
}

impl Quiescing {
    /// The server in `slot` begins to quiesce. It is kept if it `stays` and a page needs it.
    pub(super) fn new(
        slot: ServerSlot,
        session: u64,
        mac: MacAddress,
        mode: RemovalMode,
        stays: bool,
    ) -> Self {
        Self {
            slot,
            session,
            mac,
            mode,
            stays,
            stage: Stage::Begin,
            asked: None,
            confirmed: SlotSet::ALL,
            need: None,
            next: 0,
            needing: 0,
            verifications_left: VERIFICATIONS,
            waits_left: BUSY_WAITS,
            is_closed: false,
        }
    }

    /// The next step. After [`RemovalStep::Done`] there is none.
    pub(super) fn next_step(&mut self) -> RemovalStep {
        match self.stage {
            Stage::Begin | Stage::Ask | Stage::Close | Stage::Cancel(_) => RemovalStep::Cluster,
            Stage::Verify => RemovalStep::VerifyQuiescing,
            Stage::Announce => {
                self.stage = match self.mode == RemovalMode::Regardless || mutated!(ClosedUnasked) {
                    true => Stage::Verify,
                    false => Stage::Ask,
                };
                RemovalStep::Shards
            }
            Stage::Unanswered => {
                self.stage = Stage::Ask;
                RemovalStep::Wait(RECHECK_NS)
            }
            Stage::Busy => {
                self.stage = Stage::Verify;
                RemovalStep::Wait(BUSY_NS)
            }
            Stage::Notify(result) => {
                self.stage = Stage::Over(result);
                RemovalStep::Shards
            }
            Stage::Over(result) => {
                let (mac, is_closed) = (self.mac, self.is_closed);
                RemovalStep::Done(Outcome {
                    mac,
                    is_closed,
                    result,
                })
            }
        }
    }

    fn restart_verification(&mut self) {
        self.asked = None;
        self.need = None;
        self.next = 0;
        self.needing = 0;
    }

    /// Checks `pages` more of the map. Returns the next stage.
    pub(super) fn verify<S: Storage>(&mut self, device: &SwapDevice<S>, pages: u32) -> Stage {
        let (mode, slot, confirmed) = (self.mode, self.slot, self.confirmed);
        let need = self
            .need
            .get_or_insert_with(|| need(mode, slot, confirmed, device));
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
            _ if end < len => Stage::Verify,
            0 => Stage::Close,
            _ if mode == RemovalMode::Regardless => Stage::Close,
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
            true => Stage::Verify,
            false => Stage::Unanswered,
        }
    }

    /// Whether the machine may have been rolled back, or off, since the servers were asked.
    fn is_forgotten<S: Storage>(&self, device: &SwapDevice<S>) -> bool {
        let jumps = device.versions().jumps();
        self.asked.is_some_and(|(_, before)| before != jumps)
    }

    /// Carries out [`RemovalStep::Cluster`]. Returns the next stage.
    pub(super) fn with_cluster<S: Storage, R: Random>(
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
            Stage::Close if self.mode == RemovalMode::Drained && device.is_hibernating() => {
                cluster.cancel_quiescing(slot, session, self.stays, table);
                Stage::Notify(Err(RemoveError::Unknown))
            }
            Stage::Close => {
                // Under the cluster's lock no server is lost. A disk that fails from here on fails after the
                // removal.
                let is_valid = match &self.need {
                    Some(need) if self.mode != RemovalMode::Regardless => {
                        need.is_valid(table, device.disk.load())
                    }
                    _ => true,
                };
                let is_valid = is_valid && !self.is_forgotten(device);
                match cluster.close(now_ns, slot, session, is_valid, table) {
                    Close::Outdated => {
                        self.verifications_left = self.verifications_left.saturating_sub(1);
                        self.restart_verification();
                        match self.verifications_left {
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

/// The rule for every page before a server is removed in this `mode`, if one of the servers `sure` has to
/// have it.
pub(super) fn need<S: Storage>(
    mode: RemovalMode,
    slot: ServerSlot,
    sure: SlotSet,
    device: &SwapDevice<S>,
) -> ServerNeed {
    let (table, disk) = (&device.servers, device.disk.load());
    match mode {
        RemovalMode::Drained => ServerNeed::draining(slot, table, device.replicas(), disk, sure),
        _ => ServerNeed::at_once(slot, table, disk, sure),
    }
}
