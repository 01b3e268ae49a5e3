// SPDX-License-Identifier: GPL-2.0

//! Opening a block device. This may wait without a bound: for its driver, which may wait for the disk,
//! and for another opener.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    job::{
        Job,
        JobWorker, //
    },
    BlockDevice,
    DeviceNumber,
    OpenError, //
};
use crate::linux::{
    module::ModuleRef,
    workqueue::OwnedQueue, //
};

/// A device that is to be opened, and closed on `queue`.
pub(crate) struct Opening {
    number: DeviceNumber,
    queue: Arc<OwnedQueue>,
}

/// Opens devices, one after the other.
pub(crate) type Opener = JobWorker<Opening>;

impl Job for Opening {
    type Output = Result<BlockDevice>;

    const LATE: &'static str = "it was opened too late, and is not used";

    fn number(&self) -> DeviceNumber {
        self.number
    }

    fn run(self, _keeps_module: bool) -> Self::Output {
        BlockDevice::open(self.number, self.queue)
    }
}

impl Opener {
    /// Opens a device. It is opened and closed on `queue`, which must be drained before the module is
    /// freed. A device that is not open after a second is closed when it is, and until then no other is
    /// opened. With `at_length` this waits without a bound. Sleeps.
    pub(crate) fn open(
        self: &Arc<Self>,
        number: DeviceNumber,
        queue: &Arc<OwnedQueue>,
        at_length: bool,
    ) -> Result<BlockDevice, OpenError> {
        let module = ModuleRef::try_get().ok_or(OpenError::UnderWay)?;
        let opening = Opening {
            number,
            queue: queue.clone(),
        };
        self.begin(opening, Some(module), queue)
            .map_err(|_| OpenError::UnderWay)?;
        let opened = self.wait(|| {
            let (major, minor) = number.major_minor();
            if at_length {
                pr_warn!("block device {major}:{minor}: it is still being opened, and loading waits: its driver waits for it, or another program is opening it\n");
            }
            at_length
        });
        opened
            .ok_or(OpenError::UnderWay)?
            .map_err(OpenError::Failed)
    }
}
