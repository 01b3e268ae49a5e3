// SPDX-License-Identifier: GPL-2.0

//! Opening a block device, which may wait without a bound: for its driver, which may wait for the disk;
//! and for whoever else is opening it. So a worker opens it, which keeps the module, and is waited for
//! only a moment.

use core::mem;

use kernel::{
    impl_has_work,
    new_condvar,
    new_mutex,
    new_work,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

use super::{
    BlockDevice,
    DeviceNumber,
    OpenError, //
};
use crate::linux::{
    module::ModuleRef,
    workqueue::OwnedQueue, //
};

/// How long it is waited for.
const WAIT_MS: u32 = 1000;

/// What is to be opened.
pub(crate) struct Wanted {
    /// Which device.
    pub(crate) number: DeviceNumber,
    /// It must have so many bytes at least.
    pub(crate) min_bytes: u64,
    /// The disk that it must neither be nor be made of.
    pub(crate) excluded: Option<DeviceNumber>,
    /// What it will be closed on, which must be ours until the module goes.
    pub(crate) queue: Arc<OwnedQueue>,
}

/// What opens devices, one after the other.
#[pin_data]
pub(crate) struct Opener {
    #[pin]
    state: Mutex<State>,
    /// Notified when one is open, or could not be opened.
    #[pin]
    changed: CondVar,
    #[pin]
    work: Work<Opener>,
}

impl_has_work! {
    impl HasWork<Self> for Opener { self.work }
}

enum State {
    /// There is nothing to be done.
    Idle,
    /// One is to be opened.
    Asked(Wanted, ModuleRef),
    /// The worker opens it.
    UnderWay,
    /// The worker opens it, and nobody waits for that any more.
    Late,
    /// It is open, or could not be opened.
    Done(Result<BlockDevice, OpenError>),
}

impl Opener {
    /// One that has nothing to open yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(State::Idle, "anemone_opener"),
            changed <- new_condvar!("anemone_opened"),
            work <- new_work!("anemone_open"),
        })
    }

    /// Opens `wanted`. What takes longer than a second is given up, and closed when it is open; until
    /// then nothing else is opened. Not if `at_length`: then it is waited for without a bound. Sleeps.
    pub(crate) fn open(
        self: &Arc<Self>,
        wanted: Wanted,
        at_length: bool,
    ) -> Result<BlockDevice, OpenError> {
        let excluded = wanted.excluded;
        if excluded == Some(wanted.number) {
            return Err(OpenError::Itself);
        }
        let device = self.open_by_worker(wanted, at_length)?;
        match excluded.is_some_and(|disk| device.is_made_of(disk)) {
            true => Err(OpenError::Itself),
            false => Ok(device),
        }
    }

    fn open_by_worker(
        self: &Arc<Self>,
        wanted: Wanted,
        at_length: bool,
    ) -> Result<BlockDevice, OpenError> {
        let (major, minor) = wanted.number.major_minor();
        let module = ModuleRef::try_get().ok_or(OpenError::UnderWay)?;
        let mut state = self.state.lock();
        if !matches!(*state, State::Idle) {
            return Err(OpenError::UnderWay);
        }
        let queue = wanted.queue.clone();
        *state = State::Asked(wanted, module);
        // An error is only that it is queued already, for somebody who has given up before it began.
        let _ = queue.enqueue::<_, 0>(self.clone());
        let mut left = msecs_to_jiffies(WAIT_MS);
        while !matches!(*state, State::Done(_)) {
            match self.changed.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout | CondVarTimeoutResult::Signal { .. } => break,
            }
        }
        if at_length && !matches!(*state, State::Done(_)) {
            pr_warn!(
                "block device {}:{}: it is still being opened, and loading waits: its driver waits for it, or another program is opening it\n",
                major,
                minor
            );
            while !matches!(*state, State::Done(_)) {
                self.changed.wait(&mut state);
            }
        }
        match mem::replace(&mut *state, State::Idle) {
            State::Done(result) => result,
            State::UnderWay => {
                *state = State::Late;
                Err(OpenError::UnderWay)
            }
            // The worker has not begun, and will find nothing to do.
            State::Idle | State::Asked(..) | State::Late => Err(OpenError::UnderWay),
        }
    }
}

impl WorkItem for Opener {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut state = this.state.lock();
        let (wanted, module) = match mem::replace(&mut *state, State::UnderWay) {
            State::Asked(wanted, module) => (wanted, module),
            other => {
                *state = other;
                return;
            }
        };
        drop(state);
        let (major, minor) = wanted.number.major_minor();
        let result = BlockDevice::open(wanted);
        let mut state = this.state.lock();
        if matches!(*state, State::Late) {
            drop(state);
            drop(result);
            *this.state.lock() = State::Idle;
            pr_info!(
                "block device {}:{}: it was opened too late, and is not used\n",
                major,
                minor
            );
        } else {
            *state = State::Done(result);
            drop(state);
            this.changed.notify_all();
        }
        // Before the module is unloaded the queue goes, which waits for this function's end.
        drop(module);
    }
}
