// SPDX-License-Identifier: GPL-2.0

//! Pages on their way to the local disk and from it: the engine's mirror under its lock, its
//! pages, and the bios that carry them.
//!
//! Contexts: page-outs and page-ins (process and softirq) put pages in and take them out; bios end
//! in hard interrupt, which only sets the timer; the timer (softirq) tells the mirror, and the
//! queues what follows; bios are submitted by a worker of its own, so that a disk that takes none
//! holds up nothing else. Nothing here allocates.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        SpinLockIrq,
        SpinLockIrqGuard, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use super::{
    asked::{
        Asked,
        AskedFor, //
    },
    Report, //
};
use crate::{
    driver::{
        core::Core,
        storage::KernelStorage,
        timer::CoreTimer, //
    },
    engine::client::{
        config::NS_PER_S,
        device::Device,
        maintenance::detach::{
            Detach,
            Surroundings, //
        },
        mirror::{
            BufferId,
            Config,
            DiskIo,
            Event,
            Get,
            Mirror,
            Parts,
            Put,
            Token,
            Way, //
        },
        shard::{
            DiskRead,
            DiskSettle,
            DiskWant,
            DiskWrite,
            PutAnswer,
            Shard,
            Taken, //
        },
    },
    linux::{
        block::{
            bdev::BlockDevice,
            bio::{
                BioOp,
                BioSet, //
            },
            mq::Block, //
        },
        mm::{
            alloc::{
                is_available,
                MAY_FAIL, //
            },
            page::IoPage, //
        },
        module::ModuleRef,
        time::hrtimer::now_ns,
    },
    wire::PAGE_SIZE, //
};

/// I/Os that may be under way at a time.
const IOS: usize = 32;

/// How often somebody who waits looks.
const WAIT_MS: i64 = 2;

/// Events that are told in one run of the timer: others have softirqs to run, too.
const EVENTS: u32 = 64;

/// How often something is refused, with nothing of ours with the disk, until it is waited for.
const TRIES: u32 = 3;

/// How long handing something over may take before the disk counts as one that takes nothing.
const STUCK_NS: u64 = 500_000_000;

/// What is to be said of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// There is none.
    #[default]
    Absent,
    /// It is being detached.
    Detaching,
    /// It takes pages.
    Usable,
    /// It had too many errors, or is gone; it can be added again.
    Faulty,
    /// It does not answer; it is used again when it does.
    TimedOut,
}

impl Health {
    /// Its name, for people and programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::Detaching => "detaching",
            Self::Usable => "usable",
            Self::Faulty => "faulty",
            Self::TimedOut => "timed_out",
        }
    }
}

pub(super) struct State {
    pub(super) mirror: Mirror<KernelStorage>,
    /// Open while the mirror is attached.
    pub(super) device: Option<Arc<BlockDevice>>,
    /// What is with the disk, or is to be tried again.
    asked: AskedFor,
    /// Since when the worker has been handing something over, for which it holds the device.
    handing_since_ns: Option<u64>,
    /// What the worker is to begin with.
    staged: Option<DiskIo>,
    /// What the timer is to begin with.
    event: Option<Event>,
    /// The timer is notifying the queues something that the mirror has forgotten already.
    notifying: bool,
    /// It is being detached.
    detaching: bool,
    /// Held while the disk is stuck, or has I/O that was abandoned: our memory, and code, must stay.
    keeps_module: Option<ModuleRef>,
    /// What was last said of the disk.
    said: Health,
}

impl State {
    /// What is to be said of the disk now.
    pub(super) fn health(&self) -> Health {
        if self.device.is_none() {
            Health::Absent
        } else if self.detaching || !self.mirror.is_attached() {
            Health::Detaching
        } else if self.mirror.has_abandoned() {
            Health::TimedOut
        } else if self.mirror.has_failed() {
            Health::Faulty
        } else {
            Health::Usable
        }
    }

    fn is_handing(&self) -> bool {
        self.staged.is_some() || self.handing_since_ns.is_some()
    }

    fn is_notifying(&self) -> bool {
        self.notifying || self.event.is_some()
    }
}

