// SPDX-License-Identifier: GPL-2.0

//! The driver's timers and work items, and which part of the client each of them runs.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work, //
    }, //
};

use super::client::Client;
use crate::linux::{
    block::bio::EndIo,
    time::hrtimer::{
        HrTimer,
        HrTimerCallback, //
    },
    workqueue::OwnedQueue, //
};

/// What a timer or a work item runs.
pub(crate) enum Target {
    /// Wakes the worker.
    WakeWorker,
    /// The main worker.
    Worker,
    /// Timeouts of the queue with this number.
    Queue(usize),
    /// Timeouts of the local disk's pool, and bios that have ended.
    Pool,
    /// Submits bios to the local disk.
    Submitter,
}

/// Runs a part of the client.
///
/// It refers to the client only while the module runs: [`Callback::disconnect`] breaks the cycle.
#[pin_data]
pub(crate) struct Callback {
    target: Target,
    #[pin]
    client: SpinLockIrq<Option<Arc<Client>>>,
}

impl Callback {
    fn new(target: Target) -> impl PinInit<Self> {
        pin_init!(Self {
            target,
            client <- kernel::new_spinlock_irq!(None, "anemone_callback"),
        })
    }

    /// From now on it runs a part of `client`.
    pub(crate) fn connect(&self, client: Arc<Client>) {
        *self.client.lock() = Some(client);
    }

    /// It runs nothing any more.
    pub(crate) fn disconnect(&self) {
        let client = self.client.lock().take();
        drop(client);
    }

    fn run(&self) {
        // The module holds the client until after the last call, so this is never the last reference.
        let client = self.client.lock().clone();
        let Some(client) = client else {
            return;
        };
        let shared = &client.shared;
        match self.target {
            Target::WakeWorker => shared.kick(),
            Target::Worker => client.work(),
            Target::Queue(number) => {
                if let Some(queue) = client.queues.get(number) {
                    queue.expired(shared);
                }
            }
            Target::Pool => {
                if let Some(pool) = shared.local.pool() {
                    pool.serve(&client);
                }
            }
            Target::Submitter => {
                if let Some(pool) = shared.local.pool() {
                    pool.submit(shared);
                }
            }
        }
    }
}

/// A timer of the driver.
pub(crate) type Timer = HrTimer<Callback>;

/// A timer that runs `target` once [`Callback::connect`] has been called.
pub(crate) fn new_timer(target: Target) -> Result<Arc<Timer>> {
    Arc::pin_init(HrTimer::new(Callback::new(target)), GFP_KERNEL)
}

impl HrTimerCallback for Callback {
    fn run(this: &HrTimer<Self>) {
        Callback::run(this);
    }
}

impl EndIo for Timer {
    #[inline]
    fn bio_ended(&self) {
        // Fires at once.
        self.arm(0);
    }
}

/// A work item of the driver, with a work queue of its own.
#[pin_data]
pub(crate) struct WorkItem {
    queue: OwnedQueue,
    #[pin]
    pub(crate) callback: Callback,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for WorkItem { self.work }
}

impl WorkItem {
    /// A work item that runs `target` once [`Callback::connect`] has been called. The kernel's name of its
    /// work queue is `name`.
    pub(crate) fn new(name: &CStr, target: Target) -> Result<Arc<Self>> {
        let queue = OwnedQueue::new_unbound()
            .mem_reclaim()
            .max_active(1)
            .build(name)?;
        Arc::pin_init(
            pin_init!(Self {
                queue,
                callback <- Callback::new(target),
                work <- new_work!("anemone_work"),
            }),
            GFP_KERNEL,
        )
    }

    /// Enqueues it. Any context.
    pub(crate) fn kick(self: &Arc<Self>) {
        // An error only means that it is queued already.
        let _ = self.queue.enqueue(self.clone());
    }

    /// Waits until it has run. It is not enqueued any more. Sleeps.
    pub(crate) fn drain(&self) {
        self.queue.drain();
    }
}

impl workqueue::WorkItem for WorkItem {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.callback.run();
    }
}
