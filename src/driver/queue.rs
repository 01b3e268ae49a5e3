// SPDX-License-Identifier: GPL-2.0

//! One hardware queue: the engine's shard under its lock, and doing what it says without it.
//!
//! Contexts: `queue_rq` (process), received frames and the timer (softirq), the worker
//! (process). All take the queue's lock, which disables interrupts; none sends, copies or
//! completes under it.

mod disk_work;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        SpinLockIrq,
        SpinLockIrqGuard, //
    }, //
};

use disk_work::DiskTold;

use super::{
    core::Core,
    disk::Disk,
    frames::{
        OpFrames,
        Sent, //
    },
};
use crate::{
    engine::{
        free::StaleCopy,
        histogram::BUCKETS,
        ids::PageIndex,
        shard::{
            Action,
            Completion,
            DiskWork,
            Op,
            OpInUse,
            Outcome,
            Parts,
            Send,
            Shard,
            Storage,
            Verdict, //
        }, //
    },
    linux::{
        hrtimer::{
            now_ns,
            Timer,
            TimerCallback, //
        },
        mq::{
            BlkStatus,
            Block,
            Request, //
        },
        skb::RxFrame, //
    },
    wire::{
        Header,
        HEADER_LEN, //
    },
};

/// Pages that one request may have.
pub(crate) const MAX_REQUEST_PAGES: usize = 8;

/// Things done between two takings of the lock.
const BATCH: usize = 4;

/// How soon frames that are still on their way out are looked at again.
const LINGER_NS: u64 = 10_000_000;

/// Copies to be freed that a shard can remember.
const STALE_COPIES: usize = 1024;

/// Where a shard keeps things.
pub(crate) struct KernelStorage;

impl Storage for KernelStorage {
    type Ops = KVVec<Op>;
    type Buckets = KVec<u32>;
    type Stale = KVVec<StaleCopy>;
}

/// A request under way.
#[derive(Default)]
struct Pending {
    request: Option<Request<Disk>>,
    /// Pages that have not ended.
    left: usize,
    failed: bool,
}

impl Pending {
    /// One page has ended; the request, when it was the last.
    fn end_page(&mut self, failed: bool) -> Option<Ending> {
        self.failed |= failed;
        self.left = self.left.saturating_sub(1);
        if self.left != 0 {
            return None;
        }
        let status = match core::mem::take(&mut self.failed) {
            true => BlkStatus::IoErr,
            false => BlkStatus::Ok,
        };
        self.request.take().map(|request| Ending(request, status))
    }
}

/// A request to be ended.
struct Ending(Request<Disk>, BlkStatus);

struct State {
    shard: Shard<KernelStorage>,
    /// Every op's page, as long as the op is not free.
    blocks: KVec<Option<Block>>,
    /// By tag.
    pending: KVec<Pending>,
}

/// One thing to be done without the lock.
enum Todo {
    Send(Send, Option<Block>),
    /// The op's frames let go of its page, then the request ends if it was the last.
    End {
        op: usize,
        ending: Option<Ending>,
        wake: Option<PageIndex>,
    },
    /// The page is filled, and then its page of the request has ended.
    Fill {
        op: usize,
        block: Option<Block>,
        value: u64,
    },
    Disk(DiskWork, Option<Block>),
}

/// What the shard must be told when something has been done.
enum Told {
    Sent(Send, Sent),
    Filled(usize),
    Wake(PageIndex),
    Disk(DiskTold),
}

/// What a page-out is to write.
pub(crate) struct PageOut {
    pub(crate) block: Block,
    pub(crate) fill: Option<u64>,
    pub(crate) crc: u32,
}

fn page_number(first: PageIndex, index: usize) -> PageIndex {
    // CAST: a request has a few pages.
    PageIndex(first.0.wrapping_add(index as u32))
}

fn gather<T>(mut items: impl Iterator<Item = T>) -> [Option<T>; MAX_REQUEST_PAGES] {
    core::array::from_fn(|_| items.next())
}

