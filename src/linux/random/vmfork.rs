// SPDX-License-Identifier: GPL-2.0

//! Notification that this virtual machine was restored from a snapshot, or copied.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use kernel::{
    bindings,
    prelude::*, //
};

use crate::linux::{
    helpers,
    notifier::{
        Chain,
        NotifierBlock, //
    },
};

/// A value that is notified when the virtual machine was restored or copied.
pub(crate) trait VmforkCallback: Send + Sync + 'static {
    /// Called when the machine's generation number has changed. The kernel's random number generator
    /// has been reseeded before.
    ///
    /// Must not sleep: called in process context if ACPI describes the machine, and in hard interrupt
    /// context if a device tree does.
    fn forked(&self);
}

/// The random number generator's chain.
pub(crate) struct VmforkChain<C>(C);

/// A block registered with the random number generator's chain.
///
/// It is never notified on a kernel without `CONFIG_VMGENID`, and if the host gives the machine no
/// generation number.
///
/// Could be dropped once the kernel crate has `register_random_vmfork_notifier`.
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
pub(crate) type VmforkNotifier<C> = NotifierBlock<VmforkChain<C>>;

impl<C: VmforkCallback> NotifierBlock<VmforkChain<C>> {
    /// Registers `callback`. Neither this nor dropping the block may be done by the callback: both
    /// take the chain's lock.
    pub(crate) fn new(callback: C) -> impl PinInit<Self, Error> {
        Self::register(VmforkChain(callback))
    }
}

// SAFETY:
// - `notify` has no requirements but that the chain calls it.
// - The chain holds its lock during a call, and `unregister` takes it for writing.
unsafe impl<C: VmforkCallback> Chain for VmforkChain<C> {
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int {
        // SAFETY: By the requirements of this function.
        unsafe { helpers::register_vmfork_notifier(block) }
    }

    unsafe fn unregister(block: *mut bindings::notifier_block) {
        // SAFETY: By the requirements of this function.
        unsafe { helpers::unregister_vmfork_notifier(block) }
    }

    unsafe fn notify(&self, _event: c_ulong, _data: *mut c_void) {
        self.0.forked();
    }
}
