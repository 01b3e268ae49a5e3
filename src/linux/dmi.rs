// SPDX-License-Identifier: GPL-2.0

//! What the firmware says of the machine.
//!
//! C header: [`include/linux/dmi.h`](srctree/include/linux/dmi.h)

use core::ptr::NonNull;

use kernel::prelude::*;

use super::helpers;

/// The machine's UUID, as text, if its firmware says one. Clones of a virtual machine may share it.
pub(crate) fn uuid() -> Option<&'static CStr> {
    // SAFETY: It may be called at any time.
    let uuid = unsafe { helpers::machine_uuid() };
    // SAFETY: It is terminated, and once the kernel is up never changes nor goes away.
    NonNull::new(uuid.cast_mut()).map(|uuid| unsafe { CStr::from_char_ptr(uuid.as_ptr()) })
}
