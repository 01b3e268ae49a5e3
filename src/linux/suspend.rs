// SPDX-License-Identifier: GPL-2.0

//! Notification of hibernation.
//!
//! What is here could be removed with [`PmNotifier`], which says when.
//!
//! C header: [`include/linux/suspend.h`](srctree/include/linux/suspend.h)

use kernel::prelude::*;

use zerocopy::try_transmute;
use zerocopy_derive::TryFromBytes;

use super::{
    helpers,
    notifier::{
        Chain,
        ChangeChain,
        NotifierBlock, //
    },
};

/// What the machine is about to do, or has done.
///
/// [`PmNotifier`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(usize)]
#[expect(dead_code, reason = "made from their numbers")]
pub(crate) enum PmEvent {
    // The numbers are checked in `helpers/suspend.c`.
    /// The machine is going to hibernate (`PM_HIBERNATION_PREPARE`). Tasks are still running.
    HibernationPrepare = 1,
    /// The machine has come back with its memory as it was when the image was made, or the
    /// hibernation failed (`PM_POST_HIBERNATION`). Tasks are running again.
    PostHibernation = 2,
}

/// A value that is notified of hibernation.
///
/// [`PmNotifier`] has an example.
pub(crate) trait PmCallback: Send + Sync + 'static {
    /// Handles an event. Called in process context, by the task that hibernates the machine, one event
    /// at a time. May sleep.
    fn event(&self, event: PmEvent);
}

/// The chain of power management events.
pub(crate) enum PmChain {}

/// A block registered with the power management's chain.
///
/// A kernel without sleep states (`CONFIG_PM_SLEEP`) never notifies it.
///
/// Could be removed in a release after 7.3, once the kernel crate has `register_pm_notifier`.
///
/// # Examples
///
/// ```ignore
/// struct Images(Atomic<u64>);
///
/// impl PmCallback for Images {
///     fn event(&self, event: PmEvent) {
///         if event == PmEvent::HibernationPrepare {
///             self.0.fetch_add(1, Relaxed);
///         }
///     }
/// }
///
/// let images = Images(Atomic::new(0));
/// let notifier = KBox::pin_init(PmNotifier::new(images), GFP_KERNEL)?;
/// ```
pub(crate) type PmNotifier<C> = NotifierBlock<PmChain, C>;

// SAFETY:
// - `notify` has no requirements but that the chain calls it.
// - The chain holds its lock during a call, and `UNREGISTER` takes it for writing.
unsafe impl<C: PmCallback> Chain<C> for PmChain {
    const REGISTER: ChangeChain = helpers::register_pm_notifier;
    const UNREGISTER: ChangeChain = helpers::unregister_pm_notifier;

    unsafe fn notify(target: &C, event: c_ulong, _data: *mut c_void) {
        // The other events of the chain are those of suspending to memory.
        if let Ok(event) = try_transmute!(event) {
            target.event(event);
        }
    }
}
