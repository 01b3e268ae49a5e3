// SPDX-License-Identifier: GPL-2.0

//! A periodic signal for a loop that sleeps without a timeout. A timeout for each sleep would cost the kernel
//! a timer for each single frame.

use std::io;
use std::ptr::null_mut;
use std::time::Duration;

use super::check;

/// Makes the kernel send SIGALRM to this process every `interval`. The caller has installed a handler.
pub fn start(interval: Duration) -> io::Result<()> {
    // CAST: both are small.
    let interval = libc::timeval {
        tv_sec: interval.as_secs() as libc::time_t,
        tv_usec: interval.subsec_micros().into(),
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: the kernel reads one itimerval, which lives through the call, and does not write the previous
    // one.
    check(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()) })
}
