// SPDX-License-Identifier: GPL-2.0

//! The scenario of a seed: sizes, speeds, and kinds of faults. Each kind of fault is left out of many seeds,
//! so that it does not hide others ("swarm testing", Groce and others, 2012).

use anemone::engine::client::mirror::{self, Policy};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::course::Course;

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;
/// Nanoseconds of a second.
pub const S: u64 = 1_000_000_000;

/// The probability of each fault of a frame while the network is rough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub lose: f64,
    pub repeat: f64,
    pub reorder: f64,
    pub delay: f64,
    pub corrupt: f64,
    pub truncate: f64,
    pub replay: f64,
    pub forge: f64,
    pub foreign: f64,
}

impl Rates {
    /// Whether anything happens to frames.
    pub fn any(&self) -> bool {
        let all = [
            [self.lose, self.repeat, self.reorder],
            [self.delay, self.corrupt, self.truncate],
            [self.replay, self.forge, self.foreign],
        ];
        all.iter().flatten().any(|rate| *rate > 0.0)
    }
}

/// The kinds of faults other than those of frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enabled {
    pub partition: bool,
    pub jumbo_limit: bool,
    pub mtu_change: bool,
    pub interface: bool,
    pub crash: bool,
    pub pause: bool,
    pub lie: bool,
    pub add: bool,
    pub freeze: bool,
    pub io_timeout: bool,
    pub change_page: bool,
    pub send_failure: bool,
    /// Servers that are removed.
    pub remove: bool,
    /// Clients whose power fails, and that start again.
    pub rebirth: bool,
    /// Servers whose hosts are suspended.
    pub suspend: bool,
    /// Hosts whose clock steps forward.
    pub clock_steps: bool,
    /// Clocks that run at different rates.
    pub clock_rates: bool,
    /// Clients whose hosts are suspended.
    pub sleep: bool,
    /// Sweeps that take seconds.
    pub slow_sweep: bool,
    /// Delays inside a client of milliseconds instead of microseconds.
    pub slow_client: bool,
    /// Fragments that are copied while others are received.
    pub slow_copy: bool,
    /// Signals to an operator who detaches a disk.
    pub signal: bool,
    /// Disks that are taken out of their machines.
    pub take_disk: bool,
    /// Clients that are unloaded while their disks have I/O, and loaded again.
    pub reload: bool,
    /// Clients whose hosts hibernate.
    pub hibernate: bool,
}

impl Enabled {
    /// Whether anything happens to a client's host that [`crate::world::World::inject_host_fault`] begins.
    pub fn any_of_host(&self) -> bool {
        self.take_disk || self.reload || self.hibernate
    }
}

/// A client's local disk and its faults.
#[derive(Clone, Copy, Debug)]
pub struct DiskScenario {
    /// Pages of the pool.
    pub buffers: usize,
    /// The time of an I/O without faults.
    pub latency_ns: u64,
    pub config: mirror::Config,
    pub slow: bool,
    pub fail: bool,
    pub hang: bool,
    pub detach: bool,
    pub configure: bool,
    /// It refuses I/O that may not wait while it has so many; `None` if it refuses nothing. With fewer it
    /// would not be well: requests would wait for too long.
    pub depth: Option<usize>,
    /// The time between two faults.
    pub disturbance_ns: u64,
}

impl DiskScenario {
    /// Drawn from separate random numbers, so that the meaning of seeds without a disk does not change.
    fn draw(seed: u64) -> Option<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6469_736b);
        if rng.random_bool(0.6) {
            return None;
        }
        let mut pick = |choices: &[u64]| choices.choose(&mut rng).copied().unwrap_or_default();
        let buffers = pick(&[4, 8, 32, 256]) as usize;
        let latency_ns = pick(&[50_000, MS, 10 * MS]);
        let disturbance_ns = pick(&[200 * MS, S, 5 * S]);
        let policy = match pick(&[0, 0, 1, 2]) {
            0 => Policy::Lag,
            1 => Policy::Strict,
            _ => Policy::Off,
        };
        let config = mirror::Config {
            policy,
            disk_timeout_ns: pick(&[S, 3 * S, 10 * S]),
            retries: pick(&[0, 2]) as u32,
            errors_max: pick(&[2, 16]) as u32,
            gather_ns: pick(&[0, 2 * MS]),
        };
        let mut half = || pick(&[0, 1]) == 1;
        Some(Self {
            buffers,
            latency_ns,
            config,
            slow: half(),
            fail: half(),
            hang: half(),
            detach: half(),
            configure: half(),
            depth: Some(pick(&[4, 6, 0, 0]) as usize).filter(|depth| *depth != 0),
            disturbance_ns,
        })
    }
}

