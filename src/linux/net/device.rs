// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

mod stacking;

use core::ptr::{
    self,
    NonNull, //
};

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

use super::read_address;
use crate::linux::helpers;

pub(crate) use stacking::VlanTag;

/// Evidence that this task holds the RTNL mutex.
///
/// Meanwhile no device is registered, unregistered, renamed, stacked, or moved to another network
/// namespace, but by this task.
///
/// Could be removed in a release after 7.3, once the kernel crate has the RTNL mutex.
///
/// # Invariants
///
/// The task that owns this value holds the mutex, which is released when the value is dropped.
///
/// # Examples
///
/// ```ignore
/// let device = NetDevice::by_name(c"eth0").ok_or(ENODEV)?;
/// let rtnl = Rtnl::lock();
/// pr_info!("using {}\n", device.name(&rtnl));
/// ```
pub(crate) struct Rtnl(pub(super) NotThreadSafe);

impl Rtnl {
    /// Locks the mutex. This function sleeps. The task must not hold the mutex already, as it does in
    /// the callback of a [`Notifier`].
    ///
    /// [`Notifier`]: super::notifier::Notifier
    pub(crate) fn lock() -> Self {
        // SAFETY: The function sleeps, as this one says.
        unsafe { helpers::rtnl_lock() };
        // INVARIANT: Locked above; the type is not `Send`.
        Self(NotThreadSafe)
    }
}

impl Drop for Rtnl {
    /// Sleeps: the devices that were unregistered meanwhile end now.
    fn drop(&mut self) {
        // SAFETY: By the type invariant this task holds the mutex.
        unsafe { helpers::rtnl_unlock() };
    }
}

/// A `struct net_device`.
///
/// The device changes while it is used. Fields that change only with the RTNL mutex held, and do not fit
/// into a word, are read with an [`Rtnl`]; the others are read as the network stack reads them, by C
/// functions.
///
/// A reference delays the end of the device, and with it of the task that removes it, without a bound. Its
/// network namespace does not wait for that. So a reference must be dropped when a [`Notifier`] gets
/// [`Event::Unregister`], and a [`Hook`] before it, which needs the namespace. No type ensures this: the
/// owner of the hook also owns a notifier, and does it there. The safety comments take it as given.
///
/// Could be removed in a release after 7.3, once the kernel crate has network devices; `kernel::net` has
/// only PHYs and netlink.
///
/// # Invariants
///
/// - The device is live: it is initialised, and a reference to it is held.
/// - The operations of its driver exist as long as the device is live: the driver waits until it has no
///   reference any more. Its network namespace exists as long as it is registered.
///
/// # Examples
///
/// ```ignore
/// let device = NetDevice::by_name(c"eth0").ok_or(ENODEV)?;
/// if device.is_ethernet() {
///     pr_info!("{:x?}, MTU {}\n", device.address(), device.mtu());
/// }
/// ```
///
/// [`Notifier`]: super::notifier::Notifier
/// [`Event::Unregister`]: super::notifier::Event::Unregister
/// [`Hook`]: super::hook::Hook
#[repr(transparent)]
pub(crate) struct NetDevice(Opaque<bindings::net_device>);

// SAFETY: References to a device may be dropped by any thread.
unsafe impl Send for NetDevice {}
// SAFETY: `&NetDevice` allows only reads that any number of threads may do at a time.
unsafe impl Sync for NetDevice {}

impl NetDevice {
    /// Looks up a name in the network namespace of the calling process. Alternative names count. Process
    /// context.
    pub(crate) fn by_name(name: &CStr) -> Option<ARef<Self>> {
        // SAFETY: The name is terminated.
        let device = unsafe { helpers::current_dev_get_by_name(name.as_char_ptr()) };
        // SAFETY: The device is live, and the function has taken a reference.
        Some(unsafe { ARef::from_raw(NonNull::new(device)?.cast()) })
    }

