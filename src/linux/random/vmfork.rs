// SPDX-License-Identifier: GPL-2.0

//! Being told that this virtual machine was put back to a snapshot, or copied.
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

/// Who is told.
pub(crate) trait VmforkCallback: Send + Sync + 'static {
    /// The machine's generation number is another than before. The kernel's random generator has been
    /// seeded with it already. Called in process context, or, where a device tree describes the machine,
    /// in a hard interrupt: must not sleep.
    fn forked(&self);
}

/// What is told by the random generator's chain.
pub(crate) struct VmforkChain<C>(C);

/// A block that is registered with the random generator. On a kernel without `CONFIG_VMGENID`, and on a
/// host that gives the machine no generation number, it is never told.
pub(crate) type VmforkNotifier<C> = NotifierBlock<VmforkChain<C>>;

impl<C: VmforkCallback> NotifierBlock<VmforkChain<C>> {
    /// Registers `callback`.
    pub(crate) fn new(callback: C) -> impl PinInit<Self, Error> {
        Self::registered(VmforkChain(callback))
    }
}

// SAFETY: The chain takes its lock for reading while it calls, and for writing to unregister.
unsafe impl<C: VmforkCallback> Chain for VmforkChain<C> {
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int {
        // SAFETY: The caller's obligation.
        unsafe { helpers::register_vmfork_notifier(block) }
    }

    unsafe fn unregister(block: *mut bindings::notifier_block) {
        // SAFETY: The caller's obligation.
        unsafe { helpers::unregister_vmfork_notifier(block) }
    }

    unsafe fn told(&self, _event: c_ulong, _data: *mut c_void) {
        self.0.forked();
    }
}
