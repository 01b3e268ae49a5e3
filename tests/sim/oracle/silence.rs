// SPDX-License-Identifier: GPL-2.0

//! When clients could last reach servers. Requests wait for the I/O timeout after that.

use std::collections::BTreeMap;

use super::evidence::Evidence;
use super::CALM_NS;
use crate::scenario::{MS, S};

/// How long a client may take beyond the I/O timeout to give up the servers that it cannot reach: it has to
/// notice their silence, and to check.
const NOTICE_NS: u64 = 8 * S;

/// The longest request that begins after that: it ends at once.
const GIVEN_UP_NS: u64 = 500 * MS;

/// When servers were last seen to be healthy.
#[derive(Default)]
pub struct Silence {
    /// By client and server.
    well_ns: BTreeMap<(usize, usize), u64>,
    /// By client: when as many servers as a page-out needs were last healthy at the same time.
    enough_ns: BTreeMap<usize, u64>,
}

impl Silence {
    /// Checks the current state.
    pub fn look(&mut self, now_ns: u64, client: usize, min_copies: usize, seen: &impl Evidence) {
        let since_ns = now_ns.saturating_sub(CALM_NS);
        for server in seen.calm_since(client, since_ns) {
            self.well_ns.insert((client, server), now_ns);
        }
        if seen.usable_since(client, since_ns).len() >= min_copies {
            self.enough_ns.insert(client, now_ns);
        }
    }

    /// A client may count this much time that has not passed.
    pub fn hurry(&mut self, client: usize, by_ns: u64) {
        let of_client = self.well_ns.iter_mut().filter(|((of, _), _)| *of == client);
        let well_ns = of_client.map(|(_, well_ns)| well_ns);
        for ns in well_ns.chain(self.enough_ns.get_mut(&client)) {
            *ns = ns.saturating_sub(by_ns);
        }
    }

    /// Whether a client may have given up a server.
    pub fn may_give_up(
        &self,
        now_ns: u64,
        client: usize,
        server: usize,
        io_timeout_ns: u64,
    ) -> bool {
        let well_ns = self.well_ns.get(&(client, server));
        well_ns.is_none_or(|well_ns| well_ns + io_timeout_ns <= now_ns)
    }

    /// When a server was last seen to be healthy, if the client cannot have given it up since.
    pub fn not_given_up(
        &self,
        now_ns: u64,
        client: usize,
        server: usize,
        io_timeout_ns: u64,
    ) -> Option<u64> {
        let may_give_up = self.may_give_up(now_ns, client, server, io_timeout_ns);
        let well_ns = self.well_ns.get(&(client, server)).copied();
        well_ns.filter(|_| !may_give_up)
    }

    /// Whether a client may have given up all servers.
    pub fn may_give_up_all(&self, now_ns: u64, client: usize, io_timeout_ns: u64) -> bool {
        let enough_ns = self.enough_ns.get(&client);
        enough_ns.is_none_or(|enough_ns| enough_ns + io_timeout_ns <= now_ns)
    }
}

/// Whether a request that began at `began_ns` has waited too long, if at `out_ns` no server that it could
/// wait for had been reachable for the I/O timeout. A request that begins after the client has noticed that
/// ends at once: it does not wait for an I/O timeout of its own.
pub fn is_too_long(now_ns: u64, began_ns: u64, out_ns: u64) -> bool {
    now_ns > began_ns.max(out_ns + NOTICE_NS) + GIVEN_UP_NS
}
