// SPDX-License-Identifier: GPL-2.0

//! One hardware queue: the engine's shard under its lock, and its work without the lock.
//!
//! Contexts: `queue_rq` (process), received frames and the timer (softirq), the worker
//! (process). All take the queue's lock, which disables interrupts; none sends, copies or
//! completes under it.

mod lingering;
mod requests;

pub(crate) use lingering::Lingered;

use kernel::{
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq,
        SpinLockIrqGuard, //
    }, //
};

use lingering::Lingering;

use super::{
    block_device::AnemoneDevice,
    callback::Timer, //
    frames::{
        OpFrames,
        Sent, //
    },
    local::LocalPort,
    request_part::{
        RequestPart,
        MAX_REQUEST_PAGES, //
    },
    shared::Shared,
    storage::KernelStorage,
};
use crate::{
    engine::client::{
        device::Device,
        free::StaleCopy,
        histogram::BUCKETS,
        ids::PageIndex,
        repair::Repair,
        shard::{
            Action,
            Completion,
            Op,
            OpId,
            Outcome,
            Parts,
            SendPayload,
            Shard,
            Verdict, //
        },
    },
    linux::{
        block::mq::{
            BlkStatus,
            RequestBlock, //
        },
        bottom_half::local_bh_disable,
        mm::{
            alloc::MAY_FAIL,
            block::{
                Block,
                BlockWriter, //
            },
            page::Page, //
        },
        net::skb::RxFrame,
        time::hrtimer::now_ns,
    },
    wire::{
        Ack,
        Header,
        MacAddress,
        HEADER_LEN, //
    },
};

/// Transfers sent before this CPU handles softirqs again.
const SENDS_WITHOUT_SOFTIRQS: u32 = 32;

/// Stale copies that a shard can note.
const STALE_COPIES: usize = 1024;

/// An op's page, while its bytes are used without the queue's lock. The page stays until this is dropped.
enum Held<'a> {
    /// The page of a part of a request.
    Request(RequestBlock<AnemoneDevice>),
    /// A page of repair's queue.
    Own(&'a Page),
}

impl Held<'_> {
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
    repair: Option<Repair<KernelStorage>>,
}

/// What is done without the lock when an op has ended.
enum Todo {
    /// Release the page from the op's frames, then end its part of the request.
    End {
        op: OpId,
        part: Option<RequestPart>,
        status: BlkStatus,
        wake: Option<PageIndex>,
    },
    /// Fill the page, then end its part of the request.
    Fill {
        part: Option<RequestPart>,
        value: u64,
    },
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
}

impl Queue {
    /// Approximate size in bytes.
    pub(crate) fn bytes(depth: usize, replicas: usize, fragments: u8) -> usize {
        let op = size_of::<Op>()
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
    ) -> Result<Arc<Self>> {
        let op_count = depth.checked_mul(MAX_REQUEST_PAGES).ok_or(EINVAL)?;
        let mut parts = KVVec::with_capacity(op_count, MAY_FAIL)?;
        for _ in 0..op_count {
            parts.push(None, MAY_FAIL)?;
        }
        Self::make(number, op_count, replicas, fragments, timer, parts, None)
    }

    /// Repair's queue, with an op for each of `own_pages`.
    pub(super) fn for_repair(
        number: u16,
        fragments: u8,
        timer: Arc<Timer>,
        repair: Repair<KernelStorage>,
        own_pages: KVec<Page>,
    ) -> Result<Arc<Self>> {
        let op_count = own_pages.len();
        let own = Some((repair, own_pages));
        // A copy goes to one server.
        Self::make(number, op_count, 1, fragments, timer, KVVec::new(), own)
    }