/// One hardware queue.
#[pin_data]
pub(crate) struct Queue {
    #[pin]
    state: SpinLockIrq<State>,
    frames: KVec<OpFrames>,
    /// Ops that are free, but whose frames keep a page: a bit each.
    lingering: KVec<Atomic<u32>>,
    /// Fires when the shard has something due.
    pub(crate) timer: Arc<Timer<Expiry>>,
}

impl Queue {
    /// A queue for `depth` requests at a time.
    pub(crate) fn new(
        number: u16,
        depth: usize,
        replicas: usize,
        fragments: u8,
        timer: Arc<Timer<Expiry>>,
    ) -> Result<Arc<Self>> {
        let op_count = depth.checked_mul(MAX_REQUEST_PAGES).ok_or(EINVAL)?;
        let mut ops = KVVec::with_capacity(op_count, GFP_KERNEL)?;
        let mut frames = KVec::with_capacity(op_count, GFP_KERNEL)?;
        for _ in 0..op_count {
            ops.push(Op::default(), GFP_KERNEL)?;
            frames.push(OpFrames::new(replicas, fragments)?, GFP_KERNEL)?;
        }
        let mut pending = KVec::with_capacity(depth, GFP_KERNEL)?;
        for _ in 0..depth {
            pending.push(Pending::default(), GFP_KERNEL)?;
        }
        let parts = Parts {
            ops,
            buckets: [
                KVec::from_elem(0, BUCKETS, GFP_KERNEL)?,
                KVec::from_elem(0, BUCKETS, GFP_KERNEL)?,
            ],
            stale: KVVec::from_elem(StaleCopy::default(), STALE_COPIES, GFP_KERNEL)?,
        };
        let mut lingering = KVec::new();
        for _ in 0..op_count.div_ceil(32) {
            lingering.push(Atomic::new(0), GFP_KERNEL)?;
        }
        let blocks = KVec::from_elem(None, op_count, GFP_KERNEL)?;
        let state = State {
            shard: Shard::new(number, parts),
            blocks,
            pending,
        };
        Arc::pin_init(
            pin_init!(Self {
                state <- kernel::new_spinlock_irq!(state, "anemone_queue"),
                frames,
                lingering,
                timer,
            }),
            GFP_KERNEL,
        )
    }

    /// Looks at the shard. For statistics and the worker.
    pub(crate) fn with_shard<R>(&self, look: impl FnOnce(&mut Shard<KernelStorage>) -> R) -> R {
        look(&mut self.state.lock().shard)
    }

    /// Changes the shard, and does what follows from it.
    pub(crate) fn drive(
        &self,
        core: ArcBorrow<'_, Core>,
        change: impl FnOnce(&mut Shard<KernelStorage>, u64),
    ) {
        let now_ns = now_ns();
        let mut state = self.state.lock();
        change(&mut state.shard, now_ns);
        self.run(core, state, now_ns);
    }

    /// Takes a request that writes pages from `first` on, at most [`MAX_REQUEST_PAGES`].
    pub(crate) fn page_out(
        &self,
        core: ArcBorrow<'_, Core>,
        request: Request<Disk>,
        first: PageIndex,
        pages: impl ExactSizeIterator<Item = PageOut>,
    ) {
        let count = pages.len();
        // Looked at before the lock is taken: it is most of the work.
        let pages = gather(pages);
        self.start(core, request, count, |shard, op, index, now_ns| {
            let Some(Some(page)) = pages.get(index) else {
                return (None, Err(OpInUse));
            };
            let number = page_number(first, index);
            let started =
                shard.start_page_out(now_ns, op, number, page.fill, page.crc, &core.device);
            (Some(page.block), started)
        });
    }

    /// Takes a request that reads pages from `first` on, at most [`MAX_REQUEST_PAGES`].
    pub(crate) fn page_in(
        &self,
        core: ArcBorrow<'_, Core>,
        request: Request<Disk>,
        first: PageIndex,
        mut blocks: impl ExactSizeIterator<Item = Block>,
    ) {
        let count = blocks.len();
        self.start(core, request, count, |shard, op, index, now_ns| {
            let number = page_number(first, index);
            let started = shard.start_page_in(now_ns, op, number, &core.device);
            (blocks.next(), started)
        });
    }

