// SPDX-License-Identifier: GPL-2.0

//! The clock, and a timer that any context may set.
//!
//! `kernel::time::hrtimer` starts a timer by handing it over, and has a running one started again
//! only by its own callback; a timer that is brought forward from wherever a deadline arises
//! needs a wrapper of its own.
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use core::ops::Deref;

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    types::Opaque, //
};

/// Nanoseconds of the monotonic clock: the same on all CPUs, never set, and standing still while
/// the machine is suspended.
///
/// It is the clock that timers run on, so that a deadline has passed when its timer fires; the
/// cheaper clocks (`local_clock`, the coarse one) differ from CPU to CPU or step by a tick.
#[inline]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: No requirements once the system is running.
    let now = unsafe { bindings::ktime_get() };
    // CAST: It counts up from 0.
    now as u64
}

/// What a [`Timer`] drives.
pub(crate) trait TimerCallback: Send + Sync + Sized + 'static {
    /// The timer has fired and is not set any more: to be set anew with [`Timer::arm`] if need
    /// be. Called in softirq context, never twice at once for one timer; deadlines that arise
    /// meanwhile elsewhere may have set it again.
    fn expired(this: &Timer<Self>);
}

/// A `struct hrtimer` in soft mode, on the monotonic clock, and what it drives. Dropping it waits
/// for the callback; what is driven is dropped afterwards.
///
/// # Invariants
///
/// `timer` is set up, with a callback that expects it to be a field of a `Timer<T>`.
#[pin_data(PinnedDrop)]
pub(crate) struct Timer<T: TimerCallback> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    /// The time that the timer is set to, or earlier; [`Self::NEVER`] if it need not fire.
    deadline_ns: Atomic<u64>,
    #[pin]
    inner: T,
}

// SAFETY: The timer may be cancelled by any thread, and `T` is `Send`.
unsafe impl<T: TimerCallback> Send for Timer<T> {}
// SAFETY: The hrtimer functions synchronise themselves, and `T` is `Sync`.
unsafe impl<T: TimerCallback> Sync for Timer<T> {}

impl<T: TimerCallback> Timer<T> {
    const NEVER: u64 = u64::MAX;

    /// A timer that is not set.
    pub(crate) fn new<E>(inner: impl PinInit<T, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        // INVARIANT: Set up here.
        try_pin_init!(Self {
            timer <- Opaque::ffi_init(|timer| {
                // SAFETY: `timer` is where it stays.
                unsafe {
                    bindings::hrtimer_setup(
                        timer,
                        Some(Self::callback),
                        // CAST: A small constant.
                        bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                        bindings::hrtimer_mode_HRTIMER_MODE_ABS_SOFT,
                    )
                }
            }),
            deadline_ns: Atomic::new(Self::NEVER),
            inner <- inner,
        })
    }

    /// Sees to it that the timer fires at `deadline_ns` or before, a time of [`now_ns`]. Cheap if
    /// it would anyway. May be called in any context, also by the callback.
    ///
    /// The deadline itself must have been noted before, under a lock that the callback takes to
    /// look for deadlines, or with a full barrier behind the note: so either the callback sees it,
    /// or this sees the timer not set. (The callback has a full barrier between the two.)
    #[inline]
    pub(crate) fn arm(&self, deadline_ns: u64) {
        if deadline_ns < self.deadline_ns.load(Relaxed) {
            self.bring_forward(deadline_ns);
        }
    }

    /// Waits until the callback is not running, and unsets the timer. Sleeps.
    pub(crate) fn cancel(&self) {
        // SAFETY: By the type invariant the timer is set up.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
        self.deadline_ns.store(Self::NEVER, Relaxed);
    }

    #[cold]
    #[inline(never)]
    fn bring_forward(&self, deadline_ns: u64) {
        let mut known = self.deadline_ns.load(Relaxed);
        loop {
            if known <= deadline_ns {
                return;
            }
            match self.deadline_ns.cmpxchg(known, deadline_ns, Full) {
                Ok(_) => break,
                Err(now) => known = now,
            }
        }
        // Two that bring it forward at once may set it in the wrong order, and the callback may
        // have begun in between: whoever sets it looks again whether an earlier time is wanted.
        let mut set = deadline_ns;
        loop {
            // SAFETY: By the type invariant the timer is set up; it may be started at any time.
            unsafe {
                bindings::hrtimer_start_range_ns(
                    self.timer.get(),
                    // CAST: Later than that is never: 292 years.
                    set.min(i64::MAX as u64) as i64,
                    0,
                    bindings::hrtimer_mode_HRTIMER_MODE_ABS_SOFT,
                )
            };
            let wanted = self.deadline_ns.load(Relaxed);
            if wanted >= set {
                return;
            }
            set = wanted;
        }
    }

    /// # Safety
    ///
    /// Only the hrtimer code may call this, with the timer of a live `Timer<T>`.
    unsafe extern "C" fn callback(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: By the type invariant `timer` is a field of a `Timer<T>`, which is live: it is
        // dropped only after the timer has been cancelled.
        let this =
            unsafe { &*kernel::container_of!(Opaque::cast_from(timer).cast_mut(), Self, timer) };
        // Fully ordered: a deadline that came before is seen by the callback, one that comes
        // after sets the timer again.
        this.deadline_ns.xchg(Self::NEVER, Full);
        T::expired(this);
        // The callback has set it again if need be, which this value does not undo.
        bindings::hrtimer_restart::HRTIMER_NORESTART
    }
}

impl<T: TimerCallback> Deref for Timer<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

#[pinned_drop]
impl<T: TimerCallback> PinnedDrop for Timer<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is set up. Nobody else has a reference, so that only
        // a callback under way can set it again, and this waits for that and cancels again.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }
}