    // Never inlined, nor are its callers: a shard is large for a kernel stack.
    #[inline(never)]
    fn make(
        number: u16,
        op_count: usize,
        replicas: usize,
        fragments: u8,
        timer: Arc<Timer>,
        parts: KVVec<Option<RequestPart>>,
        own: Option<(Repair<KernelStorage>, KVec<Page>)>,
    ) -> Result<Arc<Self>> {
        let mut ops = KVVec::with_capacity(op_count, MAY_FAIL)?;
        let mut frames = KVVec::with_capacity(op_count, MAY_FAIL)?;
        for _ in 0..op_count {
            ops.push(Op::default(), MAY_FAIL)?;
            frames.push(OpFrames::new(replicas, fragments)?, MAY_FAIL)?;
        }
        let tables = Parts {
            ops,
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
            }),
            MAY_FAIL,
        )
    }

    /// Accesses the shard, for statistics and the worker.
    pub(crate) fn with_shard<R>(&self, look: impl FnOnce(&mut Shard<KernelStorage>) -> R) -> R {
        look(&mut self.state.lock().shard)
    }

    /// Whether it is repair's queue.
    pub(super) fn is_repairs(&self) -> bool {
        !self.own_pages.is_empty()
    }

    /// Reads the repair state, in repair's queue.
    pub(super) fn with_repair(&self, look: impl FnOnce(&Repair<KernelStorage>)) {
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
    pub(crate) fn drive(
        &self,
        shared: &Shared,
        change: impl FnOnce(&mut Shard<KernelStorage>, u64),
    ) {
        let now_ns = now_ns();
        let mut state = self.state.lock();
        change(&mut state.shard, now_ns);
        self.run(shared, state, now_ns);
    }

    /// Handles a frame with a page's bytes, or an acknowledgement.
    #[inline]
    pub(crate) fn receive(
        &self,
        shared: &Shared,
        frame: &RxFrame<'_>,
        header: &Header,
        fill: Option<u64>,
    ) {
        let now_ns = now_ns();
        let source = MacAddress(frame.source());
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let verdict = state
            .shard
            .handle_frame(now_ns, source, header, fill, &shared.device);
        let Verdict::Receive(receive) = verdict else {
            self.run(shared, guard, now_ns);
            return;
        };
        let page = self.hold(state, receive.id.op);
        drop(guard);

        // The claim pins the op until it is returned.
        let mut crc = None;
        let mut copied = false;
        if let Some(writer) = page.as_ref().and_then(Held::writer) {
            copied = frame
                .copy_to_block(HEADER_LEN, &writer, receive.offset, receive.len)
                .is_some();
            if copied && receive.completes {
                crc = Some(writer.crc32c());
            }
        }
        drop(page);

        let mut guard = self.state.lock();
        guard
            .shard
            .received(now_ns, &receive, copied, crc, &shared.device);
        self.run(shared, guard, now_ns);
    }

    /// Handles a frame of acknowledgements, with its `header`.
    pub(crate) fn acknowledged(
        &self,
        shared: &Shared,
        source: MacAddress,
        header: &Header,
        acks: &[Ack],
    ) {
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        for ack in acks {
            if let Some(header) = ack.header(header) {
                // An acknowledgement has nothing to copy.
                let _ = guard
                    .shard
                    .handle_frame(now_ns, source, &header, None, &shared.device);
            }
        }
        self.run(shared, guard, now_ns);
    }

    /// Handles timers. Softirq context.
    pub(super) fn expired(&self, shared: &Shared) {
        self.release_lingering();
        self.drive(shared, |shard, now_ns| {
            shard.handle_timeout(now_ns, &shared.device)
        });
        if self.is_repairs() {
            self.drive_repair(shared, |repair, shard, now_ns| {
                if now_ns >= repair.next_timeout_ns() {
                    repair.drive(now_ns, None, shard, &shared.device);
                }
            });
        }
    }

    /// Carries out the shard's work until there is none.
    ///
    /// One item for each hold of the lock: copying several out from under it costs more than taking
    /// a lock that is mostly free.
    fn run<'a>(&'a self, shared: &Shared, mut guard: SpinLockIrqGuard<'a, State>, now_ns: u64) {
        let mut port = LocalPort(shared);
        let mut softirqs = None;
        let mut sends = 0_u32;
        loop {
            let action = guard.shard.poll(now_ns, &mut port, &shared.device);
            let is_quiet = guard.shard.is_quiet();
            if is_quiet {
                self.timer.arm(guard.next_timeout_ns());
            }
            let suspicion = guard.shard.take_suspicion();
            let let_go = |guard| {
                drop(guard);
                if suspicion {
                    shared.kick();
                }
            };
            match action {
                Some(Action::Send(id)) => {
                    let send = guard.shard.describe(id, &shared.device);
                    let page = match &send {
                        Some(send) if matches!(send.payload, SendPayload::Page { .. }) => {
                            self.hold(&guard, id.op)
                        }
                        _ => None,
                    };
                    let_go(guard);
                    // Otherwise, on a virtual device, the other end's softirq would run after each
                    // frame.
                    softirqs.get_or_insert_with(local_bh_disable);
                    let sent = match (self.frames.get(id.op.index()), &send) {
                        (Some(frames), Some(send)) => {
                            let block = page.as_ref().map(Held::block);
                            shared.link.send(frames, send, block)
                        }
                        _ => Sent::Done,
                    };
                    drop(page);
                    sends = sends.wrapping_add(1);
                    if sends % SENDS_WITHOUT_SOFTIRQS == 0 {
                        softirqs = None;
                    }
                    guard = self.state.lock();
                    if let (Sent::Changed(crc), Some(send)) = (sent, &send) {
                        guard.shard.page_changed(now_ns, send, crc, &shared.device);
                    }
                    guard.shard.sent(now_ns, id, &shared.device);
                }
                Some(Action::Complete(completion)) => {
                    // Repair's next work is known only now.
                    let is_quiet = is_quiet && guard.repair.is_none();
                    let todo = guard.complete(now_ns, completion, &shared.device);
                    let_go(guard);
                    let woken = self.execute(shared, todo);
                    if is_quiet && woken.is_none() {
                        return;
                    }
                    guard = self.state.lock();
                    if woken.is_some() {
                        guard.shard.unpark(now_ns, woken, &shared.device);
                    }
                }
                Some(Action::FillBuffer(fill)) => {
                    let page = self.hold(&guard, fill.op);
                    let_go(guard);
                    // Lets the servers receive what was sent, and work on it meanwhile.
                    softirqs = None;
                    let crc = match (shared.local.pool(), &page) {
                        (Some(pool), Some(page)) => pool.fill(&fill, page.block()),
                        _ => None,
                    };
                    drop(page);
                    guard = self.state.lock();
                    let shard = &mut guard.shard;
                    shard.buffer_filled(now_ns, &fill, crc, &mut port, &shared.device);
                }
                Some(Action::ReadBuffer(read)) => {
                    let page = self.hold(&guard, read.op);
                    let_go(guard);
                    softirqs = None;
                    let (copied, crc) =
                        match (shared.local.pool(), page.as_ref().and_then(Held::writer)) {
                            (Some(pool), Some(writer)) => pool.read(&read, &writer),
                            _ => (false, None),
                        };
                    drop(page);
                    guard = self.state.lock();
                    let shard = &mut guard.shard;
                    shard.buffer_read(now_ns, &read, copied, crc, &mut port, &shared.device);
                }
                None => {
                    let_go(guard);
                    return;
                }
            }
        }
    }

    /// Does one item. Returns a page that requests may be waiting for.
    fn execute(&self, shared: &Shared, todo: Todo) -> Option<PageIndex> {
        match todo {
            Todo::End {
                op,
                part,
                status,
                wake,
            } => {
                if self
                    .frames
                    .get(op.index())
                    .is_some_and(|frames| !frames.release())
                {
                    self.linger(op);
                }
                if let Some(part) = part {
                    part.end(status);
                }
                if wake.is_some() {
                    // Requests of other queues may be waiting too: the worker checks.
                    shared.kick();
                }
                wake
            }
            Todo::Fill { part, value } => {
                if let Some(part) = part {
                    if let Some(writer) = part.block().writer() {
                        writer.fill(value);
                    }
                    part.end(BlkStatus::OK);
                }
                None
            }
        }
    }

    /// Returns the page of an op in use.
    #[inline]
    fn hold(&self, state: &State, op: OpId) -> Option<Held<'_>> {
        match state.parts.get(op.index()) {
            Some(Some(part)) => Some(Held::Request(part.block().clone())),
            _ => self.own_pages.get(op.index()).map(Held::Own),
        }
    }

    /// A frame of the op is still queued in this host and keeps its page: check again later.
    #[cold]
    fn linger(&self, op: OpId) {
        let look_ns = self.lingering.put(op.index(), now_ns());
        self.timer.arm(look_ns);
    }

    /// Releases the pages of lingering ops, where possible now.
    fn release_lingering(&self) {
        let release = |op| self.frames.get(op).is_none_or(OpFrames::release);
        if let Some(look_ns) = self.lingering.look(now_ns(), release) {
            self.timer.arm(look_ns);
        }
    }

    /// Adds how long frames have kept pages after their op had ended.
    pub(crate) fn add_lingered(&self, sum: &mut Lingered) {
        self.lingering.add_to(sum);
    }
}

