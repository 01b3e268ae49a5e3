// SPDX-License-Identifier: GPL-2.0

//! What a host takes for the time: a clock that never goes back, as the driver's and the server's is
//! (CLOCK_MONOTONIC). It stands still while the host is suspended. It is ahead from one moment to the
//! next when a virtual machine goes on that was stopped, or moved. And it runs a little faster or slower
//! than others: a quartz does, and NTP changes its rate by up to 500 parts in a million.

/// Parts of a rate.
const MILLION: u64 = 1_000_000;

/// A host's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it said at `since_ns`.
    said_ns: u64,
    since_ns: u64,
    /// What it counts in a million nanoseconds.
    rate: u64,
}

impl Clock {
    /// One that is right, but for its rate: parts in a million that it is fast.
    pub fn new(fast: i64) -> Self {
        Self {
            said_ns: 0,
            since_ns: 0,
            rate: MILLION.saturating_add_signed(fast),
        }
    }

    /// What it says at `now_ns`.
    pub fn read(&self, now_ns: u64) -> u64 {
        let passed_ns = now_ns.saturating_sub(self.since_ns);
        self.said_ns + self.scale(passed_ns, self.rate, MILLION)
    }

    fn scale(&self, time_ns: u64, by: u64, of: u64) -> u64 {
        if self.rate == MILLION {
            return time_ns;
        }
        let scaled = u128::from(time_ns) * u128::from(by) / u128::from(of);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// When it will say `due_ns`, or has said so.
    pub fn when(&self, due_ns: u64) -> u64 {
        let left_ns = due_ns.saturating_sub(self.said_ns);
        let mut at_ns = self.since_ns + self.scale(left_ns, MILLION, self.rate);
        while self.read(at_ns) < due_ns {
            at_ns += 1;
        }
        at_ns
    }

    /// It is ahead by so much more from `now_ns` on.
    pub fn step(&mut self, now_ns: u64, by_ns: u64) {
        self.said_ns = self.read(now_ns) + by_ns;
        self.since_ns = self.since_ns.max(now_ns);
    }

    /// It stands still from `now_ns` until `until_ns`.
    pub fn stand_still(&mut self, now_ns: u64, until_ns: u64) {
        self.said_ns = self.read(now_ns);
        self.since_ns = self.since_ns.max(until_ns);
    }
}
