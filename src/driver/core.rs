// SPDX-License-Identifier: GPL-2.0

//! Everything that the contexts of the driver share: one reference-counted value.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SpinLockIrq, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work, //
    }, //
};

use super::{
    control::Control,
    earlier::Earlier,
    link::Link,
    local::Local,
    queue::Queue,
    receive::Inbox,
    storage::{
        AtomicWords,
        KernelStorage, //
    },
    timer::CoreTimer,
    worker::Sweeps, //
};
use crate::{
    engine::client::{
        config::Config,
        counters::Counters,
        device::Device,
        free::DirtyChunks,
        histogram::{
            Histogram,
            BUCKETS, //
        },
        ids::PageIndex, //
    },
    linux::{
        time::hrtimer::now_ns,
        workqueue::OwnedQueue, //
    },
};

/// The driver's state.
#[pin_data]
pub(crate) struct Core {
    /// The engine's shared state.
    pub(crate) device: Device<KernelStorage>,
    /// Which parts of the map have freed pages.
    pub(crate) chunks: DirtyChunks<AtomicWords>,
    /// The data path: one for each hardware queue.
    pub(crate) queues: KVec<Arc<Queue>>,
    /// The network interface, if it is bound.
    #[pin]
    pub(crate) link: Link,
    /// The cluster.
    #[pin]
    pub(crate) control: Control,
    /// The local disk, if there is one.
    #[pin]
    pub(crate) local: Local,
    /// Received control frames.
    #[pin]
    pub(crate) inbox: SpinLockIrq<Inbox>,
    /// Frames that were short, damaged, malformed, or not from a server.
    pub(crate) frames_bad: Atomic<u64>,
    /// Frames of foreign servers, or of sessions that are not ours.
    pub(crate) frames_foreign: Atomic<u64>,
    /// Frames that were in the emergency reserve.
    pub(crate) frames_from_reserve: Atomic<u64>,
    /// Frames of the reserve that were received on a device under the interface.
    pub(crate) frames_from_below: Atomic<u64>,
    /// Whether the machine was put back to an earlier state.
    pub(crate) earlier: Earlier,
    /// Control frames dropped because the inbox was full.
    pub(crate) frames_dropped: Atomic<u64>,
    /// Fires when the cluster has something due.
    pub(crate) timer: Arc<CoreTimer>,
    /// The work queue of the worker.
    pub(crate) work_queue: Arc<OwnedQueue>,
    #[pin]
    work: Work<Core>,
    /// How far the worker has cleared slots' bits from the map.
    #[pin]
    pub(super) sweeps: Mutex<Sweeps>,
    /// The work of [`Local`].
    #[pin]
    submit_work: Work<Core, 1>,
}

impl_has_work! {
    impl HasWork<Self> for Core { self.work }
    impl HasWork<Self, 1> for Core { self.submit_work }
}

/// The parts from which [`Core::new`] makes the core.
pub(crate) struct Parts {
    pub(crate) map: AtomicWords,
    /// Dirty bitmaps of the device: pages that lack copies, and pages that the disk lacks.
    pub(crate) dirty_bitmaps: [AtomicWords; 2],
    pub(crate) config: Config,
    pub(crate) hw_queues: u32,
    pub(crate) chunks: DirtyChunks<AtomicWords>,
    pub(crate) queues: KVec<Arc<Queue>>,
    pub(crate) timer: Arc<CoreTimer>,
    pub(crate) work_queue: Arc<OwnedQueue>,
    pub(crate) inbox: Inbox,
}

impl Core {
    /// Assembles the parts.
    pub(crate) fn new(
        parts: Parts,
        link: impl PinInit<Link, Error>,
        control: impl PinInit<Control, Error>,
        local: impl PinInit<Local>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Made in place: it is large, and each move takes stack.
            device: {
                let [degraded, out_of_sync] = parts.dirty_bitmaps;
                let mut device = Device::new(parts.map, parts.config, parts.hw_queues);
                device.set_dirty_bitmaps(degraded, out_of_sync);
                device
            },
            chunks: parts.chunks,
            queues: parts.queues,
            link <- link,
            control <- control,
            local <- local,
            inbox <- kernel::new_spinlock_irq!(parts.inbox, "anemone_inbox"),
            frames_bad: Atomic::new(0),
            frames_foreign: Atomic::new(0),
            frames_from_reserve: Atomic::new(0),
            frames_from_below: Atomic::new(0),
            earlier: Earlier::new(),
            frames_dropped: Atomic::new(0),
            timer: parts.timer,
            work_queue: parts.work_queue,
            work <- new_work!("anemone_work"),
            sweeps <- new_mutex!(Sweeps::default(), "anemone_sweeps"),
            submit_work <- new_work!("anemone_submit"),
        })
    }

    /// Queues the worker. Any context.
    pub(crate) fn kick(self: ArcBorrow<'_, Self>) {
        // An error only means that it is queued already.
        let _ = self.work_queue.enqueue::<_, 0>(Arc::from(self));
    }

    /// Frees the page. Any context, also under a spinlock.
    pub(crate) fn note_free(&self, page: PageIndex) -> bool {
        if !self.device.map.set_free_pending(page) {
            return false;
        }
        if self.chunks.mark(page) {
            self.device.note_frees();
            self.timer.arm(now_ns().saturating_add(FREE_DELAY_NS));
        }
        true
    }

    /// The counts of all queues.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for queue in &self.queues {
            queue.with_shard(|shard| sum.merge(shard.counters()));
        }
        sum
    }

    /// The latencies of all queues: of page-ins and of page-outs.
    pub(crate) fn latencies(&self) -> Result<[Histogram<KVec<u32>>; 2]> {
        let empty =
            || -> Result<_> { Ok(Histogram::new(KVec::from_elem(0, BUCKETS, GFP_KERNEL)?)) };
        let mut sums = [empty()?, empty()?];
        for queue in &self.queues {
            queue.with_shard(|shard| {
                let [page_in, page_out] = &mut sums;
                page_in.merge(shard.page_in_latency());
                page_out.merge(shard.page_out_latency());
            });
        }
        Ok(sums)
    }

    /// Counts a frame that is invalid, or not from a server.
    pub(crate) fn count_bad_frame(&self) {
        self.frames_bad.fetch_add(1, Relaxed);
    }
}

/// How long freed pages are collected before servers are notified.
const FREE_DELAY_NS: u64 = 2_000_000;