/// Pages of a pool that is small enough to be tried in any case: attaching a disk is what helps a machine
/// that has run out of memory.
const ALWAYS_TRIED: usize = (4 << 20) / PAGE_SIZE;

/// What there is once a disk has been attached.
#[pin_data]
pub(crate) struct Pool {
    #[pin]
    pub(super) state: SpinLockIrq<State>,
    pages: KVVec<IoPage>,
    bios: BioSet<CoreTimer>,
}

impl Pool {
    /// Allocates `pages` pages and all that goes with them; fails rather than have programs killed.
    /// Sleeps.
    pub(super) fn new(
        pages: usize,
        config: Config,
        timer: Arc<CoreTimer>,
    ) -> Result<Pin<KBox<Self>>> {
        let bytes = pages.saturating_mul(PAGE_SIZE);
        if pages > ALWAYS_TRIED && !is_available(bytes) {
            return Err(ENOMEM);
        }
        fn table<T: Default>(len: usize) -> Result<KVVec<T>> {
            let mut table = KVVec::with_capacity(len, MAY_FAIL)?;
            for _ in 0..len {
                table.push(T::default(), MAY_FAIL)?;
            }
            Ok(table)
        }
        let parts = Parts {
            buffers: table(pages)?,
            heads: table(pages)?,
            ios: table(IOS)?,
        };
        let mut io_pages = KVVec::with_capacity(pages, MAY_FAIL)?;
        for _ in 0..pages {
            io_pages.push(IoPage::new()?, MAY_FAIL)?;
        }
        let state = State {
            mirror: Mirror::new(config, parts),
            device: None,
            asked: AskedFor::new(IOS)?,
            handing_since_ns: None,
            staged: None,
            event: None,
            notifying: false,
            detaching: false,
            keeps_module: None,
            said: Health::Absent,
        };
        let bios = BioSet::new(IOS, timer)?;
        KBox::pin_init(
            pin_init!(Self {
                state <- kernel::new_spinlock_irq!(state, "anemone_disk"),
                pages: io_pages,
                bios,
            }),
            MAY_FAIL,
        )
    }

    /// Changes the mirror, and sees to what follows from it.
    pub(super) fn with<R>(
        &self,
        core: ArcBorrow<'_, Core>,
        change: impl FnOnce(&mut State, u64) -> R,
    ) -> R {
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        let result = change(&mut guard, now_ns);
        self.follow(core, guard, now_ns);
        result
    }

    /// Has the worker and the timer do what there is to do.
    fn follow(
        &self,
        core: ArcBorrow<'_, Core>,
        mut guard: SpinLockIrqGuard<'_, State>,
        now_ns: u64,
    ) {
        let state = &mut *guard;
        if state.staged.is_none() && !state.asked.is_refusing() {
            state.staged = state.mirror.poll(now_ns, &core.device);
        }
        if state.event.is_none() && !state.notifying {
            state.event = state.mirror.poll_event();
        }
        let again_ns = state.asked.again_ns();
        let submit = match state.asked.is_refusing() {
            false => state.staged.is_some(),
            true => again_ns <= now_ns,
        };
        let notify = state.event.is_some();
        let mut next_ns = match notify {
            true => now_ns,
            false => state.mirror.next_timeout_ns(),
        };
        // The worker has been told of what is due.
        if !submit {
            next_ns = next_ns.min(again_ns);
        }
        // Once it is stuck the timer has fired, and keeps the module; or the module is being unloaded.
        let stuck_from_ns = state.stuck_from_ns();
        if stuck_from_ns > now_ns {
            next_ns = next_ns.min(stuck_from_ns);
        }
        drop(guard);
        core.local.timer.arm(next_ns);
        if submit {
            core.local.kick(core);
        }
    }

    /// What is known of the disk.
    pub(super) fn report(&self) -> Report {
        let state = self.state.lock();
        Report {
            health: state.health(),
            policy: state.mirror.config().policy,
            bytes: state
                .device
                .as_ref()
                .map_or(0, |device| device.size_bytes()),
            number: state
                .device
                .as_ref()
                .map_or((0, 0), |device| device.number().major_minor()),
            buffered: state.mirror.buffered(),
            counters: *state.mirror.counters(),
        }
    }

