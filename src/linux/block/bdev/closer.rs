// SPDX-License-Identifier: GPL-2.0

//! Closing a block device. This may wait without a bound: for another opener, which holds the device's
//! lock while its driver waits for the disk; and, for the last closer, until data that others wrote to
//! the device's cache is written back.

use kernel::sync::Arc;

use super::{
    file::Claim,
    job::{
        Job,
        JobQueue,
        JobWorker, //
    },
    DeviceNumber,
    Event,
    Report, //
};
use crate::linux::module::{
    is_coming,
    ModuleRef, //
};

/// A device that is to be closed.
pub(super) struct Closing {
    claim: Claim,
    number: DeviceNumber,
    wait_ms: u32,
    report: Report,
}

/// Closes one device. It is made before the device is opened, so that closing allocates nothing.
pub(super) type Closer = JobWorker<Closing>;

impl Job for Closing {
    type Output = ();

    fn number(&self) -> DeviceNumber {
        self.number
    }

    fn run(self, keeps_module: bool) {
        if keeps_module {
            drop(self.claim);
        } else if !self.claim.hand_over(self.wait_ms) {
            (self.report)(self.number, Event::HandedOver);
        }
    }

    fn late(_output: &()) -> Option<Event> {
        Some(Event::ClosedLate)
    }
}

impl Closer {
    /// Closes a device on `queue`, and if `waits`, waits for that, unless it takes long or a signal arrives.
    /// A module that is being unloaded, or fails to load, cannot be kept. Then a thread of the kernel's
    /// closes the device, and the end of the queue waits for that for a bounded time.
    pub(super) fn close(
        self: &Arc<Self>,
        claim: Claim,
        number: DeviceNumber,
        waits: bool,
        queue: &JobQueue,
    ) {
        let closing = Closing {
            claim,
            number,
            wait_ms: queue.wait_ms,
            report: queue.report,
        };
        let module = ModuleRef::try_get(queue.module).filter(|_| !is_coming(queue.module));
        let is_kept = module.is_some();
        // The worker has no other job: a device is closed once.
        let _ = self.begin(closing, module, queue);
        let is_closed = || waits && self.wait(queue, true).is_some() || self.abandon().is_some();
        if is_kept && !is_closed() {
            (queue.report)(number, Event::StillClosing);
        }
    }
}
