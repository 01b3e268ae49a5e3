// SPDX-License-Identifier: GPL-2.0

//! Takes the frames of one EtherType out of what a network device receives.
//!
//! By the ingress hook, where the kernel has it (`CONFIG_NETFILTER_INGRESS`): it comes before the
//! stack drops frames that lie in the emergency reserve. Else by a packet type, and such frames
//! are lost.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
};

use super::{
    net_device::NetDevice,
    shim,
    skb::{
        note_receiving_cpu,
        RxFrame, //
    },
};

/// Whether frames in the emergency reserve can be received.
pub(crate) const RECEIVES_FROM_RESERVE: bool = cfg!(CONFIG_NETFILTER_INGRESS);

/// Whom frames are for.
pub(crate) trait Receiver: Send + Sync + 'static {
    /// Looks at a frame of the EtherType that is for this station. Called in softirq context,
    /// on any CPU, on several at once.
    fn receive(this: ArcBorrow<'_, Self>, frame: RxFrame<'_>);
}

/// The hook's private data.
struct Private<R> {
    receiver: Arc<R>,
    ethertype: u16,
}

/// A receiver at work on a device. Dropping it, which sleeps, waits until no call of the receiver
/// is under way. To be dropped at the latest when the device is unregistered, which includes its
/// moving to another network namespace; the notifier's call is a good place.
///
/// # Invariants
///
/// `hook` was registered with a `Private<R>` that is `private`.
pub(crate) struct Ingress<R: Receiver> {
    hook: NonNull<shim::anemone_ingress>,
    private: NonNull<Private<R>>,
    device: ARef<NetDevice>,
}

// SAFETY: The hook may be unregistered by any thread, and the receiver is `Send` and `Sync`.
unsafe impl<R: Receiver> Send for Ingress<R> {}
// SAFETY: `&Ingress` gives access to the device only.
unsafe impl<R: Receiver> Sync for Ingress<R> {}

impl<R: Receiver> Ingress<R> {
    /// From now on, hands frames of `ethertype` that `device` receives to `receiver`. Sleeps.
    pub(crate) fn new(device: ARef<NetDevice>, ethertype: u16, receiver: Arc<R>) -> Result<Self> {
        let private = KBox::new(
            Private {
                receiver,
                ethertype,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: A box's address is not null.
        let private = unsafe { NonNull::new_unchecked(KBox::into_raw(private)) };
        // SAFETY: The device is live and stays so, for the hook goes before our reference to it.
        // `receive_callback::<R>` fits `private`, which stays until after the unregistration.
        let hook = from_err_ptr(unsafe {
            shim::anemone_ingress_register(
                device.as_ptr(),
                ethertype.to_be(),
                receive_callback::<R>,
                private.as_ptr().cast(),
            )
        });
        match hook {
            // INVARIANT: Registered just now.
            Ok(hook) => Ok(Self {
                // SAFETY: It is neither an error nor null.
                hook: unsafe { NonNull::new_unchecked(hook) },
                private,
                device,
            }),
            Err(error) => {
                // SAFETY: From `into_raw` above, and the hook has not been registered.
                drop(unsafe { KBox::from_raw(private.as_ptr()) });
                Err(error)
            }
        }
    }

    /// The device.
    pub(crate) fn device(&self) -> &NetDevice {
        &self.device
    }
}

impl<R: Receiver> Drop for Ingress<R> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Once it is unregistered no call is under way, so that
        // nothing uses `private`, from `into_raw` in `new`, any more.
        unsafe {
            shim::anemone_ingress_unregister(self.hook.as_ptr());
            drop(KBox::from_raw(self.private.as_ptr()));
        }
    }
}

/// # Safety
///
/// `private` must be a live `Private<R>`, `skb` a frame just received.
unsafe extern "C" fn receive_callback<R: Receiver>(
    private: *mut c_void,
    skb: *mut bindings::sk_buff,
    _state: *const shim::nf_hook_state,
) -> c_uint {
    // SAFETY: By the invariant of `Ingress`.
    let private = unsafe { &*private.cast::<Private<R>>() };
    // SAFETY: The stack lends us the frame for this call, with `data` behind the Ethernet header,
    // and whoever else has a reference to it reads only.
    let frame = unsafe { RxFrame::from_raw(skb) };
    if frame.ethertype() != private.ethertype || !frame.is_for_us() {
        return bindings::NF_ACCEPT;
    }
    note_receiving_cpu();
    R::receive(private.receiver.as_arc_borrow(), frame);
    // SAFETY: With this verdict our caller leaves its reference to us, and we end it.
    unsafe { bindings::consume_skb(skb) };
    bindings::NF_STOLEN
}
