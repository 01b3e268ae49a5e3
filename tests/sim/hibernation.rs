// SPDX-License-Identifier: GPL-2.0

//! A client's host hibernates. Until its power is off, servers keep every page that the image names, because
//! the image may be used: the host would then continue from there. Here it always continues from where it
//! was, as if the hibernation had failed, or nothing had changed after the image.

use std::collections::BTreeSet;

use anemone::engine::client::ids::PageIndex;
use anemone::engine::client::server_table::Address;

use crate::client::ClientEvent;
use crate::disturbance::Disturbance;
use crate::event::Event;
use crate::faults::Fault;
use crate::scenario::MS;
use crate::world::World;

/// A page that the image names.
struct Named {
    page: u32,
    /// The low bits of its version.
    generation: u8,
    /// The servers that hold it, and the sessions.
    holders: Vec<Address>,
}

/// What is known of the hibernations of a client.
#[derive(Default)]
pub struct Hibernation {
    /// The pages that the image names, once it has been made.
    image: Option<Vec<Named>>,
    /// The pages whose page-outs ended since then or were under way. Servers may have newer versions of them.
    written: BTreeSet<u32>,
    /// How often it has ended.
    pub ended: u64,
}

impl Hibernation {
    /// A page is paged out.
    pub fn note_page_out(&mut self, page: u32) {
        if self.image.is_some() {
            self.written.insert(page);
        }
    }
}

impl World {
    /// The host is about to hibernate. Its programs still run.
    pub fn begin_hibernation(&mut self, number: usize, lasts_ns: u64) {
        let client = &self.clients[number];
        let is_stopped = client.frozen_until_ns > self.ctx.now_ns;
        let is_busy = client.device.is_hibernating() || client.is_unloading || is_stopped;
        if client.is_dead || is_busy || self.is_calm {
            return;
        }
        self.ctx.counts.fault(Fault::ClientHibernated);
        client.device.begin_hibernation();
        let delay_ns = self.ctx.draw_host(200 * MS);
        self.later(delay_ns, Disturbance::MakeImage(number, lasts_ns));
    }

    /// The image is made: notes what it names.
    pub fn make_image(&mut self, number: usize, lasts_ns: u64) {
        let client = &mut self.clients[number];
        let servers = &client.device.servers;
        let mut image = Vec::new();
        for page in 0..self.ctx.scenario.pages {
            let entry = client.device.map.load(PageIndex(page));
            if !entry.is_written() || entry.is_busy() {
                continue;
            }
            let slots = entry.replicas().intersection(servers.valid());
            image.push(Named {
                page,
                generation: entry.generation().0,
                holders: slots.iter().map(|slot| servers.address(slot)).collect(),
            });
        }
        client.hibernation.written = client.pages_going_out().collect();
        client.hibernation.image = Some(image);
        let delay_ns = self.ctx.draw_host(2000 * MS);
        self.later(delay_ns, Disturbance::PowerOff(number, lasts_ns));
    }

    /// The host has no power for a while. Servers still have what the image names.
    pub fn power_off(&mut self, number: usize, lasts_ns: u64) {
        self.audit_image(number);
        let now_ns = self.ctx.now_ns;
        let client = &mut self.clients[number];
        client.hibernation.image = None;
        if client.is_dead {
            return;
        }
        let until_ns = client.frozen_until_ns.max(now_ns + lasts_ns);
        client.frozen_until_ns = until_ns;
        client.suspend(&mut self.ctx, until_ns);
        self.ctx.oracle.freeze(now_ns, number, until_ns);
        let delay_ns = until_ns - now_ns + self.ctx.draw_host(100 * MS);
        self.later(delay_ns, Disturbance::EndHibernation(number));
    }

    /// The host runs again. It may have been rolled back.
    pub fn end_hibernation(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.hibernation.ended += 1;
        client.device.end_hibernation(self.ctx.draw_host(u64::MAX));
        client.add_key(&mut self.ctx);
        client.discard_keys(&mut self.ctx);
        self.ctx.after(0, Event::Client(number, ClientEvent::Kick));
    }

    fn audit_image(&mut self, number: usize) {
        let client = &self.clients[number];
        let Hibernation { image, written, .. } = &client.hibernation;
        if client.is_dead || self.lease_ended_ns.is_some() {
            return;
        }
        for named in image.iter().flatten() {
            if written.contains(&named.page) {
                continue;
            }
            for address in &named.holders {
                let servers = &client.device.servers;
                // The server may have restarted, or an operator may have removed it. The tasks of a host
                // whose image has been made do not run, but here they do.
                let is_open = servers
                    .valid()
                    .iter()
                    .any(|slot| servers.address(slot) == *address);
                let mac = address.mac;
                let server = self.servers.iter().find(|server| server.mac == mac);
                let incarnation = server.and_then(|server| server.incarnation());
                let is_same = is_open && incarnation == Some(address.incarnation);
                let held = server.map(|server| server.held(&self.ctx.seals, named.page));
                let mut held = held.iter().flatten();
                if is_same && !held.any(|(copy, _)| copy.version as u8 == named.generation) {
                    let page = named.page;
                    self.ctx.oracle.fail(|| {
                        format!(
                            "client {number} page {page}: {mac} has dropped what the image names"
                        )
                    });
                }
            }
        }
    }
}
