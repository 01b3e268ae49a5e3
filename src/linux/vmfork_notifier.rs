// SPDX-License-Identifier: GPL-2.0

//! Being told that this virtual machine was put back to a snapshot, or copied.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::shim;

/// Who is told.
pub(crate) trait VmforkCallback: Send + Sync + 'static {
    /// The machine's generation number is another than before. The kernel's random generator has been
    /// seeded with it already. Called in process context: may sleep.
    fn forked(&self);
}

/// A `struct notifier_block` that is registered with the random generator's chain. On a kernel without
/// `CONFIG_VMGENID`, and on a host that gives the machine no generation number, it is never told.
///
/// # Invariants
///
/// `block` is registered, and is a field of this `VmforkNotifier`.
#[pin_data(PinnedDrop)]
pub(crate) struct VmforkNotifier<C: VmforkCallback> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    callback: C,
}

// SAFETY: It may be unregistered by any thread, and the callback is `Send`.
unsafe impl<C: VmforkCallback> Send for VmforkNotifier<C> {}
// SAFETY: `&VmforkNotifier` gives no access but to the callback, which is `Sync`.
unsafe impl<C: VmforkCallback> Sync for VmforkNotifier<C> {}

impl<C: VmforkCallback> VmforkNotifier<C> {
    /// Registers `callback`.
    pub(crate) fn new(callback: C) -> impl PinInit<Self, Error> {
        let filled = bindings::notifier_block {
            notifier_call: Some(Self::vmfork_callback),
            ..pin_init::zeroed()
        };
        // INVARIANT: Registered below, last, when the callback can be called.
        try_pin_init!(Self {
            callback,
            block <- Opaque::try_ffi_init(move |slot: *mut bindings::notifier_block| {
                // SAFETY: `slot` is where the block stays, and it is filled in before use.
                to_result(unsafe {
                    slot.write(filled);
                    shim::anemone_register_vmfork_notifier(slot)
                })
            }),
        })
    }

    /// # Safety
    ///
    /// Only the notifier chain may call this.
    unsafe extern "C" fn vmfork_callback(
        block: *mut bindings::notifier_block,
        _event: c_ulong,
        _data: *mut c_void,
    ) -> c_int {
        // SAFETY: By the type invariant `block` is that of a live `VmforkNotifier<C>`.
        unsafe {
            let this = kernel::container_of!(Opaque::cast_from(block), Self, block);
            (*this).callback.forked();
        }
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<C: VmforkCallback> PinnedDrop for VmforkNotifier<C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered. No call is under way afterwards: the chain
        // takes its lock for reading while it calls, and here for writing.
        unsafe { shim::anemone_unregister_vmfork_notifier(self.block.get()) };
    }
}
