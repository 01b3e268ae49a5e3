// SPDX-License-Identifier: GPL-2.0

//! The engine's mirror under its lock, with what goes with it: its pages, and the bios that carry them to the
//! local disk and from it.
//!
//! Contexts: queues call the mirror and copy pages in process context and softirq (`port.rs`). Bios end
//! in hard interrupt, which only sets the timer. The timer's softirq notifies the mirror, and the queues
//! of what follows. A worker of its own submits bios, so a disk that takes none delays nothing else
//! (`io.rs`). Only [`Pool::new`] allocates.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq,
        SpinLockIrqGuard, //
    }, //
};

use super::Report;
use crate::{
    driver::{
        shared::Shared,
        storage::{
            make_vec,
            KernelStorage, //
        },
        timers_and_work::Timer,
    },
    engine::client::{
        maintenance::detach::Detach,
        mirror::{
            Config,
            Event,
            Mirror,
            Parts,
            MERGE, //
        },
    },
    linux::{
        block::{
            bdev::BlockDevice,
            bio::BioSet,
            Page, //
        },
        mm::alloc::{
            is_available,
            MAY_FAIL, //
        },
        module::ModuleRef,
        time::hrtimer::now_ns, //
    },
    wire::PAGE_SIZE, //
};

/// I/Os that may be under way at a time.
const IOS: usize = 32;

pub(super) struct State {
    pub(super) mirror: Mirror<KernelStorage>,
    /// Open while the mirror is attached.
    pub(super) device: Option<Arc<BlockDevice>>,
    /// The event of which the timer notifies first.
    pub(super) event: Option<Event>,
    /// The timer is notifying queues of an event that the mirror no longer has.
    pub(super) notifying: bool,
    /// Held while the disk has I/O: our memory and code must stay.
    pub(super) keeps_module: Option<ModuleRef>,
}

impl State {
    fn is_notifying(&self) -> bool {
        self.notifying || self.event.is_some()
    }

    /// Whether the disk was removed from the machine.
    pub(super) fn is_gone(&self) -> bool {
        self.device.as_ref().is_some_and(|device| device.is_gone())
    }
}

/// Pages of a pool that is allocated however little memory there is: attaching a disk helps a machine that
/// has run out of memory.
const ALWAYS_TRIED: usize = (4 << 20) / PAGE_SIZE;

/// The buffers, their bios and what they wait for, allocated when a disk is first attached.
/// Dropping it waits for bios under way.
#[pin_data]
pub(crate) struct Pool {
    #[pin]
    pub(super) state: SpinLockIrq<State>,
    pub(super) pages: KVVec<Page>,
    pub(super) bios: BioSet<Timer, MERGE>,
}

impl Pool {
    /// Allocates `pages` pages and all that goes with them; fails rather than have programs killed.
    /// Sleeps.
    pub(super) fn new(pages: usize, config: Config, timer: Arc<Timer>) -> Result<Pin<KBox<Self>>> {
        let bytes = pages.saturating_mul(PAGE_SIZE);
        if pages > ALWAYS_TRIED && !is_available(bytes) {
            return Err(ENOMEM);
        }
        let parts = Parts {
            buffers: make_vec(pages, || Ok(Default::default()))?,
            heads: make_vec(pages, || Ok(Default::default()))?,
            ios: make_vec(IOS, || Ok(Default::default()))?,
        };
        let pages = make_vec(pages, Page::new)?;
        let state = State {
            mirror: Mirror::new(config, parts),
            device: None,
            event: None,
            notifying: false,
            keeps_module: None,
        };
        let bios = BioSet::new(IOS, timer)?;
        KBox::pin_init(
            pin_init!(Self {
                state <- kernel::new_spinlock_irq!(state, "anemone_disk"),
                pages,
                bios,
            }),
            MAY_FAIL,
        )
    }

    /// Changes the mirror. Wakes the submitter and sets the timer as needed.
    pub(super) fn with<R>(&self, shared: &Shared, change: impl FnOnce(&mut State, u64) -> R) -> R {
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        let result = change(&mut guard, now_ns);
        self.follow(shared, guard, now_ns);
        result
    }

    /// Wakes the submitter and sets the timer for what is to be done. Releases the lock first.
    pub(super) fn follow(
        &self,
        shared: &Shared,
        mut guard: SpinLockIrqGuard<'_, State>,
        now_ns: u64,
    ) {
        let state = &mut *guard;
        let submit = state.mirror.stage_io(now_ns, &shared.device);
        if state.event.is_none() && !state.notifying {
            state.event = state.mirror.poll_event();
        }
        let next_ns = match state.event {
            Some(_) => now_ns,
            None => state.mirror.next_timeout_ns(),
        };
        let unneeded = state.release_module();
        drop(guard);
        drop(unneeded);
        shared.local.timer.arm(next_ns);
        if submit {
            shared.local.submitter.kick();
        }
    }

    /// Whether the block layer has bios of ours.
    pub(crate) fn has_io(&self) -> bool {
        self.bios.has_submitted()
    }

    /// What is known of the disk.
    pub(super) fn report(&self, shared: &Shared) -> Report {
        let state = self.state.lock();
        let device = state.device.as_ref();
        Report {
            health: state.mirror.health(&shared.device),
            policy: state.mirror.config().policy,
            bytes: device.map_or(0, |device| device.size_bytes()),
            number: device.map_or((0, 0), |device| device.number().major_minor()),
            buffered: state.mirror.buffered(),
            counters: *state.mirror.counters(),
        }
    }

    /// Carries out the next step of detaching on the mirror. Returns the disk when nothing needs it any
    /// more.
    pub(super) fn advance_detach(
        &self,
        shared: &Shared,
        detach: &mut Detach,
    ) -> Option<Arc<BlockDevice>> {
        self.with(shared, |state, now_ns| {
            let is_notified = !state.is_notifying();
            detach.with_mirror(now_ns, &mut state.mirror, &shared.device, is_notified);
            state.device.take_if(|_| detach.has_detached())
        })
    }
}