    /// Puts a page in that is being paged out, or is brought up to date, if there is room. `block` has
    /// its bytes.
    pub(crate) fn put(
        &self,
        core: ArcBorrow<'_, Core>,
        write: &DiskWrite,
        block: &Block,
    ) -> PutAnswer {
        let put = self.with(core, |state, _| {
            write.begin(&mut state.mirror, &core.device)
        });
        let id = match put {
            Put::Buffer(id) => id,
            Put::Full => return PutAnswer::Full,
            Put::Closed => return PutAnswer::Closed,
        };
        let Some(buffer) = self.pages.get(id.index()) else {
            return PutAnswer::Closed;
        };
        if let Some(value) = write.fill {
            buffer.fill(value);
            return PutAnswer::Copied;
        }
        buffer.copy_from(block);
        let crc = buffer.crc32c();
        if crc == write.crc {
            return PutAnswer::Copied;
        }
        let DiskWrite { page, version, .. } = *write;
        self.settle(
            core,
            &DiskSettle {
                page,
                version,
                completed: false,
            },
        );
        PutAnswer::Changed(crc)
    }

    /// A page-out waits for a page that has been put in. Returns whether it will be told.
    pub(crate) fn want(&self, core: ArcBorrow<'_, Core>, want: &DiskWant) -> bool {
        self.with(core, |state, now_ns| {
            state
                .mirror
                .want(now_ns, want.page, want.version, want.token)
        })
    }

    /// The page-out of a page that has been put in, has ended.
    pub(crate) fn settle(&self, core: ArcBorrow<'_, Core>, settle: &DiskSettle) {
        self.with(core, |state, now_ns| {
            state.mirror.settle(
                now_ns,
                settle.page,
                settle.version,
                settle.completed,
                &core.device,
            )
        });
    }

    /// Wants a page back.
    pub(crate) fn ask(&self, core: ArcBorrow<'_, Core>, read: &DiskRead) -> Get {
        self.with(core, |state, _| read.begin(&mut state.mirror, &core.device))
    }

    /// A shard has no use for its turn to have a buffer.
    pub(crate) fn pass_turn(&self, core: ArcBorrow<'_, Core>, shard: usize, way: Way) {
        self.with(core, |state, _| state.mirror.pass_turn(shard, way));
    }

    /// Gives the bytes of a page that is lent by the mirror to `block`.
    pub(crate) fn copy(&self, id: BufferId, block: &Block, wants_crc: bool) -> Taken {
        let Some(buffer) = self.pages.get(id.index()) else {
            return Taken::Nothing;
        };
        buffer.copy_to(block);
        match wants_crc {
            true => Taken::Summed(block.crc32c()),
            false => Taken::Copied,
        }
    }

    /// Gives a page that is lent by the mirror back.
    pub(crate) fn release(&self, core: ArcBorrow<'_, Core>, id: BufferId) {
        self.with(core, |state, _| state.mirror.release(id));
    }

    /// Submits what there is to be submitted. Process context; may sleep for long: the module counts
    /// as in use meanwhile.
    pub(super) fn submit(&self, core: ArcBorrow<'_, Core>) {
        loop {
            let mut guard = self.state.lock();
            let now_ns = now_ns();
            guard.handing_since_ns = None;
            let Some(asked) = guard.next_to_ask(now_ns, &core.device) else {
                self.follow(core, guard, now_ns);
                return;
            };
            let io = asked.io;
            let first_page = u64::from(io.first.0);
            let device = guard.device.clone();
            // Submitting may wait without a bound, and the module has to stay until it returns. A disk that
            // takes nothing ends what may not wait; but not every driver keeps to that (nbd sends
            // from here, through a socket that may be full), and the block layer does not say which.
            let Some(module) = ModuleRef::try_get() else {
                // It is being unloaded: what the disk does not have yet, it never gets.
                guard.begin_detach(now_ns, &core.device);
                guard.ended(now_ns, io.id, false, &core.device);
                self.follow(core, guard, now_ns);
                return;
            };
            let nowait = device
                .as_ref()
                .is_some_and(|device| device.takes_nowait(first_page, io.buffers().len()))
                && (asked.tries < TRIES || guard.asked.has_others(io.id));
            guard.handing_since_ns = Some(now_ns);
            drop(guard);

            let op = match io.is_write {
                true => BioOp::Write,
                false => BioOp::Read,
            };
            let prepared = device.as_ref().and_then(|device| {
                let pages = io
                    .buffers()
                    .iter()
                    .filter_map(|id| self.pages.get(id.index()));
                self.bios
                    .prepare(io.id, device, op, nowait, first_page, pages)
            });
            match prepared {
                Some(prepared) => prepared.submit(),
                None => self.with(core, |state, now_ns| {
                    state.ended(now_ns, io.id, false, &core.device);
                }),
            }
            // Before it is said that nothing is being handed over: whoever detaches the disk closes
            // it, and may open it again.
            drop(device);
            drop(module);
        }
    }

