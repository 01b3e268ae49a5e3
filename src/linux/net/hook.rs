// SPDX-License-Identifier: GPL-2.0

//! Receiving the frames of a network device: netfilter's ingress hook, and packet types.
//!
//! The ingress hook comes first. It gets each frame, also those in the emergency reserve of memory, which
//! the stack drops afterwards for most protocols. A packet type comes last, with the frames of its
//! EtherType that are left. Frames that an ingress shaper has delayed with an `ifb` device do not pass
//! the hook again.
//!
//! What is here could be removed with [`Hook`], which says when.
//!
//! C headers: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h),
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    device::{
        NetDevice,
        Rtnl, //
    },
    skb::RxFrame,
};
use crate::linux::helpers;

/// Whether the kernel has the ingress hook.
pub(crate) const HAS_INGRESS: bool = cfg!(CONFIG_NETFILTER_INGRESS);

/// What happens to a frame that was received.
///
/// [`Hook`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It continues on its way through the stack (`NF_ACCEPT`).
    Accept,
    /// The receiver has consumed it: its reference is dropped (`NF_STOLEN`). The stack does not see what an
    /// ingress hook has consumed. Of a packet type others have references of their own.
    Stolen,
}

/// A value that receives frames.
///
/// [`Hook`] has an example.
pub(crate) trait Receiver: Send + Sync + 'static {
    /// Handles a frame. Called in softirq context, on any CPU and on several at once.
    fn receive(&self, frame: RxFrame<'_>) -> Verdict;
}

/// What a [`Hook`] has registered.
enum Registration {
    Ingress(NonNull<helpers::nf_hook_ops>),
    PacketType(NonNull<helpers::packet_hook>),
}

/// A hook that shows the frames of one device to a receiver.
///
/// The owner must remove it in the callback of a [`Notifier`] when the device is unregistered or moves to
/// another network namespace ([`Event::Unregister`]). It holds a reference to the device, and an ingress hook
/// is found by the namespace, which may be freed before the device. No type ensures this: see [`NetDevice`].
///
/// Could be removed in a release after 7.3, once the kernel crate has `nf_register_net_hook` and
/// `dev_add_pack`; `kernel::net` has only PHYs and netlink.
///
/// # Invariants
///
/// While `registration` is `Some`, it is registered for `device`, with a callback that gets `receiver`.
///
/// # Examples
///
/// ```ignore
/// struct Counter(Atomic<u64>);
///
/// impl Receiver for Counter {
///     fn receive(&self, frame: RxFrame<'_>) -> Verdict {
///         self.0.fetch_add(frame.len() as u64, Relaxed);
///         Verdict::Accept
///     }
/// }
///
/// let device = NetDevice::by_name(c"eth0").ok_or(ENODEV)?;
/// let rtnl = Rtnl::lock();
/// let hook = Hook::ingress(device, 0, Counter(Atomic::new(0)), &rtnl)?;
/// hook.remove(&rtnl);
/// ```
///
/// [`Notifier`]: super::notifier::Notifier
/// [`Event::Unregister`]: super::notifier::Event::Unregister
pub(crate) struct Hook<R: Receiver> {
    /// `None` only while the hook is dropped.
    registration: Option<Registration>,
    receiver: KBox<R>,
    device: ARef<NetDevice>,
}

// SAFETY: A hook may be unregistered by any thread, and `R` is `Send`.
unsafe impl<R: Receiver> Send for Hook<R> {}
// SAFETY: `&Hook` gives access to `&R` at most, and `R` is `Sync`.
unsafe impl<R: Receiver> Sync for Hook<R> {}

impl<R: Receiver> Hook<R> {
    /// Shows all frames that come in through `device` to `receiver`, before the stack sees them. Hooks of a
    /// lower `priority` come before. Fails with `EOPNOTSUPP` if the kernel has no ingress hook, and with
    /// `ENODEV` if the device is not registered. This function sleeps.
    pub(crate) fn ingress(
        device: ARef<NetDevice>,
        priority: i32,
        receiver: R,
        _: &Rtnl,
    ) -> Result<Self> {
        Self::new(device, receiver, |device, receiver| {
            let callback = receive_callback::<R>;
            // SAFETY: The device is live, and its reference is dropped after the hook is unregistered. The
            // function checks that it is registered, so that its namespace is live. The RTNL mutex is
            // held. `receiver` is an `R` and is freed after that as well.
            let ops = from_err_ptr(unsafe {
                helpers::ingress_hook_register(device, priority, callback, receiver)
            })?;
            NonNull::new(ops).map(Registration::Ingress).ok_or(ENOMEM)
        })
    }

