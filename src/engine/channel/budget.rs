// SPDX-License-Identifier: GPL-2.0

//! How much of a processor frames may cost that prove nothing: token buckets.

/// Bytes of a frame that cost as much as what a frame costs besides.
const FRAME_BYTES: u64 = 512;

/// Something of which so much may be used in a millisecond.
#[derive(Debug)]
pub struct Tokens {
    per_ms: u64,
    /// No more are saved: a server looks at its clock every few milliseconds.
    most: u64,
    left: u64,
    filled_ns: u64,
}

impl Tokens {
    const fn new(per_ms: u64) -> Self {
        Self {
            per_ms,
            most: per_ms.saturating_mul(16),
            left: per_ms.saturating_mul(16),
            filled_ns: 0,
        }
    }

    /// For all frames that are verified in vain: about a tenth of a processor's time.
    pub const fn for_all_frames() -> Self {
        Self::new(300_000)
    }

    /// The reserve of each session: others cannot use it up. Those of 64 sessions add up to less than what
    /// there is for all.
    pub const fn for_session() -> Self {
        Self::new(4_000)
    }

    /// For requests for keys that name a known key: each costs two or three microseconds.
    pub const fn for_requests() -> Self {
        Self::new(32)
    }

    /// The reserve of each client for them.
    pub const fn for_requests_of_client() -> Self {
        Self::new(1)
    }

    /// For hints: one in ten milliseconds, of which none are saved.
    pub const fn for_hints() -> Self {
        Self {
            per_ms: 1,
            most: 10,
            left: 10,
            filled_ns: 0,
        }
    }

    fn fill(&mut self, now_ns: u64) {
        // PANIC: none; the divisor is a constant.
        let passed_ms = now_ns.saturating_sub(self.filled_ns) / 1_000_000;
        if passed_ms == 0 && now_ns >= self.filled_ns {
            return;
        }
        self.filled_ns = now_ns;
        let more = passed_ms.saturating_mul(self.per_ms);
        self.left = self.left.saturating_add(more).min(self.most);
    }

    /// Whether there is any left.
    pub fn has_any(&mut self, now_ns: u64) -> bool {
        self.fill(now_ns);
        self.left > 0
    }

    /// Takes as many, if they are left.
    pub fn take(&mut self, now_ns: u64, count: u64) -> bool {
        self.fill(now_ns);
        match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Takes what a frame of this length costs, or all that is left.
    pub fn take_frame(&mut self, len: usize) {
        let cost = FRAME_BYTES.saturating_add(len as u64);
        self.left = self.left.saturating_sub(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn as_much_as_time_has_passed() {
        let mut tokens = Tokens::for_requests();
        let mut taken = |now_ns| (0..10_000).filter(|_| tokens.take(now_ns, 1)).count();
        assert_eq!(taken(5 * MS), 512);
        assert_eq!(taken(5 * MS + MS / 2), 0);
        assert_eq!(taken(6 * MS), 32);
        assert_eq!(taken(9 * MS), 96);
        assert_eq!(taken(9000 * MS), 512);
        // A clock that is put back gives nothing, and takes nothing for good.
        assert_eq!(taken(10 * MS), 0);
        assert_eq!(taken(11 * MS), 32);
    }

    #[test]
    fn hints_are_rare() {
        let mut hints = Tokens::for_hints();
        let sent = (0..1000).filter(|ms| hints.take(ms * MS, 10)).count();
        assert!((100..=101).contains(&sent), "{sent}");
    }

    #[test]
    fn frames_in_vain_cost_by_their_length() {
        let mut tokens = Tokens::for_all_frames();
        let mut count = 0;
        while tokens.has_any(MS) {
            tokens.take_frame(100);
            count += 1;
        }
        assert_eq!(count, 16 * 300_000 / 612 + 1);
    }
}
