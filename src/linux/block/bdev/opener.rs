// SPDX-License-Identifier: GPL-2.0

//! Opening a block device. This may wait without a bound: for its driver, which may wait for the disk,
//! and for another opener.

use core::mem::ManuallyDrop;

use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    }, //
};

use super::{
    closer::Closer,
    job::{
        Job,
        JobQueue,
        JobWorker, //
    },
    BlockDevice,
    DeviceNumber,
    OpenError,
    OpenFile, //
};
use crate::linux::module::ModuleRef;

/// A device that is to be opened.
struct Opening(DeviceNumber);

impl Job for Opening {
    type Output = Result<OpenFile>;

    const LATE: &'static str = "it was opened too late, and is not used";

    fn number(&self) -> DeviceNumber {
        self.0
    }

    fn run(self, _keeps_module: bool) -> Self::Output {
        OpenFile::open(self.0)
    }
}

/// Opens devices, one after the other. Workers open and close them, on a work queue that ends with this
/// value and the devices that it has opened. Dropping the last of them sleeps.
///
/// # Invariants
///
/// No job of `queue` refers to the queue, as [`BlockDevice`] says.
pub(crate) struct Opener {
    worker: Arc<JobWorker<Opening>>,
    queue: Arc<JobQueue>,
}

impl Opener {
    /// Makes a work queue of this name. A task waits `wait_ms` milliseconds until a device is opened or
    /// closed. Sleeps.
    pub(crate) fn new(name: &CStr, wait_ms: u32) -> Result<Self> {
        Ok(Self {
            worker: Arc::pin_init(JobWorker::new(), GFP_KERNEL)?,
            queue: JobQueue::new(name, wait_ms)?,
        })
    }

    /// Opens a device. A device that is not open in time, or when a signal arrives, is closed when it is,
    /// and until then no other is opened. With `at_length` this waits without a bound. Sleeps.
    pub(crate) fn open(
        &self,
        number: DeviceNumber,
        at_length: bool,
    ) -> Result<BlockDevice, OpenError> {
        let module = ModuleRef::try_get().ok_or(OpenError::Failed(ENODEV))?;
        // Before the device is opened, so that closing it allocates nothing.
        let closer = Arc::pin_init(Closer::new(), GFP_KERNEL).map_err(OpenError::Failed)?;
        self.worker
            .begin(Opening(number), Some(module), &self.queue)
            .map_err(|_| OpenError::UnderWay)?;
        let opened = self.worker.wait(&self.queue, || {
            let (major, minor) = number.major_minor();
            if at_length {
                pr_warn!("block device {major}:{minor}: it is still being opened: its driver waits for it, or another program is opening it\n");
            }
            at_length
        });
        let file = opened
            .ok_or(OpenError::UnderWay)?
            .map_err(OpenError::Failed)?;
        // INVARIANT: Opened just now.
        Ok(BlockDevice {
            file: ManuallyDrop::new(file),
            number,
            stays_open: Atomic::new(0),
            closer,
            queue: self.queue.clone(),
        })
    }
}
