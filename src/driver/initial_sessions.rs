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
use crate::engine::client::{
    ids::SERVER_SLOTS,
    server_room::{
        Fit,
        ServerRoom, //
    },
    startup_wait::{
        Answered,
        Answers,
        ServerWait, //
    }, //
};
use crate::{
    engine::channel::PairKey,
    wire::MacAddress, //
};

/// Waits for servers as long as the engine says. Returns their answers.
fn wait_for_servers(
    params: &Params,
    client: &Arc<Client>,
    waits: &mut ServerWait,
) -> Result<Answers> {
    let mut answers = Answers::default();
    while let Some(wait) = waits.next(answers) {
        if wait.is_extra {
            let (up, wanted) = (answers.up, params.servers.len());
            let (wait_s, enough) = (params.wait_s, wait.servers);
            pr_info!("{up} of {wanted} servers answered: waiting up to {wait_s} s for {enough}\n");
        }
        answers = client.cluster.wait_for_servers(wait)?;
    }
    Ok(answers)
}

/// Opens the sessions. Waits for a bounded time.
#[inline(never)]
pub(super) fn open(params: &Params, client: &Arc<Client>, has_local: bool) -> Result {
    client.cluster.mtu_changed(&client.shared);
    client.cluster.address_changed(&client.shared);
    let interface = &*params.interface;
    let own = client.shared.link.address();
    let keys = read_keys(params, client, own)?;
    let is_listed = client
        .cluster
        .add_listed(&client.shared, &params.servers, &keys, own)?;
    if let Some(own) = own.filter(|_| is_listed) {
        pr_warn!(
            "server {own}: is this machine's own address on {interface} and cannot answer; leave it out of servers=\n"
        );
    }
    client.shared.kick();
    let wanted = params.servers.len();
    let (replicas, connect_ms) = (params.config.replicas, params.connect_ms);
    let mut waits = ServerWait::new(wanted, replicas, connect_ms, params.wait_s);
    let answers = wait_for_servers(params, client, &mut waits)?;
    let up = answers.up;
    match waits.answered(answers, has_local) {
        Answered::InUse => {
            pr_err!("servers have a live session of a client with this identity; give this one another client_id=\n");
            return Err(EBUSY);
        }
        Answered::Nobody => {
            pr_err!(
                "none of {wanted} servers answered on {interface} within {connect_ms} ms; check that they run{} and that the interface is up\n",
                match params.keys.is_some() {
                    true => " with --keys and have keys of this client",
                    false => "",
                }
            );
            return Err(EHOSTUNREACH);
        }
        Answered::Degraded => pr_warn!(
            "degraded: {up} of {wanted} servers answered, {replicas} replicas are wanted of each page\n"
        ),
        Answered::All => {}
    }
    check_room(params, client, waits.is_complete(answers), has_local)
}

/// Reads the keys that are shared with the servers, if frames are signed. This machine's `own` address may be
/// listed.
#[inline(never)]
fn read_keys(
    params: &Params,
    client: &Client,
    own: Option<MacAddress>,
) -> Result<KVec<(MacAddress, PairKey)>> {
    let servers = params.servers.iter().copied();
    let others = servers.filter(|&server| Some(server) != own);
    client.cluster.read_keys(others).map_err(|(server, error)| {
        let why = match error {
            error if error == EINVAL => "it has not 32 bytes",
            error if error == EACCES => "it may not be searched for",
            error if error == ENOMEM => "there is no memory to read it",
            error if error == EKEYREVOKED => "it has been revoked",
            error if error == EKEYEXPIRED => "it has expired",
            _ => "there is none",
        };
        if let Some(prefix) = params.keys.as_deref() {
            pr_err!(
                "keys={prefix}: key {prefix}:{server} of type logon: {why} in the keyrings of this process; add it with anemonectl keyring add\n"
            );
        }
        error
    })
}

/// Refuses a device that is too large for its servers.
#[inline(never)]
fn check_room(params: &Params, client: &Arc<Client>, is_complete: bool, has_local: bool) -> Result {
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
