// SPDX-License-Identifier: GPL-2.0

//! Closing a block device. This may wait without a bound: for another opener, which holds the device's
//! lock while its driver waits for the disk; and, for the last closer, until data that others wrote to
//! the device's cache is written back.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    job::{
        Job,
        JobWorker, //
    },
    DeviceNumber,
    OpenFile, //
};
use crate::linux::{
    module::ModuleRef,
    workqueue::OwnedQueue, //
};

/// A device that is to be closed.
pub(super) struct Closing {
    file: OpenFile,
    number: DeviceNumber,
}

/// Closes one device. It is made before the device is opened, so that closing allocates nothing.
pub(super) type Closer = JobWorker<Closing>;

impl Job for Closing {
    type Output = ();

    const LATE: &'static str = "it is closed";

    fn number(&self) -> DeviceNumber {
        self.number
    }

    fn run(self, keeps_module: bool) {
        match keeps_module || !self.file.has_dirty_cache() {
            true => self.file.close(),
            // A kernel thread waits until data that others wrote to its cache is written back.
            false => drop(self.file),
        }
    }
}

impl Closer {
    /// Closes `file` on `queue`, and waits for that, unless it takes long. A module that is being
    /// unloaded cannot be kept: draining the queue waits until the claim on the device is given up.
    pub(super) fn close(
        self: &Arc<Self>,
        file: OpenFile,
        number: DeviceNumber,
        queue: &OwnedQueue,
    ) {
        let module = ModuleRef::try_get();
        let is_kept = module.is_some();
        // The worker has no other job: a device is closed once.
        let _ = self.begin(Closing { file, number }, module, queue);
        if !is_kept || self.wait(|| false).is_some() {
            return;
        }
        let (major, minor) = number.major_minor();
        pr_warn!("block device {major}:{minor}: it is still being closed: another opener holds it up, or data that others wrote to it is being written back; the module is in use until then\n");
    }
}
