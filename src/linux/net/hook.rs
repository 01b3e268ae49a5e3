// SPDX-License-Identifier: GPL-2.0

//! Shows the frames of one EtherType that a network device receives to a receiver, which may take
//! them: nobody else sees them then, but whoever listens to everything.
//!
//! There are up to three ways in. The ingress hook, where the kernel has it
//! (`CONFIG_NETFILTER_INGRESS`), comes before the stack drops frames that lie in the emergency
//! reserve. So if the device lies on others (a VLAN, a bond, a bridge), such frames have to be taken
//! on the lowest of these: the stack drops them there. A packet type comes last, with what has gone
//! round the hook: frames that an ingress shaper has put off with an `ifb` device come in a second
//! time behind it. What the receiver leaves to others may so be shown to it twice.
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
    device::{
        Lower,
        NetDevice,
        Rtnl,
        VlanTag, //
    },
    skb::{
        note_receiving_cpu,
        RxFrame, //
    },
};
use crate::linux::helpers;

/// Whether frames in the emergency reserve can be received.
pub(crate) const RECEIVES_FROM_RESERVE: bool = cfg!(CONFIG_NETFILTER_INGRESS);

/// How a frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through the device's own hook.
    Hook,
    /// Through the hook of a device that it lies on, from the emergency reserve.
    Lower,
    /// From the stack, the hook having been gone round or the frame having been left to others; or
    /// because there is no hook.
    Stack,
}

impl Way {
    /// Whether the frame may have been shown to the receiver before.
    pub(crate) fn is_second(self) -> bool {
        RECEIVES_FROM_RESERVE && self == Self::Stack
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was the receiver's alone.
    Taken,
    /// Others are to see it, whether or not the receiver has made use of it.
    Left,
}

/// Whom frames are for.
pub(crate) trait Receiver: Send + Sync + 'static {
    /// Looks at a frame of the EtherType that is for this station. Called in softirq context,
    /// on any CPU, on several at once.
    fn receive(this: ArcBorrow<'_, Self>, frame: RxFrame<'_>, way: Way) -> Verdict;
}

/// Which frames of a lower device are for the one above it.
struct Above {
    device: ARef<NetDevice>,
    tag: Option<VlanTag>,
}

/// A hook on a device that the receiver's lies on.
struct LowerHook<R: Receiver> {
    hook: Hook<R>,
    tag: Option<VlanTag>,
}

impl<R: Receiver> LowerHook<R> {
    /// Whether it takes what comes in there.
    fn is_on(&self, lower: &Lower) -> bool {
        *self.hook.device == *lower.device && self.tag == lower.tag
    }
}

/// A hook's private data.
struct Private<R> {
    receiver: Arc<R>,
    ethertype: u16,
    /// On a device that the receiver's lies on.
    above: Option<Above>,
}

impl<R> Private<R> {
    /// Whether the receiver is to see the frame.
    #[inline]
    fn is_for_us(&self, frame: &RxFrame<'_>) -> bool {
        if frame.ethertype() != self.ethertype {
            return false;
        }
        match &self.above {
            None => frame.is_for_us() && frame.tag().is_none(),
            // All others find their way up by the rules of what lies between.
            Some(above) => {
                frame.is_in_reserve()
                    && frame.tag() == above.tag
                    && frame.destination() == above.device.address()
            }
        }
    }
}

/// A hook on one device, and a packet type if it is the receiver's own. Ends only by being removed.
///
/// # Invariants
///
/// `hook` was registered with a `Private<R>` that is `private`.
struct Hook<R: Receiver> {
    hook: NonNull<helpers::ingress>,
    private: NonNull<Private<R>>,
    device: ARef<NetDevice>,
}

