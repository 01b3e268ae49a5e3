// SPDX-License-Identifier: GPL-2.0

//! The sessions that are opened while the module is loaded. The engine decides how long loading waits, and
//! whether the servers are enough and have room for the device.
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
        loading::{
            Answered,
            Loading, //
        },
        server_room::{
            Fit,
            ServerRoom, //
        }, //
    },
    wire::Status,
};

/// Waits for servers as long as the engine says. Returns how many are up.
fn wait_for_servers(params: &Params, client: &Arc<Client>, loading: &mut Loading) -> Result<usize> {
    let cluster = &client.cluster;
    let mut up = 0;
    while let Some(wait) = loading.next(up, cluster.is_refused(Status::Wait)) {
        if wait.is_extra {
            let (wanted, wait_s, enough) = (params.servers.len(), params.wait_s, wait.servers);
            pr_info!("{up} of {wanted} servers answered: waiting up to {wait_s} s for {enough}\n");
        }
        up = cluster.wait_for_servers(wait.servers, wait.timeout_ms)?;
    }
    Ok(up)
}

/// Opens the sessions. Waits for a bounded time.
#[inline(never)]
pub(super) fn open(params: &Params, client: &Arc<Client>, has_local: bool) -> Result {
    client.cluster.mtu_changed(&client.shared);
    client
        .cluster
        .add(&client.shared, &params.servers)
        .map_err(|_| EINVAL)?;
    // Not before the servers are added: several machines may have one list, so our own address in it is no
    // error.
    client.cluster.address_changed(&client.shared);
    let interface = &*params.interface;
    let own = client.shared.link.address();
    if let Some(own) = own.filter(|own| params.servers.contains(own)) {
        pr_warn!(
            "server {own}: is this machine's own address on {interface} and cannot answer; leave it out of servers=\n"
        );
    }
    client.shared.kick();
    let wanted = params.servers.len();
    let (replicas, connect_ms) = (params.config.replicas, params.connect_ms);
    let mut loading = Loading::new(wanted, replicas, connect_ms, params.wait_s);
    let up = wait_for_servers(params, client, &mut loading)?;
    match loading.answered(up, has_local, client.cluster.is_refused(Status::InUse)) {
        Answered::InUse => {
            pr_err!("servers have a live session of a client with this identity; give this one another client_id=\n");
            return Err(EBUSY);
        }
        Answered::Nobody => {
            pr_err!(
                "none of {wanted} servers answered on {interface} within {connect_ms} ms; check that they run and that the interface is up\n"
            );
            return Err(EHOSTUNREACH);
        }
        Answered::Degraded => pr_warn!(
            "degraded: {up} of {wanted} servers answered, {replicas} replicas are wanted of each page\n"
        ),
        Answered::All => {}
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
    let room = ServerRoom::new(&rooms, params.config.replicas);
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