    fn start(
        &self,
        core: ArcBorrow<'_, Core>,
        request: Request<Disk>,
        count: usize,
        mut start: impl FnMut(
            &mut Shard<KernelStorage>,
            usize,
            usize,
            u64,
        ) -> (Option<Block>, Result<(), OpInUse>),
    ) {
        let tag = request.tag() as usize;
        let first_op = tag.wrapping_mul(MAX_REQUEST_PAGES);
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(pending) = state.pending.get_mut(tag) else {
            // Not a tag of ours: dropping the request ends it with an error.
            drop(guard);
            return;
        };
        pending.request = Some(request);
        pending.left = count;
        pending.failed = false;
        let mut ending = None;
        for index in 0..count {
            let op = first_op.wrapping_add(index);
            let (block, started) = start(&mut state.shard, op, index, now_ns);
            if let Some(place) = state.blocks.get_mut(op) {
                *place = block;
            }
            if started.is_err() {
                ending = pending.end_page(true);
            }
        }
        self.run(core, guard, now_ns);
        if let Some(Ending(request, status)) = ending {
            request.end(status);
        }
    }

    /// A frame with a page's bytes, or an acknowledgement, has come.
    #[inline]
    pub(crate) fn receive(
        &self,
        core: ArcBorrow<'_, Core>,
        frame: &RxFrame<'_>,
        header: &Header,
        fill: Option<u64>,
    ) {
        let now_ns = now_ns();
        let source = frame.source();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let verdict = state
            .shard
            .handle_frame(now_ns, source, header, fill, &core.device);
        let Verdict::Receive(receive) = verdict else {
            self.run(core, guard, now_ns);
            return;
        };
        let block = state.blocks.get(receive.op).copied().flatten();
        drop(guard);

        // The claim keeps the op, and with it the request and the block, until it is given back.
        let mut crc = None;
        let mut copied = false;
        if let Some(block) = block {
            copied = frame
                .copy_to_block(HEADER_LEN, &block, receive.offset, receive.len)
                .is_some();
            if copied && receive.completes {
                crc = Some(block.crc32c());
            }
        }

        let mut guard = self.state.lock();
        guard
            .shard
            .received(now_ns, &receive, copied, crc, &core.device);
        self.run(core, guard, now_ns);
    }

