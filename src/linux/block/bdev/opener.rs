// SPDX-License-Identifier: GPL-2.0

//! Opening a block device. This may wait without a bound: for its driver, which may wait for the disk,
//! and for another opener.
//!
//! What is here could be removed with [`Opener`], which says when.

use core::mem::{
    ManuallyDrop,
    MaybeUninit, //
};

use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc,
        UniqueArc, //
    }, //
};

use super::{
    closer::Closer,
    file::Claim,
    job::{
        Job,
        JobQueue,
        JobWorker, //
    },
    BlockDevice,
    DeviceNumber,
    Event,
    Report, //
};
use crate::linux::module::ModuleRef;

/// A device that is to be opened.
struct Opening {
    number: DeviceNumber,
    // Both are made before the device is opened, so that using and closing it allocates nothing.
    place: UniqueArc<MaybeUninit<BlockDevice>>,
    closer: Arc<Closer>,
}

/// A device that has been opened, if that did not fail.
struct Opened {
    claim: Result<Claim>,
    opening: Opening,
}

impl Job for Opening {
    type Output = Opened;

    fn number(&self) -> DeviceNumber {
        self.number
    }

    fn run(self, _keeps_module: bool) -> Opened {
        Opened {
            claim: Claim::new(self.number),
            opening: self,
        }
    }

    fn late(output: &Opened) -> Option<Event> {
        output.claim.is_ok().then_some(Event::OpenedLate)
    }
}

/// What becomes of a device that is not open in time.
///
/// [`Opener`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It is closed when it is open.
    Close,
    /// [`Opener::take_late`] returns it when it is open.
    Keep,
}

/// Opens devices, one after the other. Workers open and close them, on a work queue that ends with this
/// value and the devices that it has opened. Dropping the last of them sleeps.
///
/// It does not log. It reports what happens when no caller waits any more.
///
/// Could be removed in a release after 7.3, once the kernel can open and close a block device within a
/// bounded time.
///
/// # Invariants
///
/// No job of `queue` refers to the queue, as [`BlockDevice`] says.
///
/// # Examples
///
/// ```ignore
/// fn report(number: DeviceNumber, event: Event) {
///     pr_info!("{:?}: {event:?}\n", number.major_minor());
/// }
///
/// let module = this_module::<crate::LocalModule>();
/// let opener = Opener::new(module, c"example", 1000, report)?;
/// let number = DeviceNumber::look_up(c"/dev/vda")?;
/// match opener.open(number, Late::Close)? {
///     Some(device) => pr_info!("{} bytes\n", device.size_bytes()),
///     None => pr_info!("another program is opening it\n"),
/// }
/// ```
pub(crate) struct Opener {
    worker: Arc<JobWorker<Opening>>,
    queue: Arc<JobQueue>,
}

impl Opener {
    /// Makes a work queue of this name. A task waits `wait_ms` milliseconds until a device is opened or
    /// closed. `module` is kept meanwhile. Sleeps.
    pub(crate) fn new(
        module: &'static ThisModule,
        name: &CStr,
        wait_ms: u32,
        report: Report,
    ) -> Result<Self> {
        Ok(Self {
            worker: Arc::pin_init(JobWorker::new(report), GFP_KERNEL)?,
            queue: JobQueue::new(module, name, wait_ms, report)?,
        })
    }

    /// Opens a device. Returns `None` if it is not open in time, or if another device before it is still
    /// being opened, or has not been taken yet. Fails with `EBUSY` if something else has it opened
    /// exclusively.
    ///
    /// If it is not open in time, `late` says what becomes of it. For `Late::Close` a signal ends the wait,
    /// too. Until the device is open the module is in use, and no other is opened; with `Late::Keep` none
    /// until it is taken. Sleeps.
    pub(crate) fn open(
        &self,
        number: DeviceNumber,
        late: Late,
    ) -> Result<Option<Arc<BlockDevice>>> {
        let module = ModuleRef::try_get(self.queue.module).ok_or(ENODEV)?;
        let opening = Opening {
            number,
            place: UniqueArc::new_uninit(GFP_KERNEL)?,
            closer: Arc::pin_init(Closer::new(self.queue.report), GFP_KERNEL)?,
        };
        let (worker, queue) = (&self.worker, &self.queue);
        if worker.begin(opening, Some(module), queue).is_err() {
            return Ok(None);
        }
        let opened = match late {
            Late::Close => worker.wait(queue, true).or_else(|| worker.abandon()),
            Late::Keep => worker.wait(queue, false),
        };
        opened.map(|opened| self.finish(opened)).transpose()
    }

    /// The device that [`Self::open`] has kept, once it is open, or why it cannot be opened. Sleeps.
    pub(crate) fn take_late(&self) -> Option<(DeviceNumber, Result<Arc<BlockDevice>>)> {
        let opened = self.worker.take()?;
        Some((opened.opening.number, self.finish(opened)))
    }

    /// Gives up the device that [`Self::open`] has kept: it is closed when it is open. Sleeps.
    pub(crate) fn abandon(&self) {
        if let Some(opened) = self.worker.abandon() {
            drop(self.finish(opened));
        }
    }

    fn finish(&self, opened: Opened) -> Result<Arc<BlockDevice>> {
        let Opening {
            number,
            place,
            closer,
        } = opened.opening;
        // INVARIANT: `claim` is initialised. No job of the queue refers to the queue, as `Opening` and
        // `Closing` do not.
        let device = place.write(BlockDevice {
            claim: ManuallyDrop::new(opened.claim?),
            number,
            closes_later: Atomic::new(0),
            closer,
            queue: self.queue.clone(),
        });
        Ok(device.into())
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.abandon();
        if let Some(number) = self.worker.under_way() {
            // Only when the module fails to load, which the reference to it does not prevent.
            (self.queue.report)(number, Event::StillOpening);
        }
    }
}
