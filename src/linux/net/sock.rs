// SPDX-License-Identifier: GPL-2.0

//! A socket whose presence lets network drivers receive into the emergency reserve.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h), `sk_set_memalloc`

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use crate::linux::helpers;

/// As long as it lives, received frames may lie in the emergency reserve. Nothing is ever sent or
/// received on the socket itself.
pub(crate) struct MemallocSocket(NonNull<c_void>);

// SAFETY: A socket may be released by any thread.
unsafe impl Send for MemallocSocket {}
// SAFETY: `&MemallocSocket` gives no access.
unsafe impl Sync for MemallocSocket {}

impl MemallocSocket {
    /// Makes and marks one.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements but process context, which any caller that may sleep is in.
        let socket = from_err_ptr(unsafe { helpers::memalloc_socket() })?;
        // SAFETY: It is neither an error nor null.
        Ok(Self(unsafe { NonNull::new_unchecked(socket) }))
    }
}

impl Drop for MemallocSocket {
    fn drop(&mut self) {
        // SAFETY: Made in `new`, and released here only.
        unsafe { helpers::memalloc_socket_release(self.0.as_ptr()) };
    }
}
