// SPDX-License-Identifier: GPL-2.0

//! The parts of a world that the oracle may ask about.

use super::*;
use crate::seals::Seals;

/// The state that the oracle may read.
pub(super) struct Witness<'a> {
    pub(super) now_ns: u64,
    pub(super) clients: &'a [Client],
    pub(super) servers: &'a [SimServer],
    pub(super) network: &'a Network,
    pub(super) seals: &'a Seals,
    pub(super) lease_ended_ns: Option<u64>,
    /// When the lease of a client that has died for good is over.
    pub(super) dead_ns: Option<u64>,
    pub(super) rewound: &'a Rewound,
    /// How long a client may take to open a session with a server.
    pub(super) opening_ns: u64,
    /// Whether servers have a place for every client that there has ever been.
    pub(super) admits_all: bool,
}

impl Witness<'_> {
    pub(super) fn server_of(&self, mac: MacAddress) -> usize {
        let found = self.servers.iter().position(|server| server.mac == mac);
        found.unwrap_or(usize::MAX)
    }
}

impl Evidence for Witness<'_> {
    fn copies(&self, _: usize, page: u32, content: Content) -> Vec<Copy> {
        let servers = self.servers.iter();
        servers
            .flat_map(|server| server.copies(self.seals, page, content))
            .collect()
    }

    fn claims(&self, client: usize, page: u32) -> Option<Vec<Claim>> {
        self.clients[client].claims(page, |mac| self.server_of(mac))
    }

    fn on_disk(&self, client: usize, page: u32) -> Option<Bytes> {
        let client = &self.clients[client];
        let local = client.local.as_ref()?;
        let counts = client.counts_on_disk(page)?;
        counts.then(|| local.disk.block(page))
    }

    fn disk_well_since_ns(&self, client: usize) -> Option<u64> {
        let client = &self.clients[client];
        let local = client.local.as_ref()?;
        let well_ns = local.disk.well_since_ns()?.max(client.frozen_until_ns);
        (well_ns <= self.now_ns).then_some(well_ns)
    }

    fn disk_usable_since_ns(&self, client: usize) -> Option<u64> {
        let well_ns = self.disk_well_since_ns(client)?;
        let local = self.clients[client].local.as_ref()?;
        Some(well_ns.max(local.usable_since_ns?))
    }

    fn disk_was_faulty_since(&self, client: usize, since_ns: u64) -> bool {
        let local = self.clients[client].local.as_ref();
        local.is_none_or(|local| local.disk.was_faulty_since(since_ns))
    }

    fn disk_gone_since(&self, client: usize, since_ns: u64) -> bool {
        let local = self.clients[client].local.as_ref();
        local.is_some_and(|local| local.detached_ns.is_some_and(|gone_ns| gone_ns >= since_ns))
    }

    fn is_disk_taken(&self, client: usize) -> bool {
        let local = self.clients[client].local.as_ref();
        local.is_some_and(|local| local.disk.is_gone())
    }

    fn disk_full_since(&self, client: usize, since_ns: u64) -> bool {
        let local = self.clients[client].local.as_ref();
        local.is_some_and(|local| local.full_ns.is_some_and(|full_ns| full_ns >= since_ns))
    }

    fn is_held_back(&self, client: usize) -> bool {
        let state = self.clients[client].device.disk.load();
        state.is_usable() && state.policy() != Policy::Lag
    }

    fn was_put_back(&self, server: usize) -> bool {
        self.rewound.is(server)
    }

    fn calm_since_ns(&self, client: usize, server: usize) -> Option<u64> {
        let gentle = self
            .network
            .gentle_since_ns(Node::Client(client), Node::Server(server))?;
        let client = &self.clients[client];
        if client.frozen_until_ns > self.now_ns || !client.is_up {
            return None;
        }
        let running = self.servers[server].running_since_ns()?;
        Some(
            gentle
                .max(running)
                .max(client.frozen_until_ns)
                .max(client.mtu_set_ns),
        )
    }

    fn calm_since(&self, client: usize, since_ns: u64) -> Vec<usize> {
        let is_calm = |&server: &usize| {
            let calm_ns = self.calm_since_ns(client, server);
            calm_ns.is_some_and(|calm_ns| calm_ns <= since_ns)
        };
        (0..self.servers.len()).filter(is_calm).collect()
    }

    fn gone_since_ns(&self, client: usize, server: usize, incarnation: u64) -> Option<u64> {
        let cut_ns = self
            .network
            .cut_since_ns(Node::Client(client), Node::Server(server));
        let died_ns = self.servers[server].died_ns(incarnation);
        // Either is enough. A server that runs again in another start notifies the client.
        let died_ns = died_ns.filter(|_| !self.servers[server].is_alive());
        let gone_ns = [cut_ns, died_ns].into_iter().flatten().min()?;
        // A frame of the server's that is late, or sent again by somebody else, is a sign of life.
        let heard_ns = self.clients[client].heard_ns.get(&self.servers[server].mac);
        Some(gone_ns.max(heard_ns.copied().unwrap_or(0)))
    }

    fn all_gone_since_ns(&self, client: usize) -> Option<u64> {
        // A client that has just started has its whole I/O timeout left.
        let added_ns = self.clients[client].added_ns.values().max();
        let mut gone_ns = added_ns.copied().unwrap_or(0);
        for (number, server) in self.servers.iter().enumerate() {
            let last = server.last_incarnation();
            gone_ns = self.gone_since_ns(client, number, last)?.max(gone_ns);
        }
        Some(gone_ns)
    }

    fn any_full_since(&self, client: usize, since_ns: u64) -> bool {
        let mac = self.clients[client].mac;
        self.servers.iter().any(|server| {
            server
                .last_full_ns
                .is_some_and(|full_ns| full_ns >= since_ns)
                || server.was_full_for(mac, since_ns)
                || server.denied_since(since_ns)
                || server.free_pages() == 0
        })
    }

    fn incarnation(&self, server: usize) -> Option<u64> {
        self.servers[server].incarnation()
    }

    fn usable_since(&self, client: usize, since_ns: u64) -> Vec<usize> {
        let usable = |&server: &usize| {
            let state = &self.servers[server];
            let added = self.clients[client].added_ns.get(&state.mac);
            let calm = self.calm_since_ns(client, server);
            // A restarted server waits for a slot until others have been swept.
            let slow = &self.clients[client];
            let is_known =
                !slow.has_pending_changes() || slow.has_open(state.mac, state.incarnation());
            // A HELLO may be lost, so in the first seconds only servers with a session count.
            let opened_ns = slow.opened_ns.get(&state.mac);
            let has_opened =
                since_ns > 0 || opened_ns.is_some_and(|opened_ns| *opened_ns <= LOAD_NS);
            is_known
                && has_opened
                && added.is_some_and(|added_ns| *added_ns + self.opening_ns <= since_ns)
                && calm.is_some_and(|calm_ns| calm_ns <= since_ns)
                && state.full_ns.is_none_or(|full_ns| full_ns < since_ns)
                && !state.denied_since(since_ns)
                && !state.was_full_for(self.clients[client].mac, since_ns)
                && state.free_pages() > 0
        };
        (0..self.servers.len()).filter(usable).collect()
    }

    fn has_had_room_since(&self, client: usize, server: usize, since_ns: u64) -> bool {
        let (state, of) = (&self.servers[server], &self.clients[client]);
        let added_ns = of.added_ns.get(&state.mac);
        // A running server that has opened no session with the client may have refused it.
        let is_known = !state.is_alive() || of.has_open(state.mac, state.incarnation());
        added_ns.is_some_and(|added_ns| *added_ns + self.opening_ns <= since_ns)
            && (is_known || self.admits_all)
            && state.last_full_ns.is_none_or(|full_ns| full_ns < since_ns)
            && !state.denied_since(since_ns)
            && !state.was_full_for(of.mac, since_ns)
            && (!state.is_alive() || state.free_pages() > 0)
    }

    fn servers(&self) -> usize {
        self.servers.len()
    }

    fn keeps_dead(&self) -> Option<usize> {
        let dead_ns = self.dead_ns?;
        let live = self.clients.iter().filter(|client| !client.is_dead);
        let live = live.count();
        let keeps = |server: &SimServer| {
            let since_ns = dead_ns.max(server.roomy_ns);
            server.open_sessions() > live && self.now_ns > since_ns + IN_THE_WAY_NS
        };
        self.servers.iter().position(keeps)
    }

    fn lease_ended_since(&self, since_ns: u64) -> bool {
        self.lease_ended_ns
            .is_some_and(|ended_ns| ended_ns >= since_ns)
    }
}
