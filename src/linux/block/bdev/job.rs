// SPDX-License-Identifier: GPL-2.0

//! A job that may wait without a bound. A worker does it, and holds a reference to the module
//! meanwhile. The task that asks for it waits only a moment.

use core::mem;

use kernel::{
    impl_has_work,
    new_mutex,
    new_work,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

use super::{
    DeviceNumber,
    Event,
    Report, //
};
use crate::linux::{
    module::ModuleRef,
    workqueue::OwnedQueue, //
};

/// The work queue that does jobs.
///
/// # Invariants
///
/// Only an [`Opener`](super::Opener) and the [`BlockDevice`](super::BlockDevice)s that it has opened refer to
/// it, so it is destroyed with the last of them, after all its jobs. No job refers to it.
pub(super) struct JobQueue {
    queue: OwnedQueue,
    /// The module that opens devices.
    pub(super) module: &'static ThisModule,
    /// How long a task waits for a job, and for others that open a disk.
    pub(super) wait_ms: u32,
    pub(super) report: Report,
}

impl JobQueue {
    pub(super) fn new(
        module: &'static ThisModule,
        name: &CStr,
        wait_ms: u32,
        report: Report,
    ) -> Result<Arc<Self>> {
        let queue = Self {
            queue: OwnedQueue::new_unbound().build(name)?,
            module,
            wait_ms,
            report,
        };
        Ok(Arc::new(queue, GFP_KERNEL)?)
    }
}

/// A job of a [`JobWorker`].
pub(super) trait Job: Send + Unpin + Sized + 'static {
    /// Its result.
    type Output: Send + Unpin;

    /// The device that it opens or closes.
    fn number(&self) -> DeviceNumber;

    /// Does the job, in a kernel thread. If not `keeps_module`, the module is being unloaded or fails to
    /// load, and waits for this. Sleeps.
    fn run(self, keeps_module: bool) -> Self::Output;

    /// What to report of a job that ends with `output` when nothing waits for it any more.
    fn late(output: &Self::Output) -> Option<Event>;
}

/// Does jobs, one after the other. All its memory is allocated when it is made.
#[pin_data]
pub(super) struct JobWorker<J: Job> {
    #[pin]
    state: Mutex<State<J>>,
    #[pin]
    work: Work<JobWorker<J>>,
    report: Report,
}

impl_has_work! {
    impl{J: Job} HasWork<Self> for JobWorker<J> { self.work }
}

struct State<J: Job> {
    phase: Phase<J>,
    /// Nothing waits for the job any more.
    is_late: bool,
}

enum Phase<J: Job> {
    /// There is no job.
    Idle,
    /// A job is queued, with a reference to the module for the worker to hold.
    Asked(J, Option<ModuleRef>),
    /// The worker opens or closes this device.
    UnderWay(DeviceNumber),
    /// The job is done.
    Done(J::Output),
}

impl<J: Job> State<J> {
    /// The result of the job, if it is done. There is no job then.
    fn take(&mut self) -> Option<J::Output> {
        match mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Done(output) => Some(output),
            phase => {
                self.phase = phase;
                None
            }
        }
    }
}

impl<J: Job> JobWorker<J> {
    /// Returns a worker without a job.
    pub(super) fn new(report: Report) -> impl PinInit<Self> {
        let state = State {
            phase: Phase::Idle,
            is_late: false,
        };
        pin_init!(Self {
            state <- new_mutex!(state, "bdev_job"),
            work <- new_work!("bdev_job"),
            report,
        })
    }

    /// Queues `job` on `queue`, or returns it if there is another job. `module` is `None` if the module
    /// is being unloaded.
    pub(super) fn begin(
        self: &Arc<Self>,
        job: J,
        module: Option<ModuleRef>,
        queue: &JobQueue,
    ) -> Result<(), J> {
        let mut state = self.state.lock();
        let Phase::Idle = state.phase else {
            return Err(job);
        };
        state.phase = Phase::Asked(job, module);
        // The work is not queued already: the phase is `Idle` only after the worker took the last job.
        let _ = queue.queue.enqueue::<_, 0>(self.clone());
        Ok(())
    }

    /// Waits for the job, for the time of `queue`, or until a signal if `heeds_signals`. `None` if it is not
    /// done then: see [`Self::take`] and [`Self::abandon`].
    pub(super) fn wait(&self, queue: &JobQueue, heeds_signals: bool) -> Option<J::Output> {
        let begin = Instant::<Monotonic>::now();
        let wait = Delta::from_millis(queue.wait_ms.into());
        loop {
            let output = self.take();
            let is_interrupted = heeds_signals && kernel::current!().signal_pending();
            if output.is_some() || is_interrupted || begin.elapsed() >= wait {
                return output;
            }
            // It polls: the kernel crate has no wait for a time that a signal does not end.
            fsleep(Delta::from_millis(1));
        }
    }

    /// The result of the job, if it is done.
    pub(super) fn take(&self) -> Option<J::Output> {
        self.state.lock().take()
    }

    /// The same, but leaves a job that is not done to the worker, which drops its result.
    pub(super) fn abandon(&self) -> Option<J::Output> {
        let mut state = self.state.lock();
        let output = state.take();
        state.is_late = !matches!(state.phase, Phase::Idle);
        output
    }

    /// The device that is opened or closed now.
    pub(super) fn under_way(&self) -> Option<DeviceNumber> {
        match &self.state.lock().phase {
            Phase::Asked(job, _) => Some(job.number()),
            Phase::UnderWay(number) => Some(*number),
            Phase::Idle | Phase::Done(_) => None,
        }
    }
}

impl<J: Job> WorkItem for JobWorker<J> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut state = this.state.lock();
        let (job, module) = match mem::replace(&mut state.phase, Phase::Idle) {
            Phase::Asked(job, module) => (job, module),
            phase => {
                // It is queued only with a job.
                state.phase = phase;
                return;
            }
        };
        let number = job.number();
        state.phase = Phase::UnderWay(number);
        drop(state);
        let output = job.run(module.is_some());
        let mut state = this.state.lock();
        if mem::take(&mut state.is_late) {
            drop(state);
            let event = J::late(&output);
            drop(output);
            this.state.lock().phase = Phase::Idle;
            if let Some(event) = event {
                (this.report)(number, event);
            }
        } else {
            state.phase = Phase::Done(output);
            drop(state);
        }
        // The end of the queue, before the module is unloaded, waits for the end of this function.
        drop(module);
    }
}
