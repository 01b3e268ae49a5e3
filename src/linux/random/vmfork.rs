// SPDX-License-Identifier: GPL-2.0

//! Notification that this virtual machine was restored from a snapshot, or copied.
//!
//! What is here could be removed with [`VmforkNotifier`], which says when.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use kernel::prelude::*;

use crate::linux::{
    helpers,
    notifier::{
        Chain,
        ChangeChain,
        NotifierBlock, //
    },
};

/// A value that is notified when the virtual machine was restored or copied.
///
/// [`VmforkNotifier`] has an example.
pub(crate) trait VmforkCallback: Send + Sync + 'static {
    /// Called when the machine's generation number has changed. The kernel's random number generator
    /// has been reseeded before.
    ///
    /// Must not sleep: called in process context if ACPI describes the machine, and in hard interrupt
    /// context if a device tree does.
    fn forked(&self);
}

/// The random number generator's chain.
pub(crate) enum VmforkChain {}

/// A block registered with the random number generator's chain.
///
/// It is never notified on a kernel without `CONFIG_VMGENID`, and if the host gives the machine no
/// generation number.
///
/// Could be removed in a release after 7.3, once the kernel crate has `register_random_vmfork_notifier`.
///
/// # Examples
///
/// ```ignore
/// struct Copies(Atomic<u64>);
///
/// impl VmforkCallback for Copies {
///     fn forked(&self) {
///         self.0.fetch_add(1, Relaxed);
///     }
/// }
///
/// let copies = Copies(Atomic::new(0));
/// let notifier = KBox::pin_init(VmforkNotifier::new(copies), GFP_KERNEL)?;
/// ```
pub(crate) type VmforkNotifier<C> = NotifierBlock<VmforkChain, C>;

// SAFETY:
// - `notify` has no requirements but that the chain calls it.
// - The chain holds its lock during a call, and `UNREGISTER` takes it for writing.
unsafe impl<C: VmforkCallback> Chain<C> for VmforkChain {
    const REGISTER: ChangeChain = helpers::register_vmfork_notifier;
    const UNREGISTER: ChangeChain = helpers::unregister_vmfork_notifier;

    unsafe fn notify(target: &C, _event: c_ulong, _data: *mut c_void) {
        target.forked();
    }
}
