// SPDX-License-Identifier: GPL-2.0

//! Logs a condition once, even if it comes and goes.

use super::config::NS_PER_S;

/// How long the condition must be absent before it is logged again.
const OVER_NS: u64 = 60 * NS_PER_S;

/// A condition that is to be logged once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notice {
    was_said: bool,
    /// When the condition was last present.
    lasted_ns: u64,
}

impl Notice {
    /// Takes the current state: whether the condition is present, and whether there is reason to
    /// log it. Returns whether it is to be logged now.
    pub fn look(&mut self, now_ns: u64, is_so: bool, has_reason: bool) -> bool {
        if is_so || has_reason {
            self.lasted_ns = now_ns;
        } else if now_ns.saturating_sub(self.lasted_ns) >= OVER_NS {
            self.was_said = false;
        }
        has_reason && !core::mem::replace(&mut self.was_said, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_comes_is_said_once_until_it_has_been_gone_for_long() {
        let mut notice = Notice::default();
        let mut now_ns = 1000 * NS_PER_S;
        assert!(!notice.look(now_ns, true, false), "there is no reason yet");
        let mut said = 0;
        for _ in 0..100 {
            for (is_so, has_reason) in [(true, true), (false, false), (true, false)] {
                now_ns += 20 * NS_PER_S;
                said += u32::from(notice.look(now_ns, is_so, has_reason));
            }
        }
        assert_eq!(said, 1);
        // Absent for nearly long enough, then present again.
        now_ns += OVER_NS - 1;
        assert!(!notice.look(now_ns, false, false));
        assert!(!notice.look(now_ns, true, true));
        now_ns += OVER_NS;
        assert!(!notice.look(now_ns, false, false));
        assert!(notice.look(now_ns, true, true));
        assert!(!notice.look(now_ns, false, true));
    }
}