    /// Looks up a name in the network namespace with this cookie ([`Self::namespace`]). Alternative names
    /// count. This function sleeps.
    pub(crate) fn by_name_in(namespace: u64, name: &CStr, _: &Rtnl) -> Option<ARef<Self>> {
        // SAFETY: The RTNL mutex is held, and the name is terminated.
        let device = unsafe { helpers::cookie_dev_get_by_name(namespace, name.as_char_ptr()) };
        // SAFETY: The device is live, and the function has taken a reference.
        Some(unsafe { ARef::from_raw(NonNull::new(device)?.cast()) })
    }

    /// Borrows a device.
    ///
    /// # Safety
    ///
    /// - The device must be live during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(device: *mut bindings::net_device) -> &'a Self {
        // INVARIANT: By the requirements of this function.
        // SAFETY: As above; `Self` is transparent over the device.
        unsafe { &*device.cast() }
    }

    /// Returns a pointer to the device.
    #[inline]
    pub(in crate::linux) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// Returns the name, which does not change while the RTNL mutex is held.
    pub(crate) fn name<'a>(&'a self, _: &'a Rtnl) -> &'a CStr {
        // SAFETY: By the type invariants the device is live. Its name is terminated, and during `'a` the
        // mutex is held.
        unsafe { CStr::from_char_ptr(helpers::dev_name(self.as_ptr())) }
    }

    /// Returns the hardware address, or the first six bytes of a longer one. If it changes meanwhile,
    /// the result may be a mixture.
    #[inline]
    pub(crate) fn address(&self) -> [u8; 6] {
        // SAFETY: By the type invariants the device is live. Each device's address has room for 32 bytes.
        unsafe { read_address(helpers::dev_addr(self.as_ptr())) }
    }

    /// Returns the hardware address that the device was made with, if it has one.
    pub(crate) fn perm_address(&self) -> Option<[u8; 6]> {
        let mut address = [0; 6];
        // SAFETY: By the type invariants the device is live. `address` is valid for writes of six bytes.
        unsafe { helpers::dev_perm_addr(self.as_ptr(), address.as_mut_ptr()) };
        (address != [0; 6]).then_some(address)
    }

    /// Returns whether the kernel has chosen the hardware address at random (`NET_ADDR_RANDOM`).
    pub(crate) fn has_random_address(&self) -> bool {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::dev_has_random_addr(self.as_ptr()) }
    }

    /// Returns the MTU: the most bytes that a frame may have behind the Ethernet header.
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::dev_mtu(self.as_ptr()) }
    }

    /// Returns whether the device sends Ethernet frames to others, which the loopback device does not.
    pub(crate) fn is_ethernet(&self) -> bool {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::dev_is_ethernet(self.as_ptr()) }
    }

    /// Returns whether the device sends a frame whose bytes lie in several places (`NETIF_F_SG`). For
    /// another device the kernel copies the frame.
    pub(crate) fn has_scatter_gather(&self) -> bool {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::dev_has_sg(self.as_ptr()) }
    }

    /// Returns the cookie of the device's network namespace (`SO_NETNS_COOKIE`), or 0 if the device is not
    /// registered. No other namespace has had it before.
    pub(crate) fn namespace(&self, _: &Rtnl) -> u64 {
        // SAFETY: By the type invariants the device is live, and its namespace if it is registered. With
        // the RTNL mutex held it stays so.
        unsafe { helpers::dev_net_cookie(self.as_ptr()) }
    }

    /// Returns whether the device is registered; not while it is being unregistered.
    pub(crate) fn is_registered(&self, _: &Rtnl) -> bool {
        // SAFETY: By the type invariants the device is live. The RTNL mutex is held.
        unsafe { helpers::dev_is_registered(self.as_ptr()) }
    }
}

impl PartialEq for NetDevice {
    /// Returns whether both are the same device.
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

// SAFETY: `dev_hold` and `dev_put` count references, and a device is live until the last one is dropped.
unsafe impl AlwaysRefCounted for NetDevice {
    fn inc_ref(&self) {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::dev_hold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the requirements of this function a reference belongs to the caller.
        unsafe { helpers::dev_put(obj.cast().as_ptr()) };
    }
}
