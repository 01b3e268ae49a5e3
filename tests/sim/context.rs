// SPDX-License-Identifier: GPL-2.0

//! What all stations share: the clock, chance, the network, and who watches.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::event::{Event, Queue};
use crate::faults::Counts;
use crate::network::Network;
use crate::oracle::{Oracle, RequestId};
use crate::scenario::{Scenario, Simplify};
use crate::trace::Trace;

/// Everything but the stations.
pub struct Context {
    pub now_ns: u64,
    pub rng: ChaCha8Rng,
    pub queue: Queue,
    pub network: Network,
    pub oracle: Oracle,
    pub counts: Counts,
    pub trace: Trace,
    pub scenario: Scenario,
    requests: RequestId,
}

impl Context {
    /// The beginning of time.
    pub fn new(seed: u64, simpler: &[Simplify], traced: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut scenario = Scenario::draw(seed, &mut rng);
        for simplify in simpler {
            simplify(&mut scenario);
        }
        scenario.arrange(seed);
        let mut trace = Trace::new(traced);
        trace.note(0, || format!("{scenario:#?}"));
        Self {
            now_ns: 0,
            network: Network::new(&scenario),
            oracle: Oracle::new(&scenario),
            rng,
            queue: Queue::default(),
            counts: Counts::default(),
            trace,
            scenario,
            requests: 0,
        }
    }

    /// A number for a request.
    pub fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        self.requests
    }

    /// Notes an event, if anybody wants to read it.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.now_ns, line);
    }

    /// Has `event` happen in `delay_ns`.
    pub fn after(&mut self, delay_ns: u64, event: Event) {
        self.queue.put(self.now_ns + delay_ns, event);
    }

    /// A delay inside a host: microseconds as a rule, sometimes none, sometimes milliseconds.
    pub fn host_delay(&mut self) -> u64 {
        match self.rng.random_range(0..100) {
            0..30 => 0,
            30..98 => self.rng.random_range(0..20_000),
            _ if self.scenario.enabled.slow_client => self.rng.random_range(0..20_000_000),
            _ => self.rng.random_range(0..200_000),
        }
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }
}

/// The longest [`Context::host_delay`].
pub const HOST_DELAY_MAX_NS: u64 = 20_000_000;
