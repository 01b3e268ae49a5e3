// SPDX-License-Identifier: GPL-2.0

//! The I/O timeouts and the clocks that the oracle allows for.

use super::*;

impl Oracle {
    /// Sets how long requests may wait from now on, including those under way.
    pub fn set_io_timeout(&mut self, now_ns: u64, io_timeout_ns: u64) {
        if io_timeout_ns > self.io_timeout_ns {
            self.shorter = (self.io_timeout_lately(now_ns), now_ns + 2 * S);
        } else {
            self.cut_ns = now_ns;
        }
        self.io_timeout_ns = io_timeout_ns;
        for request in self.requests.values_mut() {
            let until_ns = request.began_ns + io_timeout_ns + MARGIN_NS;
            // Waiting requests are checked periodically.
            request.until_ns = until_ns.max(now_ns + MARGIN_NS + S);
            if let Some(stop) = self.stops.get(&request.client) {
                let end_ns = stop.until_ns + io_timeout_ns + MARGIN_NS;
                request.until_ns = request.until_ns.max(end_ns);
            }
        }
    }

    /// The shortest duration of the I/O timeout: a client measures it by its own clock, which may be fast.
    pub(super) fn io_timeout_least(&self) -> u64 {
        self.io_timeout_ns - self.io_timeout_ns / 1_000_000 * self.fast
    }

    /// The shortest I/O timeout after which a server may have been given up and not been asked again yet.
    pub(super) fn io_timeout_lately(&self, now_ns: u64) -> u64 {
        let (shorter_ns, until_ns) = self.shorter;
        match now_ns <= until_ns {
            true => self.io_timeout_least().min(shorter_ns),
            false => self.io_timeout_least(),
        }
    }

    /// When the I/O timeout expires for servers that have been gone since `gone_ns`.
    pub(super) fn out_ns(&self, gone_ns: u64) -> u64 {
        self.cut_ns.max(gone_ns + self.io_timeout_ns)
    }

    /// A client is stopped until `until_ns`: its requests cannot end earlier.
    pub fn freeze(&mut self, now_ns: u64, client: usize, until_ns: u64) {
        let before = self.stops.get(&client).copied();
        let before_ns = before.map_or(0, |stop| stop.until_ns);
        let since_ns = match before {
            Some(stop) if now_ns < stop.until_ns + CALM_NS => stop.since_ns,
            _ => now_ns,
        };
        self.stops.insert(client, Stop { since_ns, until_ns });
        for request in self.requests.values_mut() {
            if request.client == client {
                // Its I/O timeout counts only while the client runs.
                let stopped_ns = until_ns.saturating_sub(now_ns.max(before_ns));
                request.stopped_ns += stopped_ns.saturating_sub(UNNOTICED_NS);
                request.until_ns += until_ns.saturating_sub(now_ns);
                // The client counts its I/O timeout only as far as its own clock ran.
                let end_ns = until_ns + self.io_timeout_ns + MARGIN_NS;
                request.until_ns = request.until_ns.max(end_ns);
            }
        }
    }

    /// How far back what a client knows may date that ran since `since_ns`: to before it was stopped.
    pub(super) fn known_since_ns(&self, client: usize, since_ns: u64) -> u64 {
        match self.stops.get(&client) {
            Some(stop) if stop.until_ns > since_ns => {
                since_ns.min(stop.since_ns.saturating_sub(CALM_NS))
            }
            _ => since_ns,
        }
    }

    /// A client's clock steps forward. The step may count as time that passed, up to the time of the next
    /// check. Otherwise it is taken for a stop, after which the I/O timeout restarts.
    pub fn step_clock(&mut self, now_ns: u64, client: usize) {
        let end_ns = now_ns + self.io_timeout_ns + MARGIN_NS;
        for request in self.requests.values_mut() {
            if request.client == client {
                request.ahead_ns += UNNOTICED_NS;
                request.until_ns = request.until_ns.max(end_ns);
            }
        }
        self.silence.hurry(client, CHECK_EVERY_NS + UNNOTICED_NS);
    }

    /// Checks that every wait is bounded.
    pub fn check_waits(&mut self, now_ns: u64) {
        let late = self
            .requests
            .iter()
            .find(|(_, request)| now_ns > request.until_ns);
        if let Some(((_, _, id), request)) = late {
            let why = format!(
                "request {id} has not ended {} ms after its beginning: {request:?}",
                (now_ns - request.began_ns) / MS
            );
            self.fail(|| why);
        }
    }
}
