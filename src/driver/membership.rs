// SPDX-License-Identifier: GPL-2.0

//! Adding and removing servers while the device is in use.
//!
//! The engine's [`Removals`] decides; its steps are carried out here, under `ClusterLock::removal`: by the
//! worker for servers that drain, by an ioctl for a server that is to go at once.
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
        maintenance::{
            removal::{
                Begun,
                How,
                Outcome,
                Removals,
                RemoveError,
                Step, //
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

/// The result of a step.
enum Carried {
    /// The next step can be carried out at once.
    Out,
    /// The next step is due in so many nanoseconds, and other work may be done before.
    Until(u64),
    /// This was the last step.
    Last(Outcome),
}

impl Client {
    /// Adds a server. The session is opened when it answers.
    pub(crate) fn add_server(&self, mac: MacAddress) -> Result<(), AddError> {
        if self.shared.link.address() == Some(mac) {
            return Err(AddError::NotUnicast);
        }
        self.cluster.add(&self.shared, &[mac])?;
        pr_info!("server {}: added\n", mac);
        self.shared.kick();
        Ok(())
    }

    /// Removes a server. Sleeps.
    pub(crate) fn remove_server(&self, mac: MacAddress, how: How) -> Result<(), RemoveError> {
        let mut removals = self.cluster.removal.lock();
        // A removal that the worker has begun, if there is one.
        self.end_removal(&mut removals);
        let begun = self.cluster.with(&self.shared, |state| {
            removals.remove(now_ns(), mac, how, &mut state.cluster, &self.shared.device)
        });
        let result = begun.and_then(|begun| match begun {
            Begun::Gone => {
                pr_info!("server {}: removed\n", mac);
                Ok(())
            }
            Begun::Draining { is_new } => {
                if is_new {
                    pr_info!("server {}: draining\n", mac);
                }
                Ok(())
            }
            Begun::Quiescing => match self.end_removal(&mut removals) {
                Some(outcome) => outcome.result.map(|lost| {
                    if lost > 0 {
                        pr_warn!(
                            "server {}: {} pages lost: it had the only copy\n",
                            mac,
                            lost
                        );
                    }
                }),
                None => Ok(()),
            },
        });
        drop(removals);
        self.shared.kick();
        result
    }

    /// Carries out the remaining steps for the quiescing server, if there is one. Sleeps.
    fn end_removal(&self, removals: &mut Removals) -> Option<Outcome> {
        loop {
            match self.carry_out(removals)? {
                Carried::Out => {}
                Carried::Until(0) => cond_resched(),
                Carried::Until(wait_ns) => fsleep(Delta::from_nanos(wait_ns.cast_signed())),
                Carried::Last(outcome) => return Some(outcome),
            }
        }
    }

    /// For the worker: checks which draining servers can be removed, in one part of the map for each.
    /// Returns when to check again, in nanoseconds from now.
    pub(super) fn drain_servers(&self) -> Option<u64> {
        // Another task that holds it kicks the worker afterwards.
        let mut removals = self.cluster.removal.try_lock()?;
        loop {
            match self.carry_out(&mut removals) {
                None => match removals.look(&self.shared.device, PART_PAGES) {
                    Some(0) => {}
                    again_ns => return again_ns,
                },
                Some(Carried::Out) => {}
                Some(Carried::Until(wait_ns)) => return Some(wait_ns),
                Some(Carried::Last(outcome)) => return Some(outcome.again_ns()),
            }
        }
    }

    /// Carries out the next step for the quiescing server; `None` if there is none.
    fn carry_out(&self, removals: &mut Removals) -> Option<Carried> {
        match removals.next_step()? {
            Step::Cluster => self.cluster.with(&self.shared, |state| {
                removals.with_cluster(now_ns(), &mut state.cluster, &self.shared.device);
            }),
            Step::Shards => self.synchronize_queues(),
            Step::Walk => {
                removals.walk(&self.shared.device, PART_PAGES);
                return Some(Carried::Until(0));
            }
            Step::Wait(wait_ns) => return Some(Carried::Until(wait_ns)),
            Step::Done(outcome) => {
                if outcome.is_closed {
                    pr_info!("server {}: removed\n", outcome.mac);
                }
                return Some(Carried::Last(outcome));
            }
        }
        Some(Carried::Out)
    }
}
