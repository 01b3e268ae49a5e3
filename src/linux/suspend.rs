// SPDX-License-Identifier: GPL-2.0

//! Being told when the machine hibernates.
//!
//! C header: [`include/linux/suspend.h`](srctree/include/linux/suspend.h)

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    helpers,
    notifier::{
        Chain,
        NotifierBlock, //
    },
};

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

/// What is told by the power management's chain.
pub(crate) struct PmChain<C>(C);

/// A block that is registered with the power management. On a kernel without sleep states it is never told
/// anything.
pub(crate) type PmNotifier<C> = NotifierBlock<PmChain<C>>;

impl<C: PmCallback> NotifierBlock<PmChain<C>> {
    /// Registers `callback`.
    pub(crate) fn new(callback: C) -> impl PinInit<Self, Error> {
        Self::registered(PmChain(callback))
    }
}

// SAFETY: The chain takes its lock for reading while it calls, and for writing to unregister.
unsafe impl<C: PmCallback> Chain for PmChain<C> {
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int {
        // SAFETY: The caller's obligation.
        unsafe { helpers::register_pm_notifier(block) }
    }

    unsafe fn unregister(block: *mut bindings::notifier_block) {
        // SAFETY: The caller's obligation.
        unsafe { helpers::unregister_pm_notifier(block) }
    }

    unsafe fn told(&self, event: c_ulong, _data: *mut c_void) {
        if let Some(event) = PmEvent::from_raw(event) {
            self.0.event(event);
        }
    }
}
