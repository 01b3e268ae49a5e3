// SPDX-License-Identifier: GPL-2.0

//! A signal now and then, for a loop that sleeps without a timeout: a timeout for each sleep costs
//! the kernel a timer for each frame that comes alone.

use std::io;
use std::ptr::null_mut;
use std::time::Duration;

/// Has the kernel send SIGALRM to this process again and again, `interval` apart. The caller has a
/// handler for it.
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
    // SAFETY: the kernel reads one itimerval, which lives through the call; it is not asked for
    // the one before.
    let result = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
