// SPDX-License-Identifier: GPL-2.0

//! Being told what happens to network devices.

use core::mem::ManuallyDrop;

use kernel::{
    bindings,
    prelude::*,
    types::NotThreadSafe, //
};

use super::device::{
    NetDevice,
    Rtnl, //
};
use crate::linux::{
    helpers,
    notifier::{
        Chain,
        NotifierBlock, //
    },
};

/// What has happened, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It has been brought up.
    Up,
    /// It has been brought down.
    Down,
    /// Its carrier or flags have changed.
    Change,
    /// It has come into being, or into this network namespace.
    Register,
    /// It is about to cease to be, or leaves this network namespace: drop what refers to it.
    Unregister,
    /// Its MTU has changed.
    ChangeMtu,
    /// Its hardware address has changed.
    ChangeAddress,
    /// It is about to be brought down.
    GoingDown,
    /// It has been renamed.
    ChangeName,
    /// What it can do by itself has changed, scatter-gather for one.
    ChangeFeatures,
    /// Another lies on it from now on, or no longer.
    ChangeUpper,
}

impl Event {
    /// `None` for what nobody here wants to know.
    fn from_raw(event: c_ulong) -> Option<Self> {
        Some(match event {
            1 => Self::Up,
            2 => Self::Down,
            4 => Self::Change,
            5 => Self::Register,
            6 => Self::Unregister,
            7 => Self::ChangeMtu,
            8 => Self::ChangeAddress,
            10 => Self::GoingDown,
            11 => Self::ChangeName,
            12 => Self::ChangeFeatures,
            22 => Self::ChangeUpper,
            _ => return None,
        })
    }
}

/// Who is told.
pub(crate) trait NotifierCallback: Send + Sync + 'static {
    /// Something has happened to `device`, in whatever network namespace it is. Called in process
    /// context with the RTNL lock held: may sleep, must not take that lock.
    fn event(&self, event: Event, device: &NetDevice, rtnl: &Rtnl);
}

/// What is told by the network devices' chain.
pub(crate) struct DeviceChain<C>(C);

/// A block that is registered with the network devices.
///
/// While it is being made, `callback` is told [`Event::Register`] of each device that there is,
/// and [`Event::Up`] of each that is up; while it is being dropped, the reverse. Neither may be
/// done with the RTNL lock held.
pub(crate) type Notifier<C> = NotifierBlock<DeviceChain<C>>;

impl<C: NotifierCallback> NotifierBlock<DeviceChain<C>> {
    /// Registers `callback`.
    pub(crate) fn new(callback: C) -> impl PinInit<Self, Error> {
        Self::registered(DeviceChain(callback))
    }
}

// SAFETY: The chain is called, and changed, with RTNL held.
unsafe impl<C: NotifierCallback> Chain for DeviceChain<C> {
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int {
        // SAFETY: The caller's obligation.
        unsafe { helpers::register_netdevice_notifier(block) }
    }

    unsafe fn unregister(block: *mut bindings::notifier_block) {
        // SAFETY: The caller's obligation.
        unsafe { helpers::unregister_netdevice_notifier(block) };
    }

    unsafe fn told(&self, event: c_ulong, info: *mut c_void) {
        if let Some(event) = Event::from_raw(event) {
            // SAFETY: By the caller's obligation this is the chain's: it passes a device that is live for
            // this call.
            let device = unsafe { NetDevice::from_raw(helpers::notifier_info_to_dev(info)) };
            // The chain is called with RTNL held, and gives it back itself.
            let rtnl = ManuallyDrop::new(Rtnl(NotThreadSafe));
            self.0.event(event, device, &rtnl);
        }
    }
}
