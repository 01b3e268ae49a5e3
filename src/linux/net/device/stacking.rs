// SPDX-License-Identifier: GPL-2.0

//! Devices that are stacked on others, and what kind of device each is.
//!
//! What is here could be removed with [`NetDevice`], which says when.

use core::{
    marker::PhantomData,
    ptr::{
        null_mut,
        NonNull, //
    },
};

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    NetDevice,
    Rtnl, //
};
use crate::linux::helpers;

/// The tag of a VLAN.
///
/// Could be removed with [`NetDevice`], which returns it.
///
/// # Examples
///
/// ```ignore
/// let vlan = NetDevice::by_name(c"eth0.5").ok_or(ENODEV)?;
/// if let Some(VlanTag { protocol: 0x8100, id }) = vlan.vlan() {
///     pr_info!("VLAN {id}\n");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VlanTag {
    /// The EtherType of the tag: 0x8100 or 0x88a8.
    pub(crate) protocol: u16,
    /// The VLAN's number, 1 to 4094. In a tag with the number 0 only the priority counts.
    pub(crate) id: u16,
}

/// Iterates over the devices directly below another. [`NetDevice::lower`] has an example.
///
/// # Invariants
///
/// `position` is null, or was set by the last call of `dev_next_lower` for `upper`.
pub(crate) struct Lower<'a> {
    upper: &'a NetDevice,
    position: *mut bindings::list_head,
    /// While the RTNL mutex is held, the list does not change.
    _rtnl: PhantomData<&'a Rtnl>,
}

impl<'a> Iterator for Lower<'a> {
    type Item = &'a NetDevice;

    fn next(&mut self) -> Option<&'a NetDevice> {
        // INVARIANT: The call sets `position`.
        // SAFETY: `upper` is live. By the type invariant `position` is in its list, for the RTNL mutex
        // has been held since.
        let lower = unsafe { helpers::dev_next_lower(self.upper.as_ptr(), &mut self.position) };
        let lower = NonNull::new(lower)?;
        // SAFETY: A lower device is live as long as another is stacked on it, which does not change
        // while the mutex is held.
        Some(unsafe { NetDevice::from_raw(lower.as_ptr()) })
    }
}

impl NetDevice {
    /// Returns the devices on which this one is stacked directly, as a bond is on its members.
    ///
    /// # Examples
    ///
    /// ```ignore
    /// let bond = NetDevice::by_name(c"bond0").ok_or(ENODEV)?;
    /// let rtnl = Rtnl::lock();
    /// for lower in bond.lower(&rtnl) {
    ///     pr_info!("{} is a member\n", lower.name(&rtnl));
    /// }
    /// ```
    pub(crate) fn lower<'a>(&'a self, _: &'a Rtnl) -> Lower<'a> {
        // INVARIANT: `position` is null.
        Lower {
            upper: self,
            position: null_mut(),
            _rtnl: PhantomData,
        }
    }

    /// Returns the tag of the frames that this device has on the device below, if it is a VLAN.
    pub(crate) fn vlan(&self) -> Option<VlanTag> {
        let (mut protocol, mut id) = (0, 0);
        // SAFETY: By the type invariants the device is live. Both arguments are valid for writes.
        let is_vlan = unsafe { helpers::dev_vlan(self.as_ptr(), &mut protocol, &mut id) };
        is_vlan.then_some(VlanTag { protocol, id })
    }

    /// Returns whether the device is a bond or a team.
    pub(crate) fn is_lag_master(&self) -> bool {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::netif_is_lag_master(self.as_ptr()) }
    }

    /// Returns whether the device is a bridge.
    pub(crate) fn is_bridge_master(&self) -> bool {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::netif_is_bridge_master(self.as_ptr()) }
    }

    /// Returns whether the device is a macvlan.
    pub(crate) fn is_macvlan(&self) -> bool {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::netif_is_macvlan(self.as_ptr()) }
    }

    /// Returns whether the device is an Open vSwitch, whose ports are not in [`Self::lower`].
    pub(crate) fn is_ovs_master(&self) -> bool {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::netif_is_ovs_master(self.as_ptr()) }
    }

    /// Returns whether the device connects the CPU to a switch (DSA), so that its frames have a tag of
    /// the switch's.
    pub(crate) fn uses_dsa(&self, _: &Rtnl) -> bool {
        // SAFETY: By the type invariants the device is live. The RTNL mutex is held, so the switch stays.
        unsafe { helpers::netdev_uses_dsa(self.as_ptr()) }
    }

    /// Returns whether the device belongs to another one in the driver model, as a card does.
    pub(crate) fn has_parent(&self) -> bool {
        // SAFETY: By the type invariants the device is live.
        unsafe { helpers::dev_has_parent(self.as_ptr()) }
    }

    /// Returns the kind of a device that was made by `ip link add type KIND`.
    pub(crate) fn kind<'a>(&'a self, _: &'a Rtnl) -> Option<&'a CStr> {
        // SAFETY: By the type invariants the device and its operations are live.
        let kind = NonNull::new(unsafe { helpers::dev_kind(self.as_ptr()) }.cast_mut())?;
        // SAFETY: The string is terminated, constant, and part of the operations.
        Some(unsafe { CStr::from_char_ptr(kind.as_ptr()) })
    }
}