    /// Shows the frames of `ethertype` that come in through `device` to `receiver`, unless the stack has
    /// given them to another device above. Others see them too. This function sleeps.
    ///
    /// Fails with `EINVAL` if `ethertype` is less than 0x600: such a number is not an EtherType, and some
    /// of them stand for other frames, those that are sent among them.
    pub(crate) fn packet_type(
        device: ARef<NetDevice>,
        ethertype: u16,
        receiver: R,
        _: &Rtnl,
    ) -> Result<Self> {
        if u32::from(ethertype) < bindings::ETH_P_802_3_MIN {
            return Err(EINVAL);
        }
        Self::new(device, receiver, |device, receiver| {
            let (ethertype, callback) = (ethertype.to_be(), receive_callback::<R>);
            // SAFETY: As in `ingress`.
            let hook = from_err_ptr(unsafe {
                helpers::packet_hook_register(device, ethertype, callback, receiver)
            })?;
            let hook = NonNull::new(hook).ok_or(ENOMEM)?;
            Ok(Registration::PacketType(hook))
        })
    }

    /// Registers a hook by `register`, which gets the device and the receiver.
    fn new(
        device: ARef<NetDevice>,
        receiver: R,
        register: impl FnOnce(*mut bindings::net_device, *mut c_void) -> Result<Registration>,
    ) -> Result<Self> {
        let receiver = KBox::new(receiver, GFP_KERNEL)?;
        // The box may be moved while callbacks have this pointer: the kernel's `Box` is a pointer, and does
        // not assert that no other pointer is used, as `alloc`'s does.
        let private = core::ptr::from_ref(&*receiver).cast_mut().cast();
        // INVARIANT: Registered here.
        Ok(Self {
            registration: Some(register(device.as_ptr(), private)?),
            receiver,
            device,
        })
    }

    /// Returns the device.
    pub(crate) fn device(&self) -> &NetDevice {
        &self.device
    }

    /// Returns the receiver.
    pub(crate) fn receiver(&self) -> &R {
        &self.receiver
    }

    /// Removes the hook. When this returns, no call of the receiver is under way. This function sleeps.
    pub(crate) fn remove(mut self, rtnl: &Rtnl) {
        self.unregister(rtnl);
    }

    fn unregister(&mut self, _: &Rtnl) {
        // SAFETY: By the type invariants the hook is registered, for a device that is live. The device is
        // registered, or in its `Event::Unregister`, as `Hook` says, so its namespace is live too. The RTNL
        // mutex is held. The functions wait until no callback is under way.
        unsafe {
            match self.registration.take() {
                Some(Registration::Ingress(ops)) => helpers::ingress_hook_unregister(ops.as_ptr()),
                Some(Registration::PacketType(hook)) => {
                    helpers::packet_hook_unregister(hook.as_ptr());
                }
                None => {}
            }
        }
    }
}

impl<R: Receiver> Drop for Hook<R> {
    /// Removes the hook, for which it locks the RTNL mutex. Sleeps.
    fn drop(&mut self) {
        if self.registration.is_some() {
            self.unregister(&Rtnl::lock());
        }
    }
}

/// # Safety
///
/// - `receiver` must be a live `R`.
/// - `skb` must be a frame that the network stack hands to a hook or to a packet type, and that stays
///   valid during this call.
/// - If this returns `NF_STOLEN`, the caller's reference to `skb` must have been the callback's to drop.
unsafe extern "C" fn receive_callback<R: Receiver>(
    receiver: *mut c_void,
    skb: *mut bindings::sk_buff,
    _state: *const helpers::nf_hook_state,
) -> c_uint {
    // SAFETY: By the requirements of this function.
    let receiver = unsafe { &*receiver.cast::<R>() };
    // SAFETY: As above.
    let verdict = match unsafe { RxFrame::from_raw(skb) } {
        Some(frame) => receiver.receive(frame),
        None => Verdict::Accept,
    };
    match verdict {
        Verdict::Accept => bindings::NF_ACCEPT,
        Verdict::Stolen => {
            // SAFETY: With this verdict the caller leaves its reference to this function.
            unsafe { bindings::consume_skb(skb) };
            bindings::NF_STOLEN
        }
    }
}