impl<R: Receiver> Hook<R> {
    fn new(device: ARef<NetDevice>, private: Private<R>, _: &Rtnl) -> Result<Self> {
        let ethertype = private.ethertype.to_be();
        let is_own = private.above.is_none();
        let private = KBox::new(private, GFP_KERNEL)?;
        // SAFETY: A box's address is not null.
        let private = unsafe { NonNull::new_unchecked(KBox::into_raw(private)) };
        // SAFETY: The device is live and stays so, for the hook goes before our reference to it;
        // RTNL is held. `receive_callback::<R>` fits `private`, which stays until after the
        // unregistration.
        let hook = from_err_ptr(unsafe {
            helpers::ingress_register(
                device.as_ptr(),
                ethertype,
                receive_callback::<R>,
                private.as_ptr().cast(),
                is_own,
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

    /// Ends it. When this returns no call of the receiver through it is under way. Sleeps.
    fn remove(self, _: &Rtnl) {
        // SAFETY: By the type invariant; RTNL is held. Once it is unregistered no call is under
        // way, so that nothing uses `private`, from `into_raw` in `new`, any more.
        unsafe {
            helpers::ingress_unregister(self.hook.as_ptr());
            drop(KBox::from_raw(self.private.as_ptr()));
        }
    }
}

/// A receiver at work on a device, and on those that it lies on. To be removed at the latest when the
/// device is unregistered, which includes its moving to another network namespace; the notifier's
/// call is a good place.
pub(crate) struct Ingress<R: Receiver> {
    device: ARef<NetDevice>,
    /// None when it has been removed.
    own: Option<Hook<R>>,
    lower: KVec<LowerHook<R>>,
    receiver: Arc<R>,
    ethertype: u16,
}

// SAFETY: The hooks may be unregistered by any thread, and the receiver is `Send` and `Sync`.
unsafe impl<R: Receiver> Send for Ingress<R> {}
// SAFETY: `&Ingress` gives access to the devices only.
unsafe impl<R: Receiver> Sync for Ingress<R> {}

impl<R: Receiver> Ingress<R> {
    /// From now on, shows frames of `ethertype` that `device` receives to `receiver`. Sleeps.
    pub(crate) fn new(
        device: ARef<NetDevice>,
        ethertype: u16,
        receiver: Arc<R>,
        rtnl: &Rtnl,
    ) -> Result<Self> {
        let private = Private {
            receiver: receiver.clone(),
            ethertype,
            above: None,
        };
        Ok(Self {
            own: Some(Hook::new(device.clone(), private, rtnl)?),
            device,
            lower: KVec::new(),
            receiver,
            ethertype,
        })
    }

    /// The device.
    pub(crate) fn device(&self) -> &NetDevice {
        &self.device
    }

    /// The devices below it that are listened to as well, with the tags that its frames have there.
    pub(crate) fn lower(&self) -> impl Iterator<Item = (&NetDevice, Option<VlanTag>)> {
        self.lower
            .iter()
            .map(|lower| (&*lower.hook.device, lower.tag))
    }

    /// Takes frames in the emergency reserve on these devices from now on, which are what the device
    /// lies on, and on no others. Returns whether that is a change. On failure it is on all that it
    /// was on before. Sleeps.
    pub(crate) fn set_lower(&mut self, wanted: &[Lower], rtnl: &Rtnl) -> Result<bool> {
        let mut is_changed = false;
        // What is new first: it needs memory, and there may be none.
        for lower in wanted {
            if self.lower.iter().any(|hook| hook.is_on(lower)) {
                continue;
            }
            self.lower.reserve(1, GFP_KERNEL)?;
            let above = Above {
                device: self.device.clone(),
                tag: lower.tag,
            };
            let private = Private {
                receiver: self.receiver.clone(),
                ethertype: self.ethertype,
                above: Some(above),
            };
            let hook = LowerHook {
                hook: Hook::new(lower.device.clone(), private, rtnl)?,
                tag: lower.tag,
            };
            if let Err(refused) = self.lower.push_within_capacity(hook) {
                refused.0.hook.remove(rtnl);
            }
            is_changed = true;
        }
        let removed = self.forget_lower(|hook| !wanted.iter().any(|lower| hook.is_on(lower)), rtnl);
        Ok(is_changed || removed)
    }

    /// Listens to `device`, which this one lay on, no longer. Sleeps.
    pub(crate) fn forget(&mut self, device: &NetDevice, rtnl: &Rtnl) {
        self.forget_lower(|lower| *lower.hook.device == *device, rtnl);
    }

    /// Returns whether there was any.
    fn forget_lower(&mut self, which: impl Fn(&LowerHook<R>) -> bool, rtnl: &Rtnl) -> bool {
        let before = self.lower.len();
        let mut index = 0;
        while let Some(lower) = self.lower.get(index) {
            if !which(lower) {
                index = index.saturating_add(1);
            } else if let Ok(lower) = self.lower.remove(index) {
                lower.hook.remove(rtnl);
            }
        }
        self.lower.len() != before
    }

    /// Ends it. When this returns no call of the receiver is under way. Sleeps.
    pub(crate) fn remove(mut self, rtnl: &Rtnl) {
        self.end(rtnl);
    }

    fn end(&mut self, rtnl: &Rtnl) {
        self.forget_lower(|_| true, rtnl);
        if let Some(own) = self.own.take() {
            own.remove(rtnl);
        }
    }
}

impl<R: Receiver> Drop for Ingress<R> {
    /// Takes RTNL, unless it was removed by whoever holds that.
    fn drop(&mut self) {
        if self.own.is_some() {
            self.end(&Rtnl::lock());
        }
    }
}

/// # Safety
///
/// `private` must be a live `Private<R>`, `skb` a frame just received.
unsafe extern "C" fn receive_callback<R: Receiver>(
    private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const helpers::nf_hook_state,
) -> c_uint {
    // SAFETY: By the invariant of `Hook`.
    let private = unsafe { &*private.cast::<Private<R>>() };
    // SAFETY: The stack lends us the frame for this call, with `data` behind the Ethernet header.
    let frame = unsafe { RxFrame::from_raw(skb) };
    if !private.is_for_us(&frame) {
        return bindings::NF_ACCEPT;
    }
    let way = match &private.above {
        _ if state.is_null() => Way::Stack,
        None => Way::Hook,
        Some(_) => Way::Lower,
    };
    note_receiving_cpu();
    match R::receive(private.receiver.as_arc_borrow(), frame, way) {
        Verdict::Left => bindings::NF_ACCEPT,
        Verdict::Taken => {
            // SAFETY: With this verdict our caller leaves its reference to us, and we end it.
            unsafe { bindings::consume_skb(skb) };
            bindings::NF_STOLEN
        }
    }
}
