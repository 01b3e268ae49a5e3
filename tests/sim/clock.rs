// SPDX-License-Identifier: GPL-2.0

//! A host's clock. It never goes back, like the driver's and the server's (CLOCK_MONOTONIC). It stops while
//! the host is suspended. It steps forward when a stopped or migrated virtual machine continues. It also
//! runs a little faster or slower than others, as a quartz does, and NTP changes its rate by up to 500 parts
//! in a million.

/// The denominator of a rate.
const MILLION: u64 = 1_000_000;

/// A host's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Its time at `since_ns`.
    said_ns: u64,
    since_ns: u64,
    /// How many nanoseconds it counts in a million.
    rate: u64,
}

impl Clock {
    /// A clock that is right except for its rate: it is fast by `fast` parts in a million.
    pub fn new(fast: i64) -> Self {
        Self {
            said_ns: 0,
            since_ns: 0,
            rate: MILLION.saturating_add_signed(fast),
        }
    }

    /// Its time at `now_ns`.
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

    /// When its time is `due_ns`, in the future or in the past.
    pub fn when(&self, due_ns: u64) -> u64 {
        let left_ns = due_ns.saturating_sub(self.said_ns);
        let mut at_ns = self.since_ns + self.scale(left_ns, MILLION, self.rate);
        while self.read(at_ns) < due_ns {
            at_ns += 1;
        }
        at_ns
    }

    /// It steps forward by `by_ns` at `now_ns`.
    pub fn step(&mut self, now_ns: u64, by_ns: u64) {
        self.said_ns = self.read(now_ns) + by_ns;
        self.since_ns = self.since_ns.max(now_ns);
    }

    /// It is stopped from `now_ns` until `until_ns`.
    pub fn stand_still(&mut self, now_ns: u64, until_ns: u64) {
        self.said_ns = self.read(now_ns);
        self.since_ns = self.since_ns.max(until_ns);
    }
}
