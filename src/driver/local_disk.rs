// SPDX-License-Identifier: GPL-2.0

//! The local disk: which one is attached, and its state. Its I/O is in `local_disk/io.rs`.
//!
//! Context: process, may sleep, unless stated otherwise.

mod attach;
mod attach_error;
mod check;
mod detach;
mod disk_pool;
mod io;
mod log;
mod port;

use kernel::{
    module::this_module,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        MutexGuard,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use super::{
    params,
    shared::Shared, //
    timers_and_work::{
        new_timer,
        Target,
        Timer,
        WorkItem, //
    },
};
use crate::{
    engine::client::{
        counters::MirrorCounters,
        mirror::{
            Health,
            Policy, //
        },
    },
    linux::block::{
        bdev::{
            BlockDevice,
            Opener, //
        },
        mq::DiskRef, //
    },
    LocalModule, //
};

pub(crate) use attach::{
    attach,
    attach_first, //
};
pub(crate) use attach_error::AttachError;
pub(crate) use detach::detach;
pub(crate) use disk_pool::Pool;
pub(crate) use port::LocalPort;

/// How often, and for how long each time, a task waits to attach or detach a disk while another task
/// does so: half a second in all.
const ATTACHED_WAITS: u32 = 100;
const ATTACHED_WAIT_MS: i64 = 5;

/// How long a task waits until a disk is opened or closed, and for other programs that open one.
const OPEN_WAIT_MS: u32 = 1000;

/// The state of the local disk, for status output.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// Its state.
    pub(crate) health: Health,
    /// When pages that servers hold are also written to it.
    pub(crate) policy: Policy,
    /// Its size; 0 if there is none.
    pub(crate) bytes: u64,
    /// Its major and minor number.
    pub(crate) number: (u32, u32),
    /// Buffers in use for its I/O.
    pub(crate) buffered: usize,
    /// The counts since the module was loaded.
    pub(crate) counters: MirrorCounters,
}

/// The local disk, if there is one.
#[pin_data]
pub(crate) struct LocalDisk {
    /// Held while a disk is attached or detached, by ioctls and the worker, and when unloading begins.
    #[pin]
    pub(super) attached: Mutex<Option<Arc<BlockDevice>>>,
    /// Our own block device, once it has been created.
    own: SetOnce<DiskRef>,
    /// Allocated when a disk is attached for the first time, or is to be attached by the worker.
    pool: SetOnce<Pin<KBox<Pool>>>,
    pool_pages: usize,
    /// Fires when bios have ended, and when the mirror has something due.
    pub(crate) timer: Arc<Timer>,
    /// Submits bios.
    pub(super) submitter: Arc<WorkItem>,
    /// Opens and closes disks, however long that takes.
    pub(super) opener: Opener,
}

impl LocalDisk {
    /// No disk is attached yet. The pool will have `pool_pages` buffers.
    pub(crate) fn new(pool_pages: usize) -> Result<impl PinInit<Self>> {
        let timer = new_timer(Target::Pool)?;
        let submitter = WorkItem::new(c"anemone_disk", Target::Submitter)?;
        let opener = Opener::new(
            this_module::<LocalModule>(),
            c"anemone_open",
            OPEN_WAIT_MS,
            log::report,
        )?;
        Ok(pin_init!(Self {
            attached <- new_mutex!(None, "anemone_local"),
            own: SetOnce::new(),
            pool: SetOnce::new(),
            pool_pages,
            timer,
            submitter,
            opener,
        }))
    }

    /// Sets our own block device, which must not be attached to itself.
    pub(crate) fn set_own(&self, disk: DiskRef) {
        self.own.populate(disk);
    }

    /// The buffers for the disk's I/O; `None` if no disk was ever attached, or given at loading.
    #[inline]
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref().map(|pool| &**pool)
    }

    /// Acquires the lock for attaching and detaching. Returns `None` if another task keeps it. Sleeps.
    fn lock_attached(&self) -> Option<MutexGuard<'_, Option<Arc<BlockDevice>>>> {
        for _ in 0..ATTACHED_WAITS {
            if let Some(attached) = self.attached.try_lock() {
                return Some(attached);
            }
            fsleep(Delta::from_millis(ATTACHED_WAIT_MS));
        }
        None
    }

    /// Whether another block device is stacked on ours.
    pub(crate) fn is_own_below_another(&self) -> bool {
        self.own.as_ref().is_some_and(DiskRef::is_below_another)
    }

    /// The state of the disk.
    pub(crate) fn report(&self, shared: &Shared) -> Report {
        self.pool()
            .map_or_else(Report::default, |pool| pool.report(shared))
    }

    /// Called periodically: the parameters may have changed, or the disk may have been opened or removed.
    pub(crate) fn look_after(&self, shared: &Shared) {
        attach::attach_late(shared);
        let Some(pool) = self.pool() else {
            return;
        };
        let config = params::mirror_config();
        pool.with(shared, |state, _| {
            state.mirror.set_config(config, &shared.device);
            if state.is_gone() {
                // The change is logged when the timer notifies the queues of it.
                state.mirror.mark_faulty(&shared.device);
            }
        });
    }
}
