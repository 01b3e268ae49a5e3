// SPDX-License-Identifier: GPL-2.0

//! Logs a condition once, even if it comes and goes.

use super::config::NS_PER_S;

/// How long the condition must be absent before it is logged again.
const OVER_NS: u64 = 60 * NS_PER_S;

/// A condition that is to be logged once.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogOnce {
    was_logged: bool,
    /// When the condition was last present.
    lasted_ns: u64,
}

impl LogOnce {
    /// Takes the current state: whether the condition is present, and whether there is reason to
    /// log it. Returns whether it is to be logged now.
    pub fn should_log(&mut self, now_ns: u64, is_present: bool, has_reason: bool) -> bool {
        if is_present || has_reason {
            self.lasted_ns = now_ns;
        } else if now_ns.saturating_sub(self.lasted_ns) >= OVER_NS {
            self.was_logged = false;
        }
        has_reason && !core::mem::replace(&mut self.was_logged, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_and_goes_is_logged_once_until_it_is_long_absent() {
        let mut log = LogOnce::default();
        let mut now_ns = 1000 * NS_PER_S;
        assert!(
            !log.should_log(now_ns, true, false),
            "there is no reason yet"
        );
        let mut logged = 0;
        for _ in 0..100 {
            for (is_present, has_reason) in [(true, true), (false, false), (true, false)] {
                now_ns += 20 * NS_PER_S;
                logged += u32::from(log.should_log(now_ns, is_present, has_reason));
            }
        }
        assert_eq!(logged, 1);
        // Absent for nearly long enough, then present again.
        now_ns += OVER_NS - 1;
        assert!(!log.should_log(now_ns, false, false));
        assert!(!log.should_log(now_ns, true, true));
        now_ns += OVER_NS;
        assert!(!log.should_log(now_ns, false, false));
        assert!(log.should_log(now_ns, true, true));
        assert!(!log.should_log(now_ns, false, true));
    }
}
