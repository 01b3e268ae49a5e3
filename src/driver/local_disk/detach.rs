// SPDX-License-Identifier: GPL-2.0

//! Detaching the local disk.
//!
//! Context: process, may sleep.

use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use super::Pool;
use crate::{
    driver::client::Client,
    engine::client::maintenance::{
        detach::{
            Detach,
            DetachError,
            Step, //
        },
        PART_PAGES, //
    },
    linux::{
        sched::cond_resched,
        time::hrtimer::now_ns, //
    }, //
};

impl DetachError {
    /// The error number for it.
    pub(crate) fn to_error(self) -> Error {
        match self {
            Self::NotAttached => ENODEV,
            Self::OnlyCopies(_) | Self::TimedOut | Self::UnderWay => EBUSY,
            Self::Interrupted => EINTR,
            Self::TookTooLong => ETIMEDOUT,
        }
    }
}

/// Detaches the disk; with `force` also if it has the only copy of some page. The disk can be read until
/// this succeeds. If it fails, the disk is used as before. The engine's [`Detach`] decides. Sleeps.
pub(crate) fn detach(client: &Client, force: bool) -> Result<(), DetachError> {
    let local = &client.shared.local;
    let mut attached = local.lock_attached().ok_or(DetachError::UnderWay)?;
    let (true, Some(pool)) = (attached.is_some(), local.pool()) else {
        return Err(DetachError::NotAttached);
    };
    carry_out_detach(client, pool, Detach::new(force))?;
    *attached = None;
    pr_info!("local disk: detached\n");
    Ok(())
}

/// Carries out the steps of a detach. Sleeps.
fn carry_out_detach(client: &Client, pool: &Pool, mut detach: Detach) -> Result<(), DetachError> {
    let shared = &client.shared;
    loop {
        match detach.next_step() {
            // The device that this returns is closed without any spinlock.
            Step::Mirror => drop(pool.advance_detach(shared, &mut detach)),
            Step::Shards => {
                client.drive_queues(|shard, now_ns| shard.disk_changed(now_ns, &shared.device));
            }
            Step::Walk => {
                detach.walk(&shared.device, PART_PAGES);
                cond_resched();
            }
            Step::Cluster => {
                client.cluster.with(shared, |state| {
                    let (cluster, outbox) = state.parts();
                    detach.with_cluster(now_ns(), cluster, outbox, &shared.device);
                });
                shared.kick();
            }
            Step::Wait(wait_ns) => {
                if kernel::current!().signal_pending() {
                    detach.interrupt();
                }
                fsleep(Delta::from_nanos(wait_ns.cast_signed()));
            }
            Step::Done(result) => return result,
        }
    }
}
