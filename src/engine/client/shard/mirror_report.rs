// SPDX-License-Identifier: GPL-2.0

//! What the mirror learns when a page-out ends: whether the version in its buffer is the newest now.

use super::super::disk_port::DiskPort;
use super::super::ids::{PageIndex, Version};
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;

/// How a page-out ended whose version is in a buffer: a report to the mirror.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteOutcome {
    page: PageIndex,
    version: Version,
    /// Whether the version is the page's newest now.
    completed: bool,
}

impl WriteOutcome {
    pub(super) fn report<S: Storage>(
        self,
        now_ns: u64,
        port: &mut impl DiskPort<S>,
        device: &SwapDevice<S>,
    ) {
        port.call(|mirror| {
            mirror.settle(now_ns, self.page, self.version, self.completed, device);
        });
    }
}

impl super::Op {
    /// The report to the mirror about the version that it holds, if it holds one. `is_done`: whether the
    /// page-out has succeeded.
    pub(super) fn take_write_outcome(&mut self, is_done: bool) -> Option<WriteOutcome> {
        let version = self.disk.put.take()?;
        Some(WriteOutcome {
            page: self.page,
            version,
            completed: is_done && version == self.version,
        })
    }
}
