// SPDX-License-Identifier: GPL-2.0

//! The kernel's keyrings.
//!
//! What is here could be removed in a release after 7.3, once the kernel crate has `request_key`.
//!
//! C header: [`include/linux/key.h`](srctree/include/linux/key.h)

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::helpers;

/// Copies a secret of 32 bytes from a key of type `logon` into `secret`. User space can make such a key, but
/// not read it. Its description has a prefix that ends with a colon.
///
/// The key is looked for in the keyrings of the calling task (thread, process, session), which must be
/// allowed to search them and it. The program `request-key` is not asked for one. This function sleeps.
///
/// On failure `secret` stays as it is. The error is the kernel's:
///
/// - `ENOKEY` if there is none. One that has expired counts as none.
/// - `EKEYREVOKED` if it has been revoked; or `ENOKEY`, if there are several keyrings.
/// - `EKEYEXPIRED` if it expires just then.
/// - `EACCES` if the task may not search it.
/// - `EINVAL` if it is shorter or longer.
///
/// # Examples
///
/// ```ignore
/// let mut secret = [0; 32];
/// logon_key(c"example:secret", &mut secret)?;
/// let key = crate::linux::crypto::aead::Aead::new(&secret);
/// crate::linux::crypto::wipe(&mut secret);
/// ```
pub(crate) fn logon_key(description: &CStr, secret: &mut [u8; 32]) -> Result {
    // SAFETY: `description` ends with a NUL, and `secret` is valid for writes of its length. The function
    // sleeps, as this one says.
    to_result(unsafe {
        helpers::logon_key(description.as_char_ptr(), secret.as_mut_ptr(), secret.len())
    })
}
