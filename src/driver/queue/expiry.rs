// SPDX-License-Identifier: GPL-2.0

//! Wakes a queue when something is due.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};

use crate::{
    driver::core::Core,
    linux::time::hrtimer::{
        Timer,
        TimerCallback, //
    },
};

/// Wakes a queue when its shard has something due.
///
/// It holds the core only while the module runs: [`Expiry::disconnect`] ends the cycle.
#[pin_data]
pub(crate) struct Expiry {
    number: usize,
    #[pin]
    core: SpinLockIrq<Option<Arc<Core>>>,
}

impl Expiry {
    /// Of queue `number`; it wakes nobody yet.
    pub(crate) fn new(number: usize) -> impl PinInit<Self> {
        pin_init!(Self {
            number,
            core <- kernel::new_spinlock_irq!(None, "anemone_expiry"),
        })
    }

    /// From now on it wakes its queue of `core`.
    pub(crate) fn connect(&self, core: Arc<Core>) {
        *self.core.lock() = Some(core);
    }

    /// It wakes nobody any more.
    pub(crate) fn disconnect(&self) {
        let core = self.core.lock().take();
        drop(core);
    }
}

impl TimerCallback for Expiry {
    fn expired(this: &Timer<Self>) {
        // The module holds the core until after the timer's last call, so that this is never the
        // last reference.
        let core = this.core.lock().clone();
        let Some(core) = core else {
            return;
        };
        if let Some(queue) = core.queues.get(this.number) {
            queue.release_lingering();
            queue.drive(core.as_arc_borrow(), |shard, now_ns| {
                shard.handle_timeout(now_ns, &core.device)
            });
            if queue.is_repairs() {
                queue.drive_repair(core.as_arc_borrow(), |repair, shard, now_ns| {
                    if now_ns >= repair.next_timeout_ns() {
                        repair.drive(now_ns, None, shard, &core.device);
                    }
                });
            }
        }
    }
}