/// Everything that is chosen before a run begins.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub course: Course,
    pub clients: usize,
    /// The number of servers, including those that are added later.
    pub servers: usize,
    /// The number of servers that clients know from the beginning.
    pub servers_at_first: usize,
    pub shards: usize,
    pub ops_per_shard: usize,
    pub pages: u32,
    pub replicas: u32,
    pub min_copies: u32,
    pub io_timeout_s: u32,
    pub mtu: usize,
    pub capacity_pages: u32,
    pub quota_pages: u64,
    pub max_clients: u16,
    pub assemblies: u16,
    pub lease_s: u32,
    /// How long there are load and faults.
    pub active_ns: u64,
    /// The average time between two requests of a client.
    pub gap_ns: u64,
    /// The latency of a frame without faults.
    pub latency_ns: u64,
    /// How many of a hundred requests are page-outs, and how many discards. The rest are page-ins.
    pub page_outs: u32,
    pub discards: u32,
    /// How many of a hundred page-outs are of one value.
    pub filled: u32,
    /// How many stale copies a shard can keep until the servers free them.
    pub stale: usize,
    /// The time between two faults.
    pub disturbance_ns: u64,
    pub rates: Rates,
    pub enabled: Enabled,
    pub disk: Option<DiskScenario>,
    /// Whether pages are sealed.
    pub sealed: bool,
    /// Whether older versions of pages are noticed.
    pub newest: bool,
    /// Whether frames are signed.
    pub signed: bool,
    /// Seconds of silence after which a server's copies no longer count.
    pub loss_timeout_s: u64,
    /// Pages that repair copies in a second.
    pub repair_pages_per_s: u32,
}

impl Scenario {
    /// Whether no frame or client is delayed, so that measurements of a path are right.
    pub fn is_swift(&self) -> bool {
        let enabled = self.enabled;
        let is_slow = enabled.slow_client
            || enabled.slow_copy
            || enabled.freeze
            || enabled.sleep
            || enabled.hibernate;
        // A smaller path MTU takes time to detect.
        let is_narrow = enabled.jumbo_limit || enabled.mtu_change;
        self.rates.delay == 0.0
            && !is_slow
            && !is_narrow
            && !enabled.send_failure
            && !enabled.clock_steps
    }

    /// Whether there are no faults except those of clocks and disks, and a lack of room.
    pub fn is_undisturbed(&self) -> bool {
        let enabled = &self.enabled;
        let fails = [
            [enabled.partition, enabled.interface, enabled.crash],
            [enabled.pause, enabled.suspend, enabled.freeze],
            [enabled.sleep, enabled.rebirth, enabled.send_failure],
            [enabled.remove, enabled.reload, false],
        ];
        !self.rates.any() && self.is_swift() && !fails.iter().flatten().any(|fails| *fails)
    }

    /// How long an undisturbed client may take to open a session. A quick client has done so before programs
    /// begin requests.
    pub fn opening_ns(&self) -> u64 {
        let keys_ns = match self.signed {
            true => crate::client::KEYS_NS,
            false => 0,
        };
        match self.enabled.slow_client {
            true => 500 * MS + keys_ns,
            false => keys_ns,
        }
    }

    /// Whether pages can be damaged on their way.
    pub fn damages(&self) -> bool {
        let rates = self.rates;
        let worst = [rates.corrupt, rates.truncate, rates.forge, rates.foreign];
        self.enabled.send_failure || worst.iter().any(|rate| *rate > 0.0)
    }

