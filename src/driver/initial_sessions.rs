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
    wire::Status,
};

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
        let wait_s = params.wait_s;
        pr_info!("{up} of {wanted} servers answered: waiting up to {wait_s} s for {enough}\n");
        up = cluster.wait_for_servers(enough, wait_s.saturating_mul(1000))?;
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
    let interface = &*params.interface;
    let own = client.shared.link.address();
    if let Some(own) = own.filter(|own| params.servers.contains(own)) {
        pr_warn!(
            "server {own}: is this machine's own address on {interface} and cannot answer; leave it out of servers=\n"
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
        let connect_ms = params.connect_ms;
        pr_err!(
            "none of {wanted} servers answered on {interface} within {connect_ms} ms; check that they run and that the interface is up\n"
        );
        return Err(EHOSTUNREACH);
    }
    let replicas = params.config.replicas;
    if up < wanted || up < replicas {
        pr_warn!(
            "degraded: {up} of {wanted} servers answered, {replicas} replicas are wanted of each page\n"
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
    let size_mib = params.size_mib();
    // PANIC: none; the divisor is a constant.
    let (fits_mib, offered_mib) = (room.fitting_pages >> 8, room.offered_pages >> 8);
    let (servers, copies) = (room.servers, room.copies);
    let is_complete = up >= params.servers.len();
    let may_exceed = has_local || params.overcommit;
    match room.fit(params.pages as u64, is_complete, may_exceed) {
        Fit::Fits => Ok(()),
        Fit::Exceeds => {
            pr_warn!(
                "the device has {size_mib} MiB; {servers} servers that answered have {offered_mib} MiB, enough for {fits_mib} MiB in {copies} copies\n"
            );
            Ok(())
        }
        Fit::TooLarge => {
            pr_err!(
                "size_mib={size_mib} is more than the servers have room for: {servers} servers have {offered_mib} MiB, enough for {fits_mib} MiB in {copies} copies; reduce it, add servers or a local disk, or set overcommit=1\n"
            );
            Err(ENOSPC)
        }
    }
}
