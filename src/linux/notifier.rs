// SPDX-License-Identifier: GPL-2.0

//! Notifier chains.
//!
//! C header: [`include/linux/notifier.h`](srctree/include/linux/notifier.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A notifier chain of the kernel, together with the value that it notifies.
///
/// # Safety
///
/// - `register` must add the block to a chain whose calls fulfil the requirements of `notify`.
/// - When `unregister` returns, no call for the block may be under way, and none may follow.
pub(crate) unsafe trait Chain: Send + Sync + 'static {
    /// Adds a block to the chain. This function may sleep.
    ///
    /// # Safety
    ///
    /// - `block` must be initialised.
    /// - If this returns 0, `block` must stay valid and must not move until it is unregistered.
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int;

    /// Removes a block from the chain. This function may sleep.
    ///
    /// # Safety
    ///
    /// - `block` must be registered with the chain.
    unsafe fn unregister(block: *mut bindings::notifier_block);

    /// Handles an event, in the context in which the chain calls its blocks.
    ///
    /// # Safety
    ///
    /// - The chain must have been called with `event` and `data`, and the call must be under way.
    unsafe fn notify(&self, event: c_ulong, data: *mut c_void);
}

/// A registered `struct notifier_block`. It is made and dropped in process context, and both sleep.
///
/// Each chain has a constructor of its own, such as that of [`net::notifier::Notifier`].
///
/// Could be dropped once the kernel crate has notifier chains; it has none.
///
/// # Invariants
///
/// - `block` is registered with `C`'s chain.
/// - `block` is a field of a pinned `NotifierBlock<C>` whose `chain` is initialised.
///
/// [`net::notifier::Notifier`]: crate::linux::net::notifier::Notifier
#[pin_data(PinnedDrop)]
pub(crate) struct NotifierBlock<C: Chain> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    chain: C,
}

// SAFETY: A block may be unregistered by any thread, and `C` is `Send`.
unsafe impl<C: Chain> Send for NotifierBlock<C> {}
// SAFETY: `&NotifierBlock` gives access to nothing; the callback uses `&C`, and `C` is `Sync`.
unsafe impl<C: Chain> Sync for NotifierBlock<C> {}

impl<C: Chain> NotifierBlock<C> {
    /// Registers a block for `chain`.
    pub(in crate::linux) fn register(chain: C) -> impl PinInit<Self, Error> {
        let block = bindings::notifier_block {
            notifier_call: Some(Self::callback),
            ..pin_init::zeroed()
        };
        // INVARIANT: `block` is registered last, when `chain` is initialised.
        try_pin_init!(Self {
            chain,
            block <- Opaque::try_ffi_init(move |slot: *mut bindings::notifier_block| {
                // SAFETY: `slot` is valid for writes. It is pinned, and `drop` unregisters it.
                to_result(unsafe {
                    slot.write(block);
                    C::register(slot)
                })
            }),
        })
    }

    /// # Safety
    ///
    /// - Only the chain with which `block` is registered may call this function.
    unsafe extern "C" fn callback(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: By the type invariants `block` is a field of a `NotifierBlock<C>`, which lives at
        // least until `unregister` has returned, and so until this call has.
        let this = unsafe { kernel::container_of!(Opaque::cast_from(block), Self, block) };
        // SAFETY: As above; the chain calls with these arguments.
        unsafe { (*this).chain.notify(event, data) };
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<C: Chain> PinnedDrop for NotifierBlock<C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the block is registered.
        unsafe { C::unregister(self.block.get()) };
    }
}