    /// Draws a scenario from `rng`.
    pub fn draw(seed: u64, rng: &mut ChaCha8Rng) -> Self {
        let mut pick = |choices: &[u64]| choices.choose(rng).copied().unwrap_or_default();
        let clients = pick(&[1, 1, 1, 2, 2, 3, 5]) as usize;
        let servers_at_first = pick(&[1, 2, 2, 3, 3, 4, 7]) as usize;
        let later = pick(&[0, 0, 1, 2]) as usize;
        let shards = pick(&[1, 2, 3, 4]) as usize;
        let ops_per_shard = pick(&[1, 2, 4, 8, 40]) as usize;
        let pages = pick(&[3, 16, 64, 256, 2500]) as u32;
        let replicas = pick(&[1, 2, 2, 2, 3]);
        let min_copies = pick(&[1, 1, 1, 2, 3]).min(replicas);
        let io_timeout_s = pick(&[1, 2, 5, 20, 60]) as u32;
        let mtu = pick(&[1500, 1500, 9000, 9000, 700, 4300]) as usize;
        let roomy = u64::from(pages) * clients as u64;
        let capacity_pages = pick(&[roomy, roomy, roomy, roomy / 2, roomy / 4, 8]).max(4) as u32;
        let quota_pages = pick(&[u64::MAX, u64::MAX, u64::MAX, u64::from(pages) / 2]).max(2);
        let max_clients = pick(&[8, 8, 8, clients as u64]) as u16;
        let assemblies = pick(&[4, 4, 16, 64]) as u16;
        let lease_s = pick(&[1, 1, 3, 86_400]) as u32;
        let gap_ns = pick(&[MS / 5, MS, 3 * MS, 10 * MS, 30 * MS]);
        let requests = pick(&[200, 500, 1000]);
        let active_ns = (gap_ns * requests).clamp(S, 20 * S);
        let latency_ns = pick(&[5_000, 20_000, 100_000, MS]);
        let page_outs = pick(&[30, 45, 60]) as u32;
        let discards = pick(&[0, 3, 15]) as u32;
        let filled = pick(&[0, 10, 50]) as u32;
        let stale = pick(&[64, 1024, 1024, 2]) as usize;
        let disturbance_ns = pick(&[100 * MS, 500 * MS, 2 * S]);
        let mut rate = |most: f64| match rng.random_bool(0.5) {
            true => most * rng.random_range(0.01_f64..1.0).powi(2),
            false => 0.0,
        };
        let rates = Rates {
            lose: rate(0.5),
            repeat: rate(0.3),
            reorder: rate(0.5),
            delay: rate(0.1),
            corrupt: rate(0.3),
            truncate: rate(0.1),
            replay: rate(0.05),
            forge: rate(0.05),
            foreign: rate(0.02),
        };
        let mut half = || rng.random_bool(0.4);
        let enabled = Enabled {
            partition: half(),
            jumbo_limit: half(),
            mtu_change: half(),
            interface: half(),
            crash: half(),
            pause: half(),
            lie: half(),
            add: half(),
            freeze: half(),
            io_timeout: half(),
            change_page: half(),
            send_failure: half(),
            slow_sweep: half(),
            slow_client: half(),
            slow_copy: half(),
            remove: drawn(seed, 0x72_656d_6f76, 0.3),
            rebirth: of_seventh(seed, 0x6c69_6665),
            suspend: of_seventh(seed, 0x736c_6565_7021),
            clock_steps: of_seventh(seed, 0x7374_6570),
            clock_rates: of_seventh(seed, 0x7261_7465),
            sleep: of_seventh(seed, 0x7a7a_7a7a),
            signal: drawn(seed, 0x7369_676e_616c, 0.3),
            take_disk: of_seventh(seed, 0x7461_6b65),
            reload: of_seventh(seed, 0x7265_6c6f_6164),
            hibernate: of_seventh(seed, 0x6869_6265_726e),
        };
        let (rates, enabled) = match rng.random_bool(0.25) {
            true => swift(seed, rates, enabled),
            false => (rates, enabled),
        };
        let mut pick = |choices: &[u64]| choices.choose(rng).copied().unwrap_or_default();
        let loss_timeout_s = pick(&[1, 2, 5, 30]);
        let repair_pages_per_s = pick(&[10_000, 10_000, 1000, 50, 0]) as u32;
        Self {
            course: Course::draw(seed),
            clients,
            servers: servers_at_first + if enabled.add { later } else { 0 },
            servers_at_first,
            shards,
            ops_per_shard,
            pages,
            replicas: replicas as u32,
            min_copies: min_copies as u32,
            io_timeout_s,
            mtu,
            capacity_pages,
            quota_pages,
            max_clients,
            assemblies,
            lease_s,
            active_ns,
            gap_ns,
            latency_ns,
            page_outs,
            discards,
            filled,
            stale,
            disturbance_ns,
            rates,
            enabled,
            disk: DiskScenario::draw(seed),
            sealed: drawn(seed, 0x7365_616c, 0.7),
            newest: drawn(seed, 0x6e65_7765, 0.5),
            signed: drawn(seed, 0x7369_676e, 0.5),
            loss_timeout_s,
            repair_pages_per_s,
        }
    }
}

