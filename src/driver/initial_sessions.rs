// SPDX-License-Identifier: GPL-2.0

//! The sessions that are opened while the module is loaded: which servers answer, whether they are enough,
//! and whether they have room for the device.
//!
//! Context: process. It sleeps.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    client::Client,
    params::Params, //
};
use crate::{
    engine::client::{
        ids::SERVER_SLOTS,
        room::{
            Fit,
            Room, //
        }, //
    },
    wire::{
        Status,
        PAGE_SIZE, //
    },
};

/// Pages of a MiB.
const PAGES_OF_MIB: usize = (1 << 20) / PAGE_SIZE;

/// How long servers may take to end the session of an older life: two seconds and some attempts.
const REPLACED_MS: u32 = 5000;

/// Waits for servers as long as the administrator allows. Returns how many are up.
fn wait_for_servers(params: &Params, client: &Arc<Client>, wanted: usize) -> Result<usize> {
    let cluster = &client.cluster;
    let mut up = cluster.wait_for_servers(wanted, params.connect_ms)?;
    if up < wanted && cluster.is_refused(Status::Wait) {
        // Servers are challenging an older life of this client.
        up = cluster.wait_for_servers(wanted, REPLACED_MS)?;
    }
    let enough = wanted.min(params.config.replicas);
    if up < enough && params.wait_s > 0 {
        pr_info!(
            "{} of {} servers answered: waiting up to {} s for {}\n",
            up,
            wanted,
            params.wait_s,
            enough
        );
        up = cluster.wait_for_servers(enough, params.wait_s.saturating_mul(1000))?;
        if up >= enough && up < wanted {
            // After a power failure servers start one after the other.
            up = cluster.wait_for_servers(wanted, params.connect_ms)?;
        }
    }
    Ok(up)
}

/// Opens the sessions. Waits for a bounded time.
#[inline(never)]
pub(super) fn open(params: &Params, client: &Arc<Client>, has_local: bool) -> Result {
    client.cluster.mtu_changed(&client.shared);
    client.cluster.address_changed(&client.shared);
    client
        .cluster
        .add(&client.shared, &params.servers)
        .map_err(|_| EINVAL)?;
    // Several machines may have one list, so this is no error.
    let own = client.shared.link.address();
    if let Some(own) = own.filter(|own| params.servers.contains(own)) {
        pr_warn!(
            "server {}: is this machine's own address on {} and cannot answer; leave it out of servers=\n",
            own,
            &*params.interface
        );
    }
    client.shared.kick();
    let wanted = params.servers.len();
    let up = wait_for_servers(params, client, wanted)?;
    if up == 0 && !has_local && client.cluster.is_refused(Status::InUse) {
        pr_err!("servers have a live session of a client with this identity; give this one another client_id=\n");
        return Err(EBUSY);
    }
    if up == 0 && !has_local {
        pr_err!(
            "none of {} servers answered on {} within {} ms; check that they run and that the interface is up\n",
            wanted,
            &*params.interface,
            params.connect_ms
        );
        return Err(EHOSTUNREACH);
    }
    if up < wanted || up < params.config.replicas {
        pr_warn!(
            "degraded: {} of {} servers answered, {} replicas are wanted of each page\n",
            up,
            wanted,
            params.config.replicas
        );
    }
    check_room(params, client, up, has_local)
}

/// Refuses a device that is too large for its servers.
#[inline(never)]
fn check_room(params: &Params, client: &Arc<Client>, up: usize, has_local: bool) -> Result {
    let mut rooms = [0; SERVER_SLOTS];
    client.cluster.reports(|slot, report| {
        if let Some(room) = rooms.get_mut(slot) {
            *room = report.capacity_pages;
        }
    });
    let room = Room::new(&rooms, params.config.replicas);
    let size_mib = params.pages / PAGES_OF_MIB;
    // PANIC: none; the divisor is a constant.
    let (fits_mib, offered_mib) = (room.fitting_pages >> 8, room.offered_pages >> 8);
    let is_complete = up >= params.servers.len();
    let may_exceed = has_local || params.overcommit;
    match room.fit(params.pages as u64, is_complete, may_exceed) {
        Fit::Fits => Ok(()),
        Fit::Exceeds => {
            pr_warn!(
                "the device has {} MiB; {} servers that answered have {} MiB, enough for {} MiB in {} copies\n",
                size_mib,
                room.servers,
                offered_mib,
                fits_mib,
                room.copies
            );
            Ok(())
        }
        Fit::TooLarge => {
            pr_err!(
                "size_mib={} is more than the servers have room for: {} servers have {} MiB, enough for {} MiB in {} copies; reduce it, add servers or a local disk, or set overcommit=1\n",
                size_mib,
                room.servers,
                offered_mib,
                fits_mib,
                room.copies
            );
            Err(ENOSPC)
        }
    }
}
