// SPDX-License-Identifier: GPL-2.0

//! Being told when the machine hibernates.
//!
//! C header: [`include/linux/suspend.h`](srctree/include/linux/suspend.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::shim;

/// What the machine is about to do, or has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PmEvent {
    /// It is going to hibernate: tasks are still running.
    HibernationPrepare,
    /// It has come back with its memory as it was when the image was made; or the hibernation
    /// failed. Tasks are running again.
    PostHibernation,
}

impl PmEvent {
    /// `None` for what nobody here wants to know.
    fn from_raw(event: c_ulong) -> Option<Self> {
        Some(match event {
            1 => Self::HibernationPrepare,
            2 => Self::PostHibernation,
            _ => return None,
        })
    }
}

/// Who is told.
pub(crate) trait PmCallback: Send + Sync + 'static {
    /// Called in process context, by whoever has the machine hibernate: may sleep.
    fn event(&self, event: PmEvent);
}

/// A `struct notifier_block` that is registered with the power management's chain. On a kernel without
/// sleep states it is never told anything.
///
/// # Invariants
///
/// `block` is registered, and is a field of this `PmNotifier`.
#[pin_data(PinnedDrop)]
pub(crate) struct PmNotifier<C: PmCallback> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    callback: C,
}

// SAFETY: It may be unregistered by any thread, and the callback is `Send`.
unsafe impl<C: PmCallback> Send for PmNotifier<C> {}
// SAFETY: `&PmNotifier` gives no access but to the callback, which is `Sync`.
unsafe impl<C: PmCallback> Sync for PmNotifier<C> {}

impl<C: PmCallback> PmNotifier<C> {
    /// Registers `callback`.
    pub(crate) fn new(callback: C) -> impl PinInit<Self, Error> {
        let filled = bindings::notifier_block {
            notifier_call: Some(Self::pm_callback),
            ..pin_init::zeroed()
        };
        // INVARIANT: Registered below, last, when the callback can be called.
        try_pin_init!(Self {
            callback,
            block <- Opaque::try_ffi_init(move |slot: *mut bindings::notifier_block| {
                // SAFETY: `slot` is where the block stays, and it is filled in before use.
                to_result(unsafe {
                    slot.write(filled);
                    shim::anemone_register_pm_notifier(slot)
                })
            }),
        })
    }

    /// # Safety
    ///
    /// Only the notifier chain may call this.
    unsafe extern "C" fn pm_callback(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        _data: *mut c_void,
    ) -> c_int {
        if let Some(event) = PmEvent::from_raw(event) {
            // SAFETY: By the type invariant `block` is that of a live `PmNotifier<C>`.
            unsafe {
                let this = kernel::container_of!(Opaque::cast_from(block), Self, block);
                (*this).callback.event(event);
            }
        }
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<C: PmCallback> PinnedDrop for PmNotifier<C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered. No call is under way afterwards: the chain
        // takes its lock for reading while it calls, and here for writing.
        unsafe { shim::anemone_unregister_pm_notifier(self.block.get()) };
    }
}
