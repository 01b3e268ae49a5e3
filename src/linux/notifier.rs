// SPDX-License-Identifier: GPL-2.0

//! Being told by one of the kernel's notifier chains.
//!
//! C header: [`include/linux/notifier.h`](srctree/include/linux/notifier.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A chain of the kernel's, together with what is told by it.
///
/// # Safety
///
/// When `unregister` returns, no call for the block is under way, and none comes.
pub(crate) unsafe trait Chain: Send + Sync + 'static {
    /// Registers the block with the chain. Sleeps.
    ///
    /// # Safety
    ///
    /// The block is filled in, and stays where it is until it is unregistered.
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int;

    /// Unregisters the block. Sleeps.
    ///
    /// # Safety
    ///
    /// The block is registered.
    unsafe fn unregister(block: *mut bindings::notifier_block);

    /// Something has happened. In the context in which the chain calls.
    ///
    /// # Safety
    ///
    /// Only for the chain's own calls, with what it passes.
    unsafe fn told(&self, event: c_ulong, data: *mut c_void);
}

/// A registered `struct notifier_block`.
///
/// # Invariants
///
/// `block` is registered with `C`'s chain, and is a field of this `NotifierBlock`.
#[pin_data(PinnedDrop)]
pub(crate) struct NotifierBlock<C: Chain> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    chain: C,
}

// SAFETY: It may be unregistered by any thread, and the chain is `Send`.
unsafe impl<C: Chain> Send for NotifierBlock<C> {}
// SAFETY: `&NotifierBlock` gives access to the chain only, which is `Sync`.
unsafe impl<C: Chain> Sync for NotifierBlock<C> {}

impl<C: Chain> NotifierBlock<C> {
    /// Registers a block for `chain`.
    pub(in crate::linux) fn registered(chain: C) -> impl PinInit<Self, Error> {
        let filled = bindings::notifier_block {
            notifier_call: Some(Self::callback),
            ..pin_init::zeroed()
        };
        // INVARIANT: Registered below, last, when `chain` can be told.
        try_pin_init!(Self {
            chain,
            block <- Opaque::try_ffi_init(move |slot: *mut bindings::notifier_block| {
                // SAFETY: `slot` is where the block stays, and it is filled in before use.
                to_result(unsafe {
                    slot.write(filled);
                    C::register(slot)
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
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: By the type invariant `block` is that of a live `NotifierBlock<C>`, and the chain calls.
        unsafe {
            let this = kernel::container_of!(Opaque::cast_from(block), Self, block);
            (*this).chain.told(event, data);
        }
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<C: Chain> PinnedDrop for NotifierBlock<C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered. No call is under way afterwards, which
        // `Chain` promises.
        unsafe { C::unregister(self.block.get()) };
    }
}