impl State {
    /// An op has ended.
    #[inline]
    fn complete(
        &mut self,
        now_ns: u64,
        completion: Completion,
        device: &Device<KernelStorage>,
    ) -> Todo {
        if self.repair.is_some() {
            return self.end_copy(now_ns, &completion, device);
        }
        let Completion { op, outcome, wake } = completion;
        let part = self.parts.get_mut(op.index()).and_then(Option::take);
        let status = match outcome {
            Outcome::Done => BlkStatus::OK,
            Outcome::Failed => BlkStatus::IOERR,
            // The kernel keeps the page in memory.
            Outcome::NoSpace => BlkStatus::NOSPC,
            Outcome::Zeros => return Todo::Fill { part, value: 0 },
            Outcome::Filled(value) => return Todo::Fill { part, value },
        };
        Todo::End {
            op,
            part,
            status,
            wake,
        }
    }

    /// An op of repair has ended.
    #[cold]
    fn end_copy(
        &mut self,
        now_ns: u64,
        completion: &Completion,
        device: &Device<KernelStorage>,
    ) -> Todo {
        let shard = &mut self.shard;
        let repair = self.repair.as_mut();
        Todo::End {
            op: completion.op,
            part: None,
            status: BlkStatus::OK,
            wake: repair.and_then(|repair| repair.completed(now_ns, completion, shard, device)),
        }
    }

    fn next_timeout_ns(&self) -> u64 {
        let repair_ns = self.repair.as_ref().map(Repair::next_timeout_ns);
        self.shard
            .next_timeout_ns()
            .min(repair_ns.unwrap_or(u64::MAX))
    }
}