    /// The timer: bios have ended, or time has passed. Softirq.
    pub(crate) fn serve(&self, core: ArcBorrow<'_, Core>) {
        let mut now_ns = now_ns();
        let mut guard = self.state.lock();
        guard.notifying = true;
        let mut has_room = false;
        for id in 0..self.bios.len() {
            match self.bios.reap(id) {
                None => {}
                Some(Err(error)) if error == EAGAIN => guard.refused(now_ns, id, &core.device),
                // The error is counted by the mirror, and said if it has consequences.
                Some(result) => {
                    has_room = true;
                    guard.ended(now_ns, id, result.is_ok(), &core.device);
                }
            }
        }
        if has_room {
            guard.asked.has_room(now_ns);
        }
        guard.mirror.handle_timeout(now_ns, &core.device);
        // What is left is told in the next run, which `follow` sees to.
        for _ in 0..EVENTS {
            let state = &mut *guard;
            let next = match state.event.take() {
                Some(event) => Some(event),
                None => state.mirror.poll_event(),
            };
            let Some(event) = next else {
                break;
            };
            drop(guard);
            self.notify(core, event);
            guard = self.state.lock();
            now_ns = crate::linux::time::hrtimer::now_ns();
        }
        guard.notifying = false;
        guard.keep_module();
        let change = guard.health_change();
        let io_timeout_ns = guard.mirror.config().io_timeout_ns;
        self.follow(core, guard, now_ns);
        if let Some((before, now)) = change {
            say(before, now, io_timeout_ns);
        }
    }

    /// Tells a queue, or all.
    fn notify(&self, core: ArcBorrow<'_, Core>, event: Event) {
        let queue = |token: Token| {
            core.queues
                .get(Shard::<KernelStorage>::number_of_tag(token.tag))
        };
        match event {
            Event::Written(token, ok) => {
                if let Some(queue) = queue(token) {
                    queue.drive(core, |shard, now_ns| {
                        shard.disk_written(now_ns, token, ok, &core.device)
                    });
                }
            }
            Event::Read(token, result) => {
                if let Some(queue) = queue(token) {
                    queue.disk_read(core, self, token, result);
                }
                if let Ok(id) = result {
                    self.release(core, id);
                }
            }
            Event::Turn(shard, way) => {
                if let Some(queue) = core.queues.get(shard) {
                    queue.drive(core, |shard, _| shard.disk_turn(way));
                }
            }
            Event::StateChanged => {
                for queue in &core.queues {
                    queue.drive(core, |shard, now_ns| {
                        shard.disk_changed(now_ns, &core.device)
                    });
                }
            }
        }
    }

    /// Does the next thing with the mirror of a disk that is being detached. Returns the disk when nothing
    /// needs it any more.
    pub(super) fn advance_detach(
        &self,
        core: ArcBorrow<'_, Core>,
        detach: &mut Detach,
    ) -> Option<Arc<BlockDevice>> {
        self.with(core, |state, now_ns| {
            let surroundings = Surroundings {
                is_stuck: state.is_stuck(),
                is_settled: !state.is_handing() && !state.is_notifying(),
            };
            detach.with_mirror(now_ns, &mut state.mirror, &core.device, surroundings);
            state.detaching = detach.is_under_way();
            if !state.mirror.is_attached() {
                state.end_refused(now_ns, &core.device);
            }
            match detach.has_detached() {
                true => state.device.take(),
                false => None,
            }
        })
    }

