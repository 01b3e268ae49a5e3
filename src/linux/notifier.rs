// SPDX-License-Identifier: GPL-2.0

//! Notifier chains.
//!
//! What is here could be removed with [`NotifierBlock`], which says when.
//!
//! C header: [`include/linux/notifier.h`](srctree/include/linux/notifier.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A kernel function that adds a block to its chain, or removes one.
pub(crate) type ChangeChain = unsafe extern "C" fn(*mut bindings::notifier_block) -> c_int;

/// A notifier chain of the kernel that notifies values of type `T`.
///
/// # Safety
///
/// - `REGISTER` must add a block to a chain whose calls fulfil the requirements of `notify`. It may require
///   that the block is initialised, and, if it returns 0, that the block stays valid and does not move until
///   it is unregistered.
/// - `UNREGISTER` must remove a block that is registered with the chain; it must not fail. When it returns,
///   no call for the block may be under way, and none may follow.
pub(crate) unsafe trait Chain<T>: 'static {
    /// Adds a block to the chain. The function may sleep.
    const REGISTER: ChangeChain;

    /// Removes a block from the chain. The function may sleep.
    const UNREGISTER: ChangeChain;

    /// Handles an event, in the context in which the chain calls its blocks.
    ///
    /// # Safety
    ///
    /// - The chain must have been called with `event` and `data`, and the call must be under way.
    unsafe fn notify(target: &T, event: c_ulong, data: *mut c_void);
}

/// A `struct notifier_block` that is registered with chain `C`, which notifies a `T`. It is made and dropped
/// in process context, and both sleep.
///
/// Could be removed in a release after 7.3, once the kernel crate has notifier chains; it has none.
///
/// # Invariants
///
/// - `block` is registered with `C`'s chain.
/// - `block` is a field of a pinned `NotifierBlock<C, T>` whose `target` is initialised.
#[pin_data(PinnedDrop)]
pub(crate) struct NotifierBlock<C: Chain<T>, T> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    target: T,
    _p: PhantomData<C>,
}

// SAFETY: A block may be unregistered by any thread, and `T` is `Send`.
unsafe impl<C: Chain<T>, T: Send> Send for NotifierBlock<C, T> {}
// SAFETY: `&NotifierBlock` gives access to nothing; the callback uses `&T`, and `T` is `Sync`.
unsafe impl<C: Chain<T>, T: Sync> Sync for NotifierBlock<C, T> {}

impl<C: Chain<T>, T: Send + Sync + 'static> NotifierBlock<C, T> {
    /// Registers a block for `target`. Neither this nor dropping the block may be done by a callback of the
    /// chain: both take the chain's lock.
    pub(crate) fn new(target: T) -> impl PinInit<Self, Error> {
        let block = bindings::notifier_block {
            notifier_call: Some(Self::callback),
            ..pin_init::zeroed()
        };
        // INVARIANT: `block` is registered last, when `target` is initialised.
        try_pin_init!(Self {
            target,
            _p: PhantomData,
            block <- Opaque::try_ffi_init(move |slot: *mut bindings::notifier_block| {
                // SAFETY: `slot` is valid for writes. It is pinned, and `drop` unregisters it.
                to_result(unsafe {
                    slot.write(block);
                    (C::REGISTER)(slot)
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
        // SAFETY: By the type invariants `block` is a field of a `NotifierBlock<C, T>`, which lives at
        // least until `UNREGISTER` has returned, and so until this call has.
        let this = unsafe { kernel::container_of!(Opaque::cast_from(block), Self, block) };
        // SAFETY: As above; the chain calls with these arguments.
        unsafe { C::notify(&(*this).target, event, data) };
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<C: Chain<T>, T> PinnedDrop for NotifierBlock<C, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the block is registered.
        unsafe { (C::UNREGISTER)(self.block.get()) };
    }
}
