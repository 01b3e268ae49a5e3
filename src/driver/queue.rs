// SPDX-License-Identifier: GPL-2.0

//! One hardware queue: the engine's shard under its lock, and its work without the lock.
//!
//! Contexts: `queue_rq` (process), received frames and the timer (softirq), the worker
//! (process). All take the queue's lock, which disables interrupts; none sends, copies or
//! completes under it.

mod answers;
mod build;
mod lingering;
mod page_content;
mod requests;
mod run;

pub(crate) use answers::Content;
pub(crate) use lingering::Lingered;

use kernel::{
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};

use lingering::Lingering;

use super::{
    block_device::AnemoneDevice,
    page_seal::{
        OpSeal,
        Sealer, //
    },
    request_part::RequestPart,
    shared::Shared,
    storage::KernelStorage, //
    timers_and_work::Timer,
    tx_frames::OpFrames,
};
use crate::{
    engine::client::{
        repair::Repair,
        shard::{
            OpId,
            Shard, //
        }, //
    },
    linux::{
        block::{
            mq::RequestBlock,
            Block,
            BlockWriter,
            Page, //
        },
        time::hrtimer::now_ns,
    },
};

/// An op's page, while its bytes are used without the queue's lock. The page stays until this is dropped.
enum OpPage<'a> {
    /// The page of a part of a request.
    Request(RequestBlock<AnemoneDevice>),
    /// A page of repair's queue.
    Own(&'a Page),
}

impl OpPage<'_> {
    #[inline]
    fn block(&self) -> Block<'_> {
        match self {
            Self::Request(block) => block.block(),
            Self::Own(page) => page.block(),
        }
    }

    #[inline]
    fn writer(&self) -> Option<BlockWriter<'_>> {
        match self {
            Self::Request(block) => block.writer(),
            Self::Own(page) => Some(page.writer()),
        }
    }
}

struct State {
    shard: Shard<KernelStorage>,
    /// By op; `Some` while the op is in use. Empty in repair's queue.
    parts: KVVec<Option<RequestPart>>,
    /// In repair's queue: the use of each op.
    repair: Option<KBox<Repair<KernelStorage>>>,
}

/// One hardware queue.
#[pin_data]
pub(crate) struct Queue {
    #[pin]
    state: SpinLockIrq<State>,
    frames: KVVec<OpFrames>,
    /// Free ops whose frames still keep a page.
    lingering: Lingering,
    /// Fires when the shard has something due.
    pub(crate) timer: Arc<Timer>,
    /// In repair's queue: the page of each op.
    own_pages: KVec<Page>,
    /// Whose counter its frames are signed with.
    lane: usize,
    /// By op; empty if pages are not sealed.
    seals: KVVec<OpSeal>,
}

impl Queue {
    /// Accesses the shard, for statistics and the worker.
    pub(crate) fn lock_shard<R>(&self, look: impl FnOnce(&mut Shard<KernelStorage>) -> R) -> R {
        look(&mut self.state.lock().shard)
    }

    /// Whether it is repair's queue.
    pub(super) fn is_repairs(&self) -> bool {
        !self.own_pages.is_empty()
    }

    /// Reads the repair state, in repair's queue.
    pub(super) fn lock_repair(&self, look: impl FnOnce(&Repair<KernelStorage>)) {
        if let Some(repair) = &self.state.lock().repair {
            look(repair);
        }
    }

    /// Changes repair and its shard, in repair's queue, and does the resulting work.
    pub(super) fn drive_repair(
        &self,
        shared: &Shared,
        change: impl FnOnce(&mut Repair<KernelStorage>, &mut Shard<KernelStorage>, u64),
    ) {
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(repair) = &mut state.repair {
            change(repair, &mut state.shard, now_ns);
        }
        self.run(shared, guard, now_ns);
    }

    /// Changes the shard, and does the resulting work.
    pub(crate) fn drive_shard(
        &self,
        shared: &Shared,
        change: impl FnOnce(&mut Shard<KernelStorage>, u64),
    ) {
        let now_ns = now_ns();
        let mut state = self.state.lock();
        change(&mut state.shard, now_ns);
        self.run(shared, state, now_ns);
    }

    /// Handles timers. Softirq context.
    pub(super) fn expired(&self, shared: &Shared) {
        self.release_lingering();
        self.drive_shard(shared, |shard, now_ns| {
            shard.handle_timeout(now_ns, &shared.device)
        });
        if self.is_repairs() {
            self.drive_repair(shared, |repair, shard, now_ns| {
                repair.handle_timeout(now_ns, shard, &shared.device);
            });
        }
    }

    /// What the op's page is sealed with; `None` if pages are not sealed.
    #[inline]
    fn sealing<'a>(&'a self, shared: &'a Shared, op: OpId) -> Option<(&'a Sealer, &'a OpSeal)> {
        let sealer = shared.sealer.as_deref()?;
        Some((sealer, self.seals.get(op.index())?))
    }

    /// Returns the page of an op in use.
    #[inline]
    fn page_of(&self, state: &State, op: OpId) -> Option<OpPage<'_>> {
        match state.parts.get(op.index()) {
            Some(Some(part)) => Some(OpPage::Request(part.block().clone())),
            _ => self.own_pages.get(op.index()).map(OpPage::Own),
        }
    }
}
