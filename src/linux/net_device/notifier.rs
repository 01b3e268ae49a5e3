// SPDX-License-Identifier: GPL-2.0

//! Being told what happens to network devices.

use core::mem::ManuallyDrop;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

use super::{
    NetDevice,
    Rtnl, //
};
use crate::linux::shim;

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

/// A registered `struct notifier_block`.
///
/// While it is being made, `callback` is told [`Event::Register`] of each device that there is,
/// and [`Event::Up`] of each that is up; while it is being dropped, the reverse. Neither may be
/// done with the RTNL lock held.
///
/// # Invariants
///
/// `block` is registered, and is a field of this `Notifier`.
#[pin_data(PinnedDrop)]
pub(crate) struct Notifier<C: NotifierCallback> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    callback: C,
}

// SAFETY: It may be unregistered by any thread, and the callback is `Send`.
unsafe impl<C: NotifierCallback> Send for Notifier<C> {}
// SAFETY: `&Notifier` gives access to the callback only, which is `Sync`.
unsafe impl<C: NotifierCallback> Sync for Notifier<C> {}

impl<C: NotifierCallback> Notifier<C> {
    /// Registers `callback`.
    pub(crate) fn new(callback: C) -> impl PinInit<Self, Error> {
        let filled = bindings::notifier_block {
            notifier_call: Some(Self::callback),
            ..pin_init::zeroed()
        };
        // INVARIANT: Registered below, last, when the callback can be called.
        try_pin_init!(Self {
            callback,
            block <- Opaque::try_ffi_init(move |slot: *mut bindings::notifier_block| {
                // SAFETY: `slot` is where the block stays, and it is filled in before use.
                to_result(unsafe {
                    slot.write(filled);
                    shim::register_netdevice_notifier(slot)
                })
            }),
        })
    }

    /// # Safety
    ///
    /// Only the notifier chain may call this.
    unsafe extern "C" fn callback(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        info: *mut c_void,
    ) -> c_int {
        if let Some(event) = Event::from_raw(event) {
            // SAFETY: By the type invariant `block` is that of a live `Notifier<C>`, and the
            // chain passes a device that is live for this call.
            unsafe {
                let this = kernel::container_of!(Opaque::cast_from(block), Self, block);
                let device = NetDevice::from_raw(shim::anemone_notifier_info_to_dev(info));
                // The chain is called with RTNL held, and gives it back itself.
                let rtnl = ManuallyDrop::new(Rtnl(NotThreadSafe));
                (*this).callback.event(event, device, &rtnl);
            }
        }
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<C: NotifierCallback> PinnedDrop for Notifier<C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered. No call is under way afterwards.
        unsafe { shim::unregister_netdevice_notifier(self.block.get()) };
    }
}
