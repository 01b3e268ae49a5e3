// SPDX-License-Identifier: GPL-2.0

//! The text of each event that the engine has logged.
//!
//! Context: process, the worker's.

use kernel::prelude::*;

use super::client::Client;
use crate::{
    engine::client::{
        config::NS_PER_S,
        ids::ServerSlot,
        maintenance::event_log::Event, //
    },
    wire::{
        Fragmentation,
        Status, //
    },
};

impl Client {
    /// Logs the event.
    pub(super) fn log(&self, event: Event) {
        let device = &self.shared.device;
        let mac = |slot| device.servers.address(slot).mac;
        match event {
            Event::Distrusted(slot) => pr_err!(
                "server {}: keeps reporting page-outs that this machine never made; no longer used; restart or remove it\n",
                mac(slot)
            ),
            Event::LacksPage(slot) => pr_warn!(
                "server {}: is missing a page it should hold; it or this machine was rolled back; lost copies are replaced when they are read; to replace all of them now, remove the server and add it again\n",
                mac(slot)
            ),
            Event::Forgotten => pr_warn!(
                "servers know of page-outs that this machine does not: it was rolled back, and pages that were paged out since then are lost\n"
            ),
            Event::Jumped => pr_info!(
                "rollback handled: page versions now start at {}\n",
                device.next_version().0
            ),
            Event::Refused(slot) => self.log_refusal(slot),
            Event::Lost(slot) => pr_warn!(
                "server {}: has not answered for the loss timeout (loss_timeout_s); its copies no longer count, repairing\n",
                mac(slot)
            ),
            Event::TooNarrow(slot) => pr_warn!(
                "server {}: answers, but frames of {} bytes do not cross the path to it and back for the loss timeout (loss_timeout_s); pages need that MTU on all of the path; its copies no longer count, repairing\n",
                mac(slot),
                Fragmentation::min_mtu(self.shared.is_signed())
            ),
            Event::Back(slot) => {
                pr_info!("server {}: answers again, with its copies\n", mac(slot))
            }
            Event::Restarted(slot) => pr_warn!(
                "server {}: restarted, or dropped the session; its copies are lost, repairing\n",
                mac(slot)
            ),
            Event::Alone => pr_warn!(
                "no server has answered for {} s (io_timeout_s); requests that need one fail at once until one answers\n",
                device.io_timeout_ns() / NS_PER_S
            ),
            Event::Answered => pr_info!("a server answers again: requests are served\n"),
            Event::Full => pr_warn!(
                "the servers are full and refuse page-outs; add a server (anemonectl add) or attach a disk (anemonectl attach)\n"
            ),
        }
    }

    /// Logs why a server refuses the session.
    fn log_refusal(&self, slot: ServerSlot) {
        let Some(report) = self.cluster.look(|cluster| cluster.report(slot)) else {
            return;
        };
        let mac = report.mac;
        match report.refusal {
            Some(Status::InUse) => pr_warn!(
                "server {mac}: refused: another machine has a live session with this identity; load one of the two with another client_id=\n"
            ),
            Some(Status::TooManyClients) => pr_warn!(
                "server {mac}: refused: no room for another client, or for another from this address; raise its --max-clients\n"
            ),
            Some(Status::KeyWanted) => pr_warn!(
                "server {mac}: it takes only signed frames; load the module with keys=, or start it without --keys\n"
            ),
            Some(Status::NotAdmitted) => pr_warn!(
                "server {mac}: refused: this client is not admitted; check its --cluster and --allow\n"
            ),
            _ => {}
        }
    }
}
