// SPDX-License-Identifier: GPL-2.0

//! Closing a block device, which may wait without a bound: for whoever is opening it, who holds its
//! lock while its driver waits for the disk; and, if nobody else has it open, for what others have
//! written to its cache. So a worker closes it, which keeps the module, and is waited for only a moment.

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
    DeviceNumber,
    OpenFile, //
};
use crate::linux::{
    module::ModuleRef,
    workqueue::OwnedQueue, //
};

/// How long it is waited for.
const WAIT_MS: u32 = 1000;

/// What closes one device, made before it is opened, so that closing allocates nothing.
#[pin_data]
pub(super) struct Closer {
    number: DeviceNumber,
    #[pin]
    state: Mutex<State>,
    /// Notified when it is closed.
    #[pin]
    changed: CondVar,
    #[pin]
    work: Work<Closer>,
}

impl_has_work! {
    impl HasWork<Self> for Closer { self.work }
}

enum State {
    /// It is open.
    Open,
    /// It is to be closed, by a module that stays for that, or that is being unloaded.
    Asked(OpenFile, Option<ModuleRef>),
    /// The worker closes it. If `late`, nobody waits for that any more.
    UnderWay { late: bool },
    /// It is closed.
    Closed,
}

impl Closer {
    /// One that has nothing to close yet.
    pub(super) fn new(number: DeviceNumber) -> impl PinInit<Self> {
        pin_init!(Self {
            number,
            state <- new_mutex!(State::Open, "anemone_closer"),
            changed <- new_condvar!("anemone_closed"),
            work <- new_work!("anemone_close"),
        })
    }

    /// Closes `file` on `queue`, and waits for that, unless it takes long. A module that is being
    /// unloaded cannot be kept: whoever lets go of the queue waits until the device's lock was had.
    pub(super) fn close(self: &Arc<Self>, file: OpenFile, queue: &OwnedQueue) {
        let module = ModuleRef::try_get();
        let is_kept = module.is_some();
        let mut state = self.state.lock();
        *state = State::Asked(file, module);
        // It is queued once only.
        let _ = queue.enqueue::<_, 0>(self.clone());
        if !is_kept {
            return;
        }
        let mut left = msecs_to_jiffies(WAIT_MS);
        while !matches!(*state, State::Closed) {
            match self.changed.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout | CondVarTimeoutResult::Signal { .. } => break,
            }
        }
        let is_late = match &mut *state {
            State::UnderWay { late } => {
                *late = true;
                true
            }
            State::Asked(..) => true,
            State::Open | State::Closed => false,
        };
        drop(state);
        if is_late {
            let (major, minor) = self.number.major_minor();
            pr_warn!(
                "block device {}:{}: it is still being closed: another opener holds it up, or data that others wrote to it is being written back; the module is in use until then\n",
                major,
                minor
            );
        }
    }
}

impl WorkItem for Closer {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let asked = mem::replace(&mut *this.state.lock(), State::UnderWay { late: false });
        let State::Asked(file, module) = asked else {
            return;
        };
        match module.is_some() || !file.has_dirty_cache() {
            true => file.close(),
            // A thread of the kernel's waits for what others have written to its cache.
            false => drop(file),
        }
        let was = mem::replace(&mut *this.state.lock(), State::Closed);
        this.changed.notify_all();
        if matches!(was, State::UnderWay { late: true }) {
            let (major, minor) = this.number.major_minor();
            pr_info!("block device {}:{}: it is closed\n", major, minor);
        }
        // Before the module is unloaded its queue goes, which waits for this function's end.
        drop(module);
    }
}
