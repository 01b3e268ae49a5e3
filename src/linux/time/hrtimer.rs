// SPDX-License-Identifier: GPL-2.0

//! The monotonic clock, and a high-resolution timer for deadlines.
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

/// Returns the nanoseconds of the monotonic clock. It is the same on all CPUs, is never set, and stands
/// still while the machine is suspended. May be called in any context.
///
/// A [`HrTimer`] runs on this clock, so a deadline has passed when its timer fires. The cheaper clocks
/// differ from CPU to CPU (`local_clock`) or step by a tick (`ktime_get_coarse`).
///
/// Could be removed in a release after 7.3, once `kernel::time::Instant::as_nanos` is public.
///
/// # Examples
///
/// ```ignore
/// let in_one_ms = now_ns().saturating_add(1_000_000);
/// ```
#[inline]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: The function has no requirements once the kernel has booted.
    let now = unsafe { bindings::ktime_get() };
    // CAST: The clock counts up from 0.
    now as u64
}

/// The value of a [`HrTimer`].
///
/// Could be removed with [`HrTimer`], which has an example.
pub(crate) trait HrTimerCallback: Send + Sync + Sized + 'static {
    /// Called when the timer has fired. The timer is stopped then, unless another context has armed it
    /// again; the callback arms it for the next deadline with [`HrTimer::arm`].
    ///
    /// Called in softirq context, and never twice at once for one timer. It must not drop the timer.
    fn run(this: &HrTimer<Self>);
}

/// A `struct hrtimer` in soft mode on the monotonic clock, with a value of type `T`.
///
/// Any context may bring its deadline forward. The timer of `kernel::time::hrtimer` is started through a
/// pointer that it owns until it has been cancelled, and while it runs only its callback may start it
/// again.
///
/// Dropping it cancels it and waits for the callback, so it must be dropped in process context. The value
/// is dropped afterwards.
///
/// Could be removed in a release after 7.3, once `kernel::time::hrtimer::HrTimer` can be started through a
/// shared reference.
///
/// # Invariants
///
/// - `timer` is set up, and is a field of a pinned `HrTimer<T>`.
/// - `inner` is initialised before the timer can be started, and dropped after it is cancelled.
///
/// # Examples
///
/// ```ignore
/// struct Flush(Atomic<u64>);
///
/// impl HrTimerCallback for Flush {
///     fn run(this: &HrTimer<Self>) {
///         this.0.fetch_add(1, Relaxed);
///     }
/// }
///
/// let timer = Arc::pin_init(HrTimer::new(Flush(Atomic::new(0))), GFP_KERNEL)?;
/// timer.arm(now_ns().saturating_add(1_000_000));
/// timer.cancel();
/// ```
#[pin_data(PinnedDrop)]
pub(crate) struct HrTimer<T: HrTimerCallback> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    /// The time for which the timer is armed, or an earlier one; [`Self::NEVER`] if it need not fire.
    deadline_ns: Atomic<u64>,
    #[pin]
    inner: T,
}

// SAFETY: A timer may be cancelled by any thread, and `T` is `Send`.
unsafe impl<T: HrTimerCallback> Send for HrTimer<T> {}
// SAFETY: The functions of timers synchronise all accesses, and `T` is `Sync`.
unsafe impl<T: HrTimerCallback> Sync for HrTimer<T> {}

impl<T: HrTimerCallback> HrTimer<T> {
    const NEVER: u64 = u64::MAX;

    /// Returns a timer that is not armed.
    pub(crate) fn new<E>(inner: impl PinInit<T, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        // INVARIANT: The timer is set up here, and is armed by `&self` only, when all is initialised.
        try_pin_init!(Self {
            timer <- Opaque::ffi_init(|timer| {
                // SAFETY: `timer` is valid for writes, and pinned.
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

    /// Lets the timer fire at `deadline_ns`, a time of [`now_ns`], or earlier. Cheap if it does so already.
    /// May be called in any context, the callback included.
    ///
    /// The caller must have stored the deadline before, either under a lock that the callback takes to
    /// look for deadlines, or with a full barrier behind it. Then the callback sees the deadline, or this
    /// function sees that the timer is not armed: the callback has a full barrier between the two.
    #[inline]
    pub(crate) fn arm(&self, deadline_ns: u64) {
        if deadline_ns < self.deadline_ns.load(Relaxed) {
            self.bring_forward(deadline_ns);
        }
    }

    /// Stops the timer, and waits until the callback does not run. Process context; sleeps on PREEMPT_RT.
    pub(crate) fn cancel(&self) {
        // SAFETY: By the type invariants the timer is set up.
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
        // Two contexts that bring the deadline forward at once may start the timer in the wrong order, and
        // the callback may begin in between. So check again whether an earlier time is wanted.
        let mut set = deadline_ns;
        loop {
            // SAFETY: By the type invariants the timer is set up. It may be started at any time.
            unsafe {
                bindings::hrtimer_start_range_ns(
                    self.timer.get(),
                    // CAST: The maximum is 292 years.
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
    /// - Only the kernel's timer code may call this function, with the timer of a live `HrTimer<T>`.
    unsafe extern "C" fn callback(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: By the type invariants `timer` is a field of a `HrTimer<T>`. It lives at least until
        // this call has returned: dropping it waits for that.
        let this =
            unsafe { &*kernel::container_of!(Opaque::cast_from(timer).cast_mut(), Self, timer) };
        // Fully ordered: the callback sees a deadline that was stored before; one that is stored later
        // arms the timer again.
        this.deadline_ns.xchg(Self::NEVER, Full);
        T::run(this);
        // This value does not stop a timer that was armed again.
        bindings::hrtimer_restart::HRTIMER_NORESTART
    }
}

impl<T: HrTimerCallback> Deref for HrTimer<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

#[pinned_drop]
impl<T: HrTimerCallback> PinnedDrop for HrTimer<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the timer is set up. There is no other reference, so only a
        // callback that is running can arm it again; the function waits for it and cancels again.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }
}
