// SPDX-License-Identifier: GPL-2.0

//! The state that all stations share: the clock, random numbers, the network, the oracle and the trace.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::authentic::Authentic;
use crate::course::Course;
use crate::event::{Event, Queue};
use crate::faults::{Counts, Fault};
use crate::network::Network;
use crate::night::Night;
use crate::oracle::{Oracle, RequestId};
use crate::scenario::{Scenario, Simplify};
use crate::seals::Seals;
use crate::trace::Trace;

/// Everything except the stations.
pub struct Context {
    pub now_ns: u64,
    pub rng: ChaCha8Rng,
    pub queue: Queue,
    pub network: Network,
    pub oracle: Oracle,
    pub counts: Counts,
    pub trace: Trace,
    pub scenario: Scenario,
    /// What clients have sealed.
    pub seals: Seals,
    /// The frames of stations, if they are signed.
    pub authentic: Authentic,
    requests: RequestId,
    /// The frames that the network delays for hours, if it does.
    pub night: Option<Night>,
    /// The random numbers for clocks.
    clocks: ChaCha8Rng,
    /// The random numbers for operators and maintenance.
    maintenance: ChaCha8Rng,
    /// The random numbers for what happens to clients' hosts.
    hosts: ChaCha8Rng,
    /// The random numbers for keys.
    keys: ChaCha8Rng,
}

impl Context {
    /// The state at the beginning of a run.
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
            seals: Seals::default(),
            authentic: Authentic::default(),
            requests: 0,
            night: (scenario.course == Course::Night).then(|| Night::new(seed)),
            scenario,
            clocks: ChaCha8Rng::seed_from_u64(seed ^ 0x63_6c6f_636b),
            maintenance: ChaCha8Rng::seed_from_u64(seed ^ 0x6d_6169_6e74),
            hosts: ChaCha8Rng::seed_from_u64(seed ^ 0x68_6f73_7473),
            keys: ChaCha8Rng::seed_from_u64(seed ^ 0x6b65_7973),
        }
    }

    /// A number for a request.
    pub fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        self.requests
    }

    /// Draws by how many parts in a million a host's clock is fast.
    pub fn drift(&mut self) -> i64 {
        if !self.scenario.enabled.clock_rates {
            return 0;
        }
        self.counts.fault(Fault::ClockDrifted);
        self.clocks.random_range(-DRIFT_MAX..=DRIFT_MAX)
    }

    /// Draws from the random numbers for clocks.
    pub fn draw_clock(&mut self, below: u64) -> u64 {
        self.clocks.random_range(0..below)
    }

    /// Draws from the random numbers for maintenance.
    pub fn draw_maintenance(&mut self, below: u64) -> u64 {
        self.maintenance.random_range(0..below)
    }

    /// Draws from the random numbers for what happens to clients' hosts.
    pub fn draw_host(&mut self, below: u64) -> u64 {
        self.hosts.random_range(0..below)
    }

    /// Draws a part of a key.
    pub fn draw_key(&mut self) -> u64 {
        self.keys.random()
    }

    /// Adds a line to the trace, if it is enabled.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.now_ns, line);
    }

    /// Schedules `event` in `delay_ns`.
    pub fn after(&mut self, delay_ns: u64, event: Event) {
        self.queue.put(self.now_ns + delay_ns, event);
    }

    /// A delay inside a host: usually microseconds, sometimes none, sometimes milliseconds.
    pub fn host_delay(&mut self) -> u64 {
        match self.rng.random_range(0..100) {
            0..30 => 0,
            30..98 => self.rng.random_range(0..20_000),
            _ if self.scenario.enabled.slow_client => self.rng.random_range(0..20_000_000),
            _ => self.rng.random_range(0..200_000),
        }
    }

    /// Draws whether an event of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }
}

/// How fast or slow a clock is at most, in parts in a million: the limit of NTP.
pub const DRIFT_MAX: i64 = 500;

/// The longest [`Context::host_delay`].
pub const HOST_DELAY_MAX_NS: u64 = 20_000_000;
