// SPDX-License-Identifier: GPL-2.0

//! Adding and removing servers while the device is in use.
//!
//! Context: process. Servers that are draining are looked after by the worker; who wants one gone at
//! once, does it himself. `Control::removal` is held by whoever lets one go.

use kernel::{
    prelude::*,
    sync::ArcBorrow,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use super::core::{
    Core,
    PART_PAGES, //
};
use crate::{
    engine::client::{
        cluster::{
            AddError,
            Close,
            Removal,
            Why, //
        },
        drain::{
            Drain,
            Found, //
        },
        ids::ServerSlot, //
    },
    linux::time::hrtimer::now_ns,
    wire::MacAddress, //
};

/// How a server is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// When no page needs it.
    Drained,
    /// At once, unless that loses pages.
    AtOnce,
    /// At once.
    Regardless,
}

/// Why a server is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RemoveError {
    /// There is no such server.
    NotThere,
    /// So many pages would be lost.
    Needed(u64),
    /// Other servers were lost, one after the other, so that it is not known.
    Unknown,
}

/// Until it looks at more.
const WALK_NS: u64 = 2_000_000;
/// Until it looks again, when a page needed the server.
const NEEDED_NS: u64 = 100_000_000;
/// Milliseconds that page-outs may take which are under way when a server is about to go.
const WAIT_MS: u32 = 100;
/// How often the whole map is looked at anew because another server was lost meanwhile.
const LOOKS: u32 = 8;

impl Core {
    /// Adds a server. The session is opened when it answers.
    pub(crate) fn add_server(self: ArcBorrow<'_, Self>, mac: MacAddress) -> Result<(), AddError> {
        if self.link.address() == Some(mac) {
            return Err(AddError::NotUnicast);
        }
        self.control.add(&self, &[mac])?;
        pr_info!("server {}: added\n", mac);
        self.kick();
        Ok(())
    }

    /// Removes a server.
    pub(crate) fn remove_server(
        self: ArcBorrow<'_, Self>,
        mac: MacAddress,
        how: How,
    ) -> Result<(), RemoveError> {
        let removal = self.control.removal.lock();
        let was_draining = self.control.look(|cluster| cluster.is_draining(mac));
        let servers = &self.device.servers;
        let removed = self
            .control
            .with(&self, |state| state.cluster.remove(now_ns(), mac, servers));
        let result = match removed {
            Err(_) => Err(RemoveError::NotThere),
            Ok(Removal::Done) => {
                pr_info!("server {}: removed\n", mac);
                Ok(())
            }
            Ok(Removal::Draining(_, _)) if how == How::Drained => {
                if !was_draining {
                    pr_info!("server {}: draining\n", mac);
                }
                Ok(())
            }
            Ok(Removal::Draining(slot, session)) => {
                let drain = || Drain::at_once(slot, servers, self.device.disk.load());
                let regardless = how == How::Regardless;
                self.let_go(slot, session, drain, || {}, regardless, !was_draining)
                    .map(|lost| {
                        if lost > 0 {
                            pr_warn!(
                                "server {}: {} pages lost: it had the only copy\n",
                                mac,
                                lost
                            );
                        }
                    })
            }
        };
        drop(removal);
        self.kick();
        result
    }

    /// Looks which servers that are draining can go. Returns when to look again, in nanoseconds
    /// from now.
    pub(super) fn drain_servers(self: ArcBorrow<'_, Self>) -> Option<u64> {
        if self.device.servers.draining().is_empty() {
            return None;
        }
        // Somebody lets one go right now: he kicks the worker when he is done.
        let mut walks = self.control.removal.try_lock()?;
        let mut again_ns = None;
        for slot in self.device.servers.draining().iter() {
            let session = self
                .control
                .look(|cluster| cluster.draining().find(|(draining, _)| *draining == slot));
            let (Some((_, session)), Some(walk)) = (session, walks.get_mut(slot.index())) else {
                continue;
            };
            let found = walk.advance(session, &self.drain(slot), &self.device.map, PART_PAGES);
            let needed = match found {
                Found::NotYet => false,
                Found::Needed => true,
                Found::None => {
                    let drain = || self.drain(slot);
                    let tend = || self.tend_meanwhile();
                    self.let_go(slot, session, drain, tend, false, false)
                        .is_err()
                }
            };
            let wait_ns = if needed { NEEDED_NS } else { WALK_NS };
            again_ns = Some(again_ns.map_or(wait_ns, |other: u64| other.min(wait_ns)));
        }
        again_ns
    }

    fn drain(&self, slot: ServerSlot) -> Drain {
        let device = &self.device;
        Drain::draining(slot, &device.servers, device.replicas(), device.disk.load())
    }

    /// Lets a server go, if it turns out that no page needs it, or `regardless`. Returns how many pages
    /// are lost. If it is needed, it `stays`, or goes on draining. The whole map is looked at; now and
    /// then `meanwhile` is called.
    fn let_go(
        self: ArcBorrow<'_, Self>,
        slot: ServerSlot,
        session: u64,
        drain: impl Fn() -> Drain,
        mut meanwhile: impl FnMut(),
        regardless: bool,
        stays: bool,
    ) -> Result<u64, RemoveError> {
        let servers = &self.device.servers;
        let begun = self.control.with(&self, |state| {
            state.cluster.begin_quiescing(slot, session, servers)
        });
        if !begun {
            return Ok(0);
        }
        // From here on no page comes to need it, but by the loss of another copy.
        self.synchronize_queues();
        let mac = servers.address(slot).mac;
        let mut left_ms = WAIT_MS;
        let mut result = Err(RemoveError::Unknown);
        for _ in 0..LOOKS {
            let drain = drain();
            let needing = self.count_needing(&drain, &mut left_ms, &mut meanwhile);
            if needing != 0 && !regardless {
                result = Err(RemoveError::Needed(needing));
                break;
            }
            // Under the cluster's lock no server is lost; a disk that fails then, fails afterwards.
            let closed = self.control.with(&self, |state| {
                let why = match regardless {
                    true => Why::Regardless,
                    false => Why::NotNeeded(&drain, self.device.disk.load()),
                };
                state.cluster.close(now_ns(), slot, session, why, servers)
            });
            match closed {
                Close::Outdated => continue,
                Close::Done => pr_info!("server {}: removed\n", mac),
                Close::Gone => {}
            }
            result = Ok(needing);
            break;
        }
        if result.is_err() {
            self.control.with(&self, |state| {
                state
                    .cluster
                    .cancel_quiescing(slot, session, stays, servers);
            });
        }
        self.synchronize_queues();
        result
    }

    /// How many pages need the server that is quiescing. Page-outs are waited for, `left_ms` in all.
    fn count_needing(&self, drain: &Drain, left_ms: &mut u32, mut meanwhile: impl FnMut()) -> u64 {
        let mut needing = 0_u64;
        self.for_each_part(|pages| {
            let found = drain.count(&self.device.map, pages, || match left_ms.checked_sub(1) {
                Some(left) => {
                    *left_ms = left;
                    fsleep(Delta::from_millis(1));
                    true
                }
                None => false,
            });
            needing = needing.saturating_add(found);
            meanwhile();
        });
        needing
    }
}
