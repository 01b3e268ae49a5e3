// SPDX-License-Identifier: GPL-2.0

//! Information from the firmware (DMI).
//!
//! Could be removed in a release after 7.3, once the kernel crate has `dmi_get_system_info`.
//!
//! C header: [`include/linux/dmi.h`](srctree/include/linux/dmi.h)

use core::ptr::NonNull;

use kernel::prelude::*;

use super::helpers;

/// Returns the machine's UUID as text (`DMI_PRODUCT_UUID`), if its firmware has one.
///
/// # Examples
///
/// ```ignore
/// if let Some(uuid) = uuid() {
///     pr_info!("machine {uuid}\n");
/// }
/// ```
pub(crate) fn uuid() -> Option<&'static CStr> {
    // SAFETY: The function has no requirements.
    let uuid = NonNull::new(unsafe { helpers::dmi_product_uuid() }.cast_mut())?;
    // SAFETY: The string is terminated. It is set while the kernel boots, before modules are loaded,
    // and neither changes nor is freed afterwards.
    Some(unsafe { CStr::from_char_ptr(uuid.as_ptr()) })
}