    /// Waits until nothing at all is with the disk, and every queue knows. Returns whether it is so: not
    /// if `timeout_ns` is over. Sleeps.
    pub(super) fn wait_until_idle(&self, timeout_ns: u64) -> bool {
        let end_ns = now_ns().saturating_add(timeout_ns);
        loop {
            let state = self.state.lock();
            if state.mirror.is_idle() && !state.is_handing() && !state.is_notifying() {
                return true;
            }
            drop(state);
            if now_ns() >= end_ns {
                return false;
            }
            fsleep(Delta::from_millis(WAIT_MS));
        }
    }
}

impl State {
    /// Takes what the worker is to hand over next; `None` if there is nothing now.
    fn next_to_ask(&mut self, now_ns: u64, device: &Device<KernelStorage>) -> Option<Asked> {
        if self.asked.is_refusing() {
            return self.asked.ask_again(now_ns);
        }
        let io = match self.staged.take() {
            Some(io) => io,
            None => self.mirror.poll(now_ns, device)?,
        };
        Some(self.asked.ask(now_ns, io))
    }

    /// The disk did not take an I/O: it is tried again, unless the disk is being let go of.
    fn refused(&mut self, now_ns: u64, id: usize, device: &Device<KernelStorage>) {
        match self.mirror.is_attached() {
            true => self.asked.refused(now_ns, id),
            false => self.ended(now_ns, id, false, device),
        }
    }

    /// The disk is not used any more.
    pub(super) fn begin_detach(&mut self, now_ns: u64, device: &Device<KernelStorage>) {
        self.mirror.begin_detach(device);
        self.end_refused(now_ns, device);
    }

    /// What the disk has not taken, it is not asked for any more.
    fn end_refused(&mut self, now_ns: u64, device: &Device<KernelStorage>) {
        while let Some(id) = self.asked.first_refused() {
            self.ended(now_ns, id, false, device);
        }
    }

    /// Whether something has been being handed over for so long, or the disk has had something for so
    /// long without ending anything, that it cannot be let go of.
    fn is_stuck(&self) -> bool {
        self.stuck_from_ns() <= now_ns()
    }

    /// From when on it is stuck, unless something ends before.
    fn stuck_from_ns(&self) -> u64 {
        let since_ns = |since: Option<u64>| since.unwrap_or(u64::MAX);
        since_ns(self.handing_since_ns)
            .min(since_ns(self.asked.idle_since_ns()))
            .saturating_add(STUCK_NS)
    }

    /// An I/O has ended, or could not be begun.
    fn ended(&mut self, now_ns: u64, id: usize, ok: bool, device: &Device<KernelStorage>) {
        self.asked.ended(now_ns, id);
        self.mirror.ended(now_ns, id, ok, device);
    }

    /// The module stays while the disk has something that may not end soon.
    fn keep_module(&mut self) {
        if !self.mirror.has_abandoned() && !self.is_stuck() {
            self.keeps_module = None;
        } else if self.keeps_module.is_none() {
            // If it is being unloaded already, dropping the bios sees to it.
            self.keeps_module = ModuleRef::try_get();
        }
    }

    /// What is to be said of the disk that has not been: what it was, and what it is.
    fn health_change(&mut self) -> Option<(Health, Health)> {
        let now = self.health();
        let before = core::mem::replace(&mut self.said, now);
        (before != now).then_some((before, now))
    }
}

/// Says how the disk has changed.
fn say(before: Health, now: Health, io_timeout_ns: u64) {
    match (before, now) {
        (_, Health::TimedOut) => pr_err!(
            "local disk: no answer for {} s; not written to until it answers\n",
            io_timeout_ns / NS_PER_S
        ),
        (Health::TimedOut, Health::Usable) => pr_info!("local disk: it answers again\n"),
        (_, Health::Faulty) => {
            pr_err!("local disk: faulty, no longer used; to use it again, attach it again\n")
        }
        (Health::Faulty, Health::Usable) => pr_info!("local disk: it is used again\n"),
        _ => {}
    }
}
