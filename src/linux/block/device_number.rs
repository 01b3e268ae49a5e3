// SPDX-License-Identifier: GPL-2.0

//! The numbers of block devices.
//!
//! Could be removed in a release after 7.3, once the kernel crate has `dev_t` and `lookup_bdev`.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// The number of a block device: its major and minor.
///
/// # Examples
///
/// ```ignore
/// let number = DeviceNumber::look_up(c"/dev/vda")?;
/// let (major, minor) = number.major_minor();
/// pr_info!("{major}:{minor}\n");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNumber(pub(in crate::linux) bindings::dev_t);

impl DeviceNumber {
    /// The number of the device at `path`. Sleeps: waits for the path's file system without a bound; for a
    /// network's only until the task is killed.
    pub(crate) fn look_up(path: &CStr) -> Result<Self> {
        let mut dev = 0;
        // SAFETY: The path is terminated, and `dev` is valid for writes.
        to_result(unsafe { bindings::lookup_bdev(path.as_char_ptr(), &mut dev) })?;
        Ok(Self(dev))
    }

    /// Both parts, as `MKDEV` puts them together.
    pub(crate) fn major_minor(self) -> (u32, u32) {
        (self.0 >> 20, self.0 & ((1 << 20) - 1))
    }
}