    /// Does what the shard wants done, until it wants nothing.
    fn run<'a>(
        &'a self,
        core: ArcBorrow<'_, Core>,
        mut guard: SpinLockIrqGuard<'a, State>,
        now_ns: u64,
    ) {
        loop {
            let mut batch = [const { None::<Todo> }; BATCH];
            let mut count = 0;
            for place in &mut batch {
                let Some(todo) = guard.next(now_ns, &core) else {
                    break;
                };
                *place = Some(todo);
                count += 1;
            }
            let suspicion = guard.shard.take_suspicion();
            self.timer.arm(guard.shard.next_timeout_ns());
            drop(guard);
            if suspicion {
                core.kick();
            }
            if count == 0 {
                return;
            }

            let mut told = [const { None::<Told> }; BATCH];
            let mut to_tell = false;
            for (todo, told) in batch.iter_mut().zip(&mut told) {
                let Some(todo) = todo.take() else {
                    break;
                };
                *told = self.execute(core, todo);
                to_tell |= told.is_some();
            }
            if !to_tell && count < BATCH {
                return;
            }

            guard = self.state.lock();
            for told in &mut told {
                match told.take() {
                    Some(Told::Sent(send, sent)) => {
                        if let Sent::Changed(crc) = sent {
                            guard.shard.page_changed(now_ns, &send, crc, &core.device);
                        }
                        guard.shard.sent(&send);
                    }
                    Some(Told::Filled(op)) => {
                        if let Some(Ending(request, status)) = guard.end_page(op, false) {
                            drop(guard);
                            request.end(status);
                            guard = self.state.lock();
                        }
                    }
                    Some(Told::Wake(page)) => guard.shard.unpark(now_ns, Some(page), &core.device),
                    Some(Told::Disk(told)) => {
                        if let Some(found) = guard.tell_disk(core, now_ns, told) {
                            drop(guard);
                            self.take_found(core, found);
                            guard = self.state.lock();
                        }
                    }
                    None => {}
                }
            }
        }
    }

    /// Does one thing. Returns what the shard must be told.
    fn execute(&self, core: ArcBorrow<'_, Core>, todo: Todo) -> Option<Told> {
        match todo {
            Todo::Send(send, block) => {
                let sent = match (self.frames.get(send.op), block) {
                    (Some(frames), Some(block)) => core.link.send(frames, &send, &block),
                    _ => Sent::Done,
                };
                Some(Told::Sent(send, sent))
            }
            Todo::End { op, ending, wake } => {
                if self.frames.get(op).is_some_and(|frames| !frames.release()) {
                    self.linger(op);
                }
                if let Some(Ending(request, status)) = ending {
                    request.end(status);
                }
                if wake.is_some() && core.queues.len() > 1 {
                    // Requests of other queues may wait as well: the worker looks.
                    core.kick();
                }
                wake.map(Told::Wake)
            }
            Todo::Fill { op, block, value } => {
                if let Some(block) = block {
                    match value {
                        0 => block.zero(),
                        value => block.fill(value),
                    }
                }
                Some(Told::Filled(op))
            }
            Todo::Disk(work, block) => disk_work::execute(core, work, block).map(Told::Disk),
        }
    }

    /// Some frame of the op is still on its way out of this host, and keeps its page: to be
    /// looked at again.
    #[cold]
    fn linger(&self, op: usize) {
        if let Some(word) = self.lingering.get(op / 32) {
            let bit = 1_u32.wrapping_shl((op % 32) as u32);
            let mut old = word.load(Relaxed);
            while let Err(seen) = word.cmpxchg(old, old | bit, Full) {
                old = seen;
            }
        }
        self.timer.arm(now_ns().saturating_add(LINGER_NS));
    }

    /// Releases the pages of ops that linger, where it can be done now.
    fn release_lingering(&self) {
        for (index, word) in self.lingering.iter().enumerate() {
            if word.load(Relaxed) == 0 {
                continue;
            }
            let mut left = word.xchg(0, Full);
            while left != 0 {
                let op = index
                    .wrapping_mul(32)
                    .wrapping_add(left.trailing_zeros() as usize);
                left &= left.wrapping_sub(1);
                if self.frames.get(op).is_some_and(|frames| !frames.release()) {
                    self.linger(op);
                }
            }
        }
    }
}

impl State {
    /// The next thing to be done.
    #[inline]
    fn next(&mut self, now_ns: u64, core: &Core) -> Option<Todo> {
        Some(match self.shard.poll(now_ns, &core.device)? {
            Action::Send(send) => {
                let block = self.blocks.get(send.op).copied().flatten();
                Todo::Send(send, block)
            }
            Action::Disk(work) => {
                let block = self.block_of(&work);
                Todo::Disk(work, block)
            }
            Action::Complete(Completion { op, outcome, wake }) => match outcome {
                Outcome::Done | Outcome::Failed => Todo::End {
                    op,
                    ending: self.end_page(op, outcome == Outcome::Failed),
                    wake,
                },
                Outcome::Zeros => self.fill(op, 0),
                Outcome::Filled(value) => self.fill(op, value),
            },
        })
    }

    /// The block of an op that is not free.
    fn block(&self, op: usize) -> Option<Block> {
        self.blocks.get(op).copied().flatten()
    }

    fn fill(&self, op: usize, value: u64) -> Todo {
        Todo::Fill {
            op,
            block: self.blocks.get(op).copied().flatten(),
            value,
        }
    }

    /// A page of a request has ended; the request, when it was the last.
    fn end_page(&mut self, op: usize, failed: bool) -> Option<Ending> {
        self.pending
            .get_mut(op / MAX_REQUEST_PAGES)
            .and_then(|pending| pending.end_page(failed))
    }
}

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
        }
    }
}
