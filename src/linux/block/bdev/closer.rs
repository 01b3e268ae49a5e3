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
        JobQueue,
        JobWorker, //
    },
    DeviceNumber,
    OpenFile, //
};
use crate::linux::module::ModuleRef;

/// A device that is to be closed.
pub(super) struct Closing {
    pub(super) file: OpenFile,
    pub(super) number: DeviceNumber,
    /// The file stays open, and only the claim on the device is given up.
    pub(super) stays_open: bool,
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
        if self.stays_open {
            let (major, minor) = self.number.major_minor();
            self.file.give_up_claim();
            pr_err!("block device {major}:{minor}: it has not completed I/O, so it stays open until this machine restarts; it can be used, but not removed\n");
        } else if keeps_module || !self.file.has_dirty_cache() {
            self.file.close();
        } else {
            // A kernel thread waits until data that others wrote to its cache is written back.
            drop(self.file);
        }
    }
}

impl Closer {
    /// Closes a device on `queue`, and waits for that, unless it takes long or a signal arrives. A module
    /// that is being unloaded cannot be kept: the end of the queue waits until the claim on the device is
    /// given up.
    pub(super) fn close(self: &Arc<Self>, closing: Closing, queue: &JobQueue) {
        let (major, minor) = closing.number.major_minor();
        let module = ModuleRef::try_get();
        let is_kept = module.is_some();
        // The worker has no other job: a device is closed once.
        let _ = self.begin(closing, module, queue);
        if is_kept && self.wait(queue, || false).is_none() {
            pr_warn!("block device {major}:{minor}: it is still being closed, maybe until another opener has finished, or until data that others wrote to it is written back; the module is in use until then\n");
        }
    }
}
