// SPDX-License-Identifier: GPL-2.0

//! Adding and removing servers while the device is in use.
//!
//! The engine's [`Removals`] decides; its steps are carried out here, under `ClusterLock::removal`: by the
//! worker for servers that drain, by an ioctl for a server that is removed at once.
//!
//! Context: process.

use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use super::client::Client;
use crate::{
    engine::client::{
        cluster::AddError,
        ids::SERVER_SLOTS,
        maintenance::{
            removal::{
                Begun,
                Outcome,
                RemovalMode,
                RemovalStep, //
                Removals,
                RemoveError,
            },
            PART_PAGES, //
        },
    },
    linux::{
        sched::cond_resched,
        time::hrtimer::now_ns, //
    },
    wire::MacAddress, //
};

/// Why a server is not added.
pub(crate) enum AddServerError {
    /// The cluster refuses it.
    Add(AddError),
    /// The key that is shared with it cannot be read.
    Key(Error),
}

impl Client {
    /// Adds a server. The session is opened when it answers.
    ///
    /// If frames are signed, the key that is shared with it is read from the keyring of the calling task.
    pub(crate) fn add_server(&self, mac: MacAddress) -> Result<(), AddServerError> {
        let reading = self.cluster.reading.lock();
        let keys = self.cluster.read_keys(core::iter::once(mac));
        let keys = keys.map_err(|(_, error)| AddServerError::Key(error))?;
        self.cluster.add(&self.shared, mac, &keys)?;
        drop(reading);
        pr_info!("server {mac}: added\n");
        self.shared.kick();
        Ok(())
    }

    /// Reads the keys that are shared with the servers again, and requests others of all sessions. Returns
    /// the server whose key cannot be read; nothing has changed then. Sleeps.
    pub(crate) fn rekey(&self) -> core::result::Result<(), (MacAddress, Error)> {
        let mut servers = [MacAddress::default(); SERVER_SLOTS];
        let mut count = 0_usize;
        self.cluster.reports(|_, report| {
            if let Some(place) = servers.get_mut(count) {
                *place = report.mac;
                count = count.saturating_add(1);
            }
        });
        let own = self.shared.link.address();
        let others = servers
            .into_iter()
            .take(count)
            .filter(|&server| Some(server) != own);
        let reading = self.cluster.reading.lock();
        let keys = self.cluster.read_keys(others)?;
        let changed = self.cluster.change_keys(&self.shared, &keys);
        changed.map_err(|error| (MacAddress::default(), error))?;
        drop(reading);
        pr_info!("keys: read again, and requested of all servers\n");
        self.shared.kick();
        Ok(())
    }

    /// Removes a server. Sleeps.
    pub(crate) fn remove_server(
        &self,
        mac: MacAddress,
        mode: RemovalMode,
    ) -> Result<(), RemoveError> {
        let mut removals = self.cluster.removal.lock();
        let result = loop {
            let begun = self.cluster.with(&self.shared, |state| {
                removals.remove(now_ns(), mac, mode, &mut state.cluster, &self.shared.device)
            });
            match begun {
                Ok(Begun::Another) => {
                    self.end_removal(&mut removals);
                }
                Ok(Begun::Quiescing) => {
                    let outcome = self.end_removal(&mut removals);
                    break outcome.map_or(Ok(0), |outcome| outcome.result);
                }
                Ok(Begun::Gone) => {
                    pr_info!("server {mac}: removed\n");
                    break Ok(0);
                }
                Ok(Begun::Draining { is_new }) => {
                    if is_new {
                        pr_info!("server {mac}: draining\n");
                    }
                    break Ok(0);
                }
                Err(error) => break Err(error),
            }
        };
        if let Ok(lost @ 1..) = result {
            pr_warn!("server {mac}: {lost} pages lost: it had the only copy\n");
        }
        drop(removals);
        self.shared.kick();
        result.map(|_| ())
    }

    /// Carries out the remaining steps for the quiescing server, if there is one. Sleeps.
    fn end_removal(&self, removals: &mut Removals) -> Option<Outcome> {
        loop {
            let step = removals.next_step()?;
            self.carry_out(removals, step);
            match step {
                RemovalStep::Wait(wait_ns) => fsleep(Delta::from_nanos(wait_ns.cast_signed())),
                RemovalStep::Done(outcome) => return Some(outcome),
                // The worker repeats pings that are not answered.
                RemovalStep::Cluster => self.shared.kick(),
                _ => cond_resched(),
            }
        }
    }

    /// For the worker: carries out a run of the removals. Returns when the next one is due, in nanoseconds
    /// from now.
    pub(super) fn drain_servers(&self) -> Option<u64> {
        // Another task that holds it kicks the worker afterwards.
        let mut removals = self.cluster.removal.try_lock()?;
        loop {
            match removals.next_step_of_run() {
                RemovalStep::Wait(wait_ns) => return Some(wait_ns),
                RemovalStep::Idle => return None,
                step => self.carry_out(&mut removals, step),
            }
        }
    }

    fn carry_out(&self, removals: &mut Removals, step: RemovalStep) {
        let device = &self.shared.device;
        match step {
            RemovalStep::Cluster => self.cluster.with(&self.shared, |state| {
                let (cluster, outbox) = state.parts();
                removals.with_cluster(now_ns(), cluster, outbox, device);
            }),
            RemovalStep::Shards => self.drive_queues(|shard, now_ns| {
                shard.servers_changed(now_ns, device);
            }),
            RemovalStep::VerifyQuiescing => removals.verify_quiescing(device, PART_PAGES),
            RemovalStep::ScanDraining => removals.scan_draining(device, PART_PAGES),
            RemovalStep::Done(outcome) if outcome.is_closed => {
                pr_info!("server {}: removed\n", outcome.mac);
            }
            RemovalStep::Done(_) | RemovalStep::Wait(_) | RemovalStep::Idle => {}
        }
    }
}
