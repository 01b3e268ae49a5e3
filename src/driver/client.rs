// SPDX-License-Identifier: GPL-2.0

//! The client: it owns the queues, the cluster and what they share. What runs on its own is started and
//! stopped by `unload.rs`.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    }, //
};

use super::{
    cluster_lock::ClusterLock,
    frame_keys::FrameKeys,
    key_exchange::KeyExchange,
    page_seal::Sealer,
    params::Params,
    queue::Queue,
    receive::{
        self,
        Inbox, //
    },
    repair,
    shared::Shared,
    storage::KernelStorage, //
    timers_and_work::{
        new_timer,
        Target, //
    },
};
use crate::{
    engine::client::{
        counters::Counters,
        histogram::{
            Histogram,
            BUCKETS, //
        },
        maintenance::round::Round,
        shard::Shard, //
    },
    linux::mm::alloc::is_available,
    wire::ClientId, //
};

/// The client. Timers, work items, received frames, requests and ioctls enter here.
#[pin_data]
pub(crate) struct Client {
    /// What its parts share.
    #[pin]
    pub(crate) shared: Shared,
    /// The data path: one for each hardware queue. The last one is repair's.
    pub(crate) queues: KVec<Arc<Queue>>,
    /// The cluster.
    #[pin]
    pub(crate) cluster: ClusterLock,
    /// Received control frames.
    #[pin]
    pub(crate) inbox: SpinLockIrq<Inbox>,
    /// Frames that were short, damaged or malformed. Requests of other clients are not among them.
    pub(crate) frames_bad: Atomic<u64>,
    /// Frames of foreign servers, or of sessions that are not ours.
    pub(crate) frames_foreign: Atomic<u64>,
    /// Frames of our servers' addresses that were not verified to be theirs, if frames are signed.
    pub(crate) frames_unverified: Atomic<u64>,
    /// Frames that were in the emergency reserve.
    pub(crate) frames_from_reserve: Atomic<u64>,
    /// Frames of the reserve that were received on a device under the interface.
    pub(crate) frames_from_below: Atomic<u64>,
    /// Control frames dropped because the inbox was full.
    pub(crate) frames_dropped: Atomic<u64>,
    /// The worker's rounds.
    #[pin]
    pub(super) round: Mutex<KBox<Round>>,
}

impl Client {
    /// A client with this identity. A page is cut into at most `fragments` frames.
    pub(crate) fn new(params: &Params, id: ClientId, fragments: u8) -> Result<Arc<Self>> {
        let sealer = match params.encrypt {
            true => Some(Sealer::new()?),
            false => None,
        };
        let keys = frame_keys(params, sealer.as_deref())?;
        let queues = queues(params, fragments, sealer.as_deref())?;
        Self::with_queues(params, id, sealer, keys, queues)
    }

    // Never inlined: together with what makes the queues it would take half of a kernel stack.
    #[inline(never)]
    fn with_queues(
        params: &Params,
        id: ClientId,
        sealer: Option<Pin<KBox<Sealer>>>,
        keys: Option<Pin<KBox<FrameKeys>>>,
        queues: KVec<Arc<Queue>>,
    ) -> Result<Arc<Self>> {
        let exchange = keys.as_deref().map(KeyExchange::new).transpose()?;
        let shared = Shared::new(params, sealer, keys)?;
        let cluster = ClusterLock::new(id, params, exchange)?;
        let inbox = receive::empty_inbox()?;
        let round = new_round(queues.len())?;
        Arc::pin_init(
            try_pin_init!(Self {
                shared <- shared,
                queues,
                cluster <- cluster,
                inbox <- kernel::new_spinlock_irq!(inbox, "anemone_inbox"),
                frames_bad: Atomic::new(0),
                frames_foreign: Atomic::new(0),
                frames_unverified: Atomic::new(0),
                frames_from_reserve: Atomic::new(0),
                frames_from_below: Atomic::new(0),
                frames_dropped: Atomic::new(0),
                round <- new_mutex!(round, "anemone_round"),
            }),
            GFP_KERNEL,
        )
    }

    /// Calls `change` with the shard of each queue, under its lock, and carries out what follows.
    pub(super) fn drive_queues(&self, change: impl Fn(&mut Shard<KernelStorage>, u64)) {
        for queue in &self.queues {
            queue.drive_shard(&self.shared, &change);
        }
    }

    /// The counts of all queues.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for queue in &self.queues {
            queue.lock_shard(|shard| sum.merge(shard.counters()));
        }
        sum
    }

    /// The latencies of all queues: of page-ins and of page-outs.
    pub(crate) fn latencies(&self) -> Result<[Histogram<KVec<u32>>; 2]> {
        let empty =
            || -> Result<_> { Ok(Histogram::new(KVec::from_elem(0, BUCKETS, GFP_KERNEL)?)) };
        let mut sums = [empty()?, empty()?];
        for queue in &self.queues {
            queue.lock_shard(|shard| {
                let [page_in, page_out] = &mut sums;
                page_in.merge(shard.page_in_latency());
                page_out.merge(shard.page_out_latency());
            });
        }
        Ok(sums)
    }

    /// Counts a frame that is invalid.
    pub(crate) fn count_bad_frame(&self) {
        self.frames_bad.fetch_add(1, Relaxed);
    }
}

/// The keys of frames, if they are signed: of the algorithm of the pages' keys.
#[inline(never)]
fn frame_keys(params: &Params, sealer: Option<&Sealer>) -> Result<Option<Pin<KBox<FrameKeys>>>> {
    if params.keys.is_none() {
        return Ok(None);
    }
    let cipher = match sealer {
        Some(sealer) => sealer.another()?,
        None => Sealer::new()?.another()?,
    };
    Ok(Some(FrameKeys::new(cipher)?))
}

// Never inlined, as the rounds would be on the stack of what makes the client.
#[inline(never)]
fn new_round(shards: usize) -> Result<KBox<Round>> {
    Ok(KBox::new(Round::new(shards), GFP_KERNEL)?)
}

/// The data path's queues, and repair's.
fn queues(params: &Params, fragments: u8, sealer: Option<&Sealer>) -> Result<KVec<Arc<Queue>>> {
    let (hw_queues, depth) = (params.hw_queues, params.queue_depth);
    let bytes = Queue::bytes(depth, params.config.replicas, fragments, params.encrypt)
        .saturating_mul(usize::from(hw_queues));
    let queues = match is_available(bytes) {
        true => try_queues(params, fragments, sealer),
        false => Err(ENOMEM),
    };
    queues.inspect_err(|_| {
        let mib = (bytes >> 20).max(1);
        pr_err!(
            "no memory for {hw_queues} hardware queues of {depth} requests: {mib} MiB; reduce hw_queues= or queue_depth=\n"
        );
    })
}

#[inline(never)]
fn try_queues(params: &Params, fragments: u8, sealer: Option<&Sealer>) -> Result<KVec<Arc<Queue>>> {
    let mut queues = KVec::with_capacity(usize::from(params.hw_queues) + 1, GFP_KERNEL)?;
    for number in 0..params.hw_queues {
        let timer = new_timer(Target::Queue(usize::from(number)))?;
        let queue = Queue::new(
            number,
            params.queue_depth,
            params.config.replicas,
            fragments,
            timer,
            sealer,
        )?;
        queues.push(queue, GFP_KERNEL)?;
    }
    let number = params.hw_queues;
    let timer = new_timer(Target::Queue(usize::from(number)))?;
    let queue = repair::new_queue(number, params.pages, fragments, timer, sealer)?;
    queues.push(queue, GFP_KERNEL)?;
    Ok(queues)
}
