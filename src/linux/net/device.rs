// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

mod lower;

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

use crate::linux::helpers;

pub(crate) use lower::{
    Lower,
    VlanTag, //
};

/// The RTNL mutex, held: no device is registered, moved, stacked or unregistered by another.
pub(crate) struct Rtnl(pub(super) NotThreadSafe);

impl Rtnl {
    /// Takes it. Sleeps; not to be called by whoever holds it, the notifier's callback among them.
    pub(crate) fn lock() -> Self {
        // SAFETY: No requirements but process context.
        unsafe { helpers::rtnl_lock() };
        Self(NotThreadSafe)
    }
}

impl Drop for Rtnl {
    fn drop(&mut self) {
        // SAFETY: Taken in `lock`, by this thread.
        unsafe { helpers::rtnl_unlock() };
    }
}

/// A wrapper for `struct net_device`.
///
/// # Invariants
///
/// The device is live: it has been allocated and somebody holds a reference to it.
#[repr(transparent)]
pub(crate) struct NetDevice(Opaque<bindings::net_device>);

// SAFETY: References may be dropped by any thread.
unsafe impl Send for NetDevice {}
// SAFETY: What `&NetDevice` allows is reading fields that the network stack itself reads without
// a lock.
unsafe impl Sync for NetDevice {}

impl NetDevice {
    /// The device of that name in the network namespace of the calling process.
    pub(crate) fn by_name(name: &CStr) -> Option<ARef<Self>> {
        // SAFETY: The name is terminated; a process that runs has a network namespace.
        let device = unsafe { helpers::dev_get_by_name(name.as_char_ptr()) };
        // SAFETY: It is live, and its reference is ours.
        Some(unsafe { ARef::from_raw(NonNull::new(device)?.cast()) })
    }

    /// The device of that name in the network namespace of this one, which may be going away.
    /// Another name that a device has beside its own does not count.
    pub(crate) fn sibling(&self, name: &CStr, _: &Rtnl) -> Option<ARef<Self>> {
        // SAFETY: The device is live and, under RTNL, does not move, so its namespace is live; the
        // name is terminated.
        let device = unsafe { helpers::dev_sibling(self.as_ptr(), name.as_char_ptr()) };
        // SAFETY: It is live, and its reference is ours.
        let device: ARef<Self> = unsafe { ARef::from_raw(NonNull::new(device)?.cast()) };
        (device.name().to_bytes() == name.to_bytes()).then_some(device)
    }

    /// Borrows a device.
    ///
    /// # Safety
    ///
    /// `device` must be live for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(device: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the requirements of this function; `Self` is transparent.
        unsafe { &*device.cast() }
    }

    /// The device's address, for kernel functions.
    #[inline]
    pub(in crate::linux) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// Its name now.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: The device is live. Its name always ends in a zero byte, though it may change
        // while it is read.
        unsafe { CStr::from_char_ptr(helpers::net_device_name(self.as_ptr())) }
    }

    /// Its hardware address now.
    #[inline]
    pub(crate) fn address(&self) -> [u8; 6] {
        // SAFETY: The device is live, and any device's address has room for 32 bytes.
        unsafe { *helpers::dev_addr(self.as_ptr()).cast() }
    }

    /// A hardware address that is the same after a restart, if it has one: what it was made with, or
    /// else what somebody has chosen for it.
    pub(crate) fn lasting_address(&self) -> Option<[u8; 6]> {
        let mut address = [0; 6];
        // SAFETY: The device is live, and `address` is valid for writes of six bytes.
        let is_lasting = unsafe { helpers::dev_lasting_addr(self.as_ptr(), address.as_mut_ptr()) };
        is_lasting.then_some(address)
    }

    /// The most bytes behind the Ethernet header that it sends, now.
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: The device is live.
        unsafe { helpers::dev_mtu(self.as_ptr()) }
    }

    /// Whether it speaks Ethernet to others: the loopback device does not.
    pub(crate) fn is_ethernet(&self) -> bool {
        // SAFETY: The device is live.
        unsafe { helpers::dev_is_ethernet(self.as_ptr()) }
    }

    /// The number of the network namespace that it is in now; no other has or had it
    /// (`SO_NETNS_COOKIE`).
    pub(crate) fn namespace(&self, _: &Rtnl) -> u64 {
        // SAFETY: The device is live and, under RTNL, does not move.
        unsafe { helpers::dev_net_cookie(self.as_ptr()) }
    }
}

impl NetDevice {
    /// Whether it is there for others: not when it is being unregistered.
    pub(crate) fn is_registered(&self, _: &Rtnl) -> bool {
        // SAFETY: The device is live; RTNL is held.
        unsafe { helpers::dev_is_registered(self.as_ptr()) }
    }
}

impl PartialEq for NetDevice {
    /// Whether they are the same device.
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

// SAFETY: `dev_hold` and `dev_put` count references, and a device lives until all are dropped.
unsafe impl AlwaysRefCounted for NetDevice {
    fn inc_ref(&self) {
        // SAFETY: The device is live.
        unsafe { helpers::dev_hold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference that it owns.
        unsafe { helpers::dev_put(obj.cast().as_ptr()) };
    }
}
