// SPDX-License-Identifier: GPL-2.0

//! Notification of what happens to network devices.
//!
//! What is here could be removed with [`Notifier`], which says when.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::mem::ManuallyDrop;

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

use zerocopy::try_transmute;
use zerocopy_derive::TryFromBytes;

use super::device::{
    NetDevice,
    Rtnl, //
};
use crate::linux::{
    helpers,
    notifier::{
        Chain,
        ChangeChain,
        NotifierBlock, //
    },
};

/// What has happened to a device, or is about to (`enum netdev_cmd`).
///
/// [`Notifier`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(usize)]
#[expect(dead_code, reason = "made from their numbers")]
pub(crate) enum Event {
    // The numbers are checked in `helpers/net/notifier.c`.
    /// It is up (`NETDEV_UP`).
    Up = 1,
    /// It is down (`NETDEV_DOWN`).
    Down = 2,
    /// Its carrier or flags have changed (`NETDEV_CHANGE`).
    Change = 4,
    /// It was registered, or moved to its network namespace (`NETDEV_REGISTER`).
    Register = 5,
    /// It is being unregistered, or leaves its network namespace: references to it must be dropped
    /// (`NETDEV_UNREGISTER`).
    Unregister = 6,
    /// Its MTU has changed (`NETDEV_CHANGEMTU`).
    ChangeMtu = 7,
    /// Its hardware address has changed (`NETDEV_CHANGEADDR`).
    ChangeAddress = 8,
    /// Its name has changed (`NETDEV_CHANGENAME`).
    ChangeName = 11,
    /// Its features, such as scatter-gather, have changed (`NETDEV_FEAT_CHANGE`).
    ChangeFeatures = 12,
    /// Another device was stacked on it, or removed from it (`NETDEV_CHANGEUPPER`).
    ChangeUpper = 22,
}

/// A value that is notified of what happens to network devices.
///
/// [`Notifier`] has an example.
pub(crate) trait NotifierCallback: Send + Sync + 'static {
    /// Handles an event of `device`, which may be in any network namespace. Called in process context
    /// with the RTNL mutex held, one event at a time. May sleep.
    fn event(&self, event: Event, device: &NetDevice, rtnl: &Rtnl);
}

/// The chain of events of network devices.
pub(crate) enum DeviceChain {}

/// A block registered with the chain of network devices.
///
/// While it is being registered, it is notified of [`Event::Register`] of each device, and of
/// [`Event::Up`] of each that is up; while it is being dropped, of the opposite. Both take the RTNL mutex.
///
/// Could be removed in a release after 7.3, once the kernel crate has `register_netdevice_notifier`;
/// `kernel::net` has only PHYs and netlink.
///
/// # Examples
///
/// ```ignore
/// struct Watch;
///
/// impl NotifierCallback for Watch {
///     fn event(&self, event: Event, device: &NetDevice, rtnl: &Rtnl) {
///         if event == Event::Down {
///             pr_info!("{} is down\n", device.name(rtnl));
///         }
///     }
/// }
///
/// let notifier = KBox::pin_init(Notifier::new(Watch), GFP_KERNEL)?;
/// ```
pub(crate) type Notifier<C> = NotifierBlock<DeviceChain, C>;

// SAFETY:
// - The chain is called with the RTNL mutex held and with `struct netdev_notifier_info`.
// - The chain is changed with the RTNL mutex held, so no call is under way then.
unsafe impl<C: NotifierCallback> Chain<C> for DeviceChain {
    const REGISTER: ChangeChain = helpers::register_netdevice_notifier;
    const UNREGISTER: ChangeChain = helpers::unregister_netdevice_notifier;

    unsafe fn notify(target: &C, event: c_ulong, info: *mut c_void) {
        // Other events have no name here.
        let Ok(event) = try_transmute!(event) else {
            return;
        };
        // SAFETY: By the requirements of this function `info` is the chain's; it names a device that is
        // live during the call.
        let device = unsafe { NetDevice::from_raw(helpers::netdev_notifier_info_to_dev(info)) };
        // INVARIANT: The chain's caller holds the RTNL mutex during this call, in this task. It also
        // releases the mutex, so the guard is not dropped.
        let rtnl = ManuallyDrop::new(Rtnl(NotThreadSafe));
        target.event(event, device, &rtnl);
    }
}
