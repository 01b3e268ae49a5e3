// SPDX-License-Identifier: GPL-2.0

//! What is said once for as long as it lasts, though it may go and come.

use super::config::NS_PER_S;

/// For how long it must not have been so, for it to be said again.
const OVER_NS: u64 = 60 * NS_PER_S;

/// Something that people are to be told once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notice {
    was_said: bool,
    /// When it was last so.
    lasted_ns: u64,
}

impl Notice {
    /// Looks how it is now: whether it is so at all, and whether there is reason to say it. Returns whether
    /// it is to be said.
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
        // Gone for nearly long enough, then there again.
        now_ns += OVER_NS - 1;
        assert!(!notice.look(now_ns, false, false));
        assert!(!notice.look(now_ns, true, true));
        now_ns += OVER_NS;
        assert!(!notice.look(now_ns, false, false));
        assert!(notice.look(now_ns, true, true));
        assert!(!notice.look(now_ns, false, true));
    }
}
