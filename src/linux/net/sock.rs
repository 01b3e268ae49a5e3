// SPDX-License-Identifier: GPL-2.0

//! Sockets that may use the emergency reserve of memory.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use crate::linux::helpers;

/// A socket that is marked with `sk_set_memalloc`.
///
/// While one exists, network drivers may receive frames into the emergency reserve. Nothing is sent or
/// received on the socket itself. Dropping it sleeps.
///
/// Could be removed in a release after 7.3, once the kernel crate has kernel sockets (`sock_create_kern`)
/// and `sk_set_memalloc`. The helper calls both because the kernel's bindings have no `struct socket`.
///
/// # Invariants
///
/// The pointer refers to a live socket, which belongs to this value.
///
/// # Examples
///
/// ```ignore
/// // From here on frames are received although there is no other memory.
/// let socket = MemallocSocket::new()?;
/// ```
pub(crate) struct MemallocSocket(NonNull<helpers::socket>);

// SAFETY: A socket may be released by any thread.
unsafe impl Send for MemallocSocket {}
// SAFETY: `&MemallocSocket` gives access to nothing.
unsafe impl Sync for MemallocSocket {}

impl MemallocSocket {
    /// Makes a socket and marks it. This function sleeps.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The function has no requirements.
        let socket = from_err_ptr(unsafe { helpers::memalloc_socket() })?;
        // INVARIANT: The socket is new.
        NonNull::new(socket).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for MemallocSocket {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the socket is live and belongs to this value.
        unsafe { helpers::memalloc_socket_release(self.0.as_ptr()) };
    }
}
