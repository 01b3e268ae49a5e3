// SPDX-License-Identifier: GPL-2.0

//! Making queues: the memory of their ops and of their frames.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    lingering::Lingering,
    Queue,
    State, //
};
use crate::{
    driver::{
        page_seal::{
            OpSeal,
            Sealer, //
        },
        request_part::{
            RequestPart,
            MAX_REQUEST_PAGES, //
        },
        storage::{
            make_vec,
            KernelStorage, //
        },
        timers_and_work::Timer,
        tx_frames::OpFrames,
    },
    engine::client::{
        histogram::BUCKETS,
        repair::Repair,
        shard::{
            Op,
            Parts,
            Shard, //
        },
        stale_copy::StaleCopy,
    },
    linux::{
        block::Page,
        mm::alloc::MAY_FAIL, //
    },
};

/// Stale copies that a shard can note.
const STALE_COPIES: usize = 1024;

/// The requests of the ops, and in repair's queue its state and the ops' pages.
type Own = (
    KVVec<Option<RequestPart>>,
    Option<(KBox<Repair<KernelStorage>>, KVec<Page>)>,
);

impl Queue {
    /// Approximate size in bytes.
    pub(crate) fn bytes(depth: usize, replicas: usize, fragments: u8, is_sealed: bool) -> usize {
        let seal = if is_sealed { OpSeal::BYTES } else { 0 };
        let op = size_of::<Op>()
            .saturating_add(seal)
            .saturating_add(size_of::<Option<RequestPart>>())
            .saturating_add(OpFrames::bytes(replicas, fragments));
        op.saturating_mul(MAX_REQUEST_PAGES).saturating_mul(depth)
    }

    /// A queue for `depth` requests.
    pub(crate) fn new(
        number: u16,
        depth: usize,
        replicas: usize,
        fragments: u8,
        timer: Arc<Timer>,
        sealer: Option<&Sealer>,
    ) -> Result<Arc<Self>> {
        let op_count = depth.checked_mul(MAX_REQUEST_PAGES).ok_or(EINVAL)?;
        let parts = make_vec(op_count, || Ok(None))?;
        let own = (parts, None);
        Self::make(number, op_count, replicas, fragments, timer, own, sealer)
    }

    /// Repair's queue, with an op for each of `own_pages`.
    pub(in crate::driver) fn for_repair(
        number: u16,
        fragments: u8,
        timer: Arc<Timer>,
        repair: KBox<Repair<KernelStorage>>,
        own_pages: KVec<Page>,
        sealer: Option<&Sealer>,
    ) -> Result<Arc<Self>> {
        let op_count = own_pages.len();
        let own = (KVVec::new(), Some((repair, own_pages)));
        // A copy goes to one server.
        Self::make(number, op_count, 1, fragments, timer, own, sealer)
    }

    // Neither this nor its callers are inlined: a shard is large for a kernel stack.
    #[inline(never)]
    fn make(
        number: u16,
        op_count: usize,
        replicas: usize,
        fragments: u8,
        timer: Arc<Timer>,
        (parts, own): Own,
        sealer: Option<&Sealer>,
    ) -> Result<Arc<Self>> {
        let seals = op_seals(op_count, sealer)?;
        let frames = make_vec(op_count, || OpFrames::new(replicas, fragments))?;
        let tables = Parts {
            ops: make_vec(op_count, || Ok(Op::default()))?,
            buckets: [
                KVec::from_elem(0, BUCKETS, MAY_FAIL)?,
                KVec::from_elem(0, BUCKETS, MAY_FAIL)?,
            ],
            stale: KVVec::from_elem(StaleCopy::default(), STALE_COPIES, MAY_FAIL)?,
        };
        let lingering = Lingering::new(op_count)?;
        let (repair, own_pages) = own.unzip();
        let state = init!(State {
            shard: Shard::new(number, tables),
            parts,
            repair,
        });
        Arc::pin_init(
            pin_init!(Self {
                state <- kernel::new_spinlock_irq!(state, "anemone_queue"),
                frames,
                lingering,
                timer,
                own_pages: own_pages.unwrap_or_default(),
                // The first lane is the cluster's.
                lane: usize::from(number).wrapping_add(1),
                seals,
            }),
            MAY_FAIL,
        )
    }
}

/// What ops are sealed with: nothing, if pages are not sealed.
// Not inlined into what has a shard on its stack.
#[inline(never)]
fn op_seals(count: usize, sealer: Option<&Sealer>) -> Result<KVVec<OpSeal>> {
    match sealer {
        Some(sealer) => make_vec(count, || OpSeal::new(sealer)),
        None => Ok(KVVec::new()),
    }
}
