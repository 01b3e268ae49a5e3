// SPDX-License-Identifier: GPL-2.0

//! The driver's timers: one for the worker, one for each queue, one for the local disk's pool.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};

use super::core::Core;
use crate::linux::{
    block::bio::EndIo,
    time::hrtimer::{
        HrTimer,
        HrTimerCallback, //
    },
};

/// What a timer of the driver runs.
pub(crate) enum Target {
    /// The worker that looks after the servers.
    Worker,
    /// Timeouts of the queue with this number.
    Queue(usize),
    /// Timeouts of the local disk's pool, and bios that have ended.
    Pool,
}

/// Runs a part of the core when the timer fires.
///
/// It refers to the core only while the module runs: [`Expiry::disconnect`] breaks the cycle.
#[pin_data]
pub(crate) struct Expiry {
    target: Target,
    #[pin]
    core: SpinLockIrq<Option<Arc<Core>>>,
}

/// A timer of the driver.
pub(crate) type CoreTimer = HrTimer<Expiry>;

/// A timer that runs `target` once [`Expiry::connect`] has been called.
pub(crate) fn new_timer(target: Target) -> Result<Arc<CoreTimer>> {
    let expiry = pin_init!(Expiry {
        target,
        core <- kernel::new_spinlock_irq!(None, "anemone_expiry"),
    });
    Arc::pin_init(HrTimer::new(expiry), GFP_KERNEL)
}

impl Expiry {
    /// From now on the timer runs a part of `core`.
    pub(crate) fn connect(&self, core: Arc<Core>) {
        *self.core.lock() = Some(core);
    }

    /// The timer runs nothing any more.
    pub(crate) fn disconnect(&self) {
        let core = self.core.lock().take();
        drop(core);
    }
}

impl HrTimerCallback for Expiry {
    fn run(this: &HrTimer<Self>) {
        // The module holds the core until after the timer's last call, so this is never the last
        // reference.
        let core = this.core.lock().clone();
        let Some(core) = core else {
            return;
        };
        let core = core.as_arc_borrow();
        match this.target {
            Target::Worker => core.kick(),
            Target::Queue(number) => {
                if let Some(queue) = core.queues.get(number) {
                    queue.expired(core);
                }
            }
            Target::Pool => {
                if let Some(pool) = core.local.pool() {
                    pool.serve(core);
                }
            }
        }
    }
}

impl EndIo for CoreTimer {
    #[inline]
    fn bio_ended(&self) {
        // Fires at once.
        self.arm(0);
    }
}