/// Whether a fault that was added later happens: in a seventh of the seeds. It is drawn from separate random
/// numbers for the reason given at [`DiskScenario::draw`].
fn of_seventh(seed: u64, key: u64) -> bool {
    drawn(seed, key, 0.15)
}

fn drawn(seed: u64, key: u64, probability: f64) -> bool {
    ChaCha8Rng::seed_from_u64(seed ^ key).random_bool(probability)
}

/// The same without the faults that would delay a frame or a client: see [`Scenario::is_swift`]. Half of the
/// seeds have no faults of frames at all, so that page-ins and page-outs interact undisturbed.
fn swift(seed: u64, rates: Rates, enabled: Enabled) -> (Rates, Enabled) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7377_6966_7421);
    let rates = match rng.random_bool(0.5) {
        true => Rates::default(),
        false => Rates {
            delay: 0.0,
            ..rates
        },
    };
    let enabled = Enabled {
        slow_client: false,
        slow_copy: false,
        freeze: false,
        clock_steps: false,
        sleep: false,
        hibernate: false,
        jumbo_limit: false,
        mtu_change: false,
        send_failure: false,
        ..enabled
    };
    (rates, enabled)
}

/// Makes a scenario simpler in one respect.
pub type Simplify = fn(&mut Scenario);

/// Ways to make a scenario simpler, because parts that a failure does not need hide its cause.
pub const SIMPLER: &[(&str, Simplify)] = &[
    ("sealed", |s| s.sealed = false),
    ("newest", |s| s.newest = false),
    ("signed", |s| s.signed = false),
    ("course", |s| s.course = Course::Usual),
    ("clients", |s| s.clients = 1),
    ("shards", |s| s.shards = 1),
    ("later-servers", |s| s.servers = s.servers_at_first),
    ("discards", |s| s.discards = 0),
    ("filled", |s| s.filled = 0),
    ("loss", |s| s.rates.lose = 0.0),
    ("repeat", |s| s.rates.repeat = 0.0),
    ("reorder", |s| s.rates.reorder = 0.0),
    ("delay", |s| s.rates.delay = 0.0),
    ("corrupt", |s| s.rates.corrupt = 0.0),
    ("truncate", |s| s.rates.truncate = 0.0),
    ("replay", |s| s.rates.replay = 0.0),
    ("forge", |s| s.rates.forge = 0.0),
    ("foreign", |s| s.rates.foreign = 0.0),
    ("partition", |s| s.enabled.partition = false),
    ("jumbo-limit", |s| s.enabled.jumbo_limit = false),
    ("mtu-change", |s| s.enabled.mtu_change = false),
    ("interface", |s| s.enabled.interface = false),
    ("crash", |s| s.enabled.crash = false),
    ("pause", |s| s.enabled.pause = false),
    ("lie", |s| s.enabled.lie = false),
    ("add", |s| s.enabled.add = false),
    ("freeze", |s| s.enabled.freeze = false),
    ("io-timeout", |s| s.enabled.io_timeout = false),
    ("change-page", |s| s.enabled.change_page = false),
    ("send-failure", |s| s.enabled.send_failure = false),
    ("remove", |s| s.enabled.remove = false),
    ("detach", |s| {
        if let Some(disk) = &mut s.disk {
            disk.detach = false;
        }
    }),
    ("suspend", |s| s.enabled.suspend = false),
    ("rebirth", |s| s.enabled.rebirth = false),
    ("clock-steps", |s| s.enabled.clock_steps = false),
    ("clock-rates", |s| s.enabled.clock_rates = false),
    ("sleep", |s| s.enabled.sleep = false),
    ("hosts", |s| {
        let enabled = &mut s.enabled;
        (enabled.signal, enabled.take_disk) = (false, false);
        (enabled.reload, enabled.hibernate) = (false, false);
    }),
    ("signal", |s| s.enabled.signal = false),
    ("take-disk", |s| s.enabled.take_disk = false),
    ("reload", |s| s.enabled.reload = false),
    ("hibernate", |s| s.enabled.hibernate = false),
    ("slow-sweep", |s| s.enabled.slow_sweep = false),
    ("slow-client", |s| s.enabled.slow_client = false),
    ("slow-copy", |s| s.enabled.slow_copy = false),
];
