// SPDX-License-Identifier: GPL-2.0

//! The devices that a device lies on, as a bond does on its members: frames come in there first.

use core::ptr::null_mut;

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    NetDevice,
    Rtnl, //
};
use crate::linux::helpers;

/// A VLAN's number and EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VlanTag {
    /// 0x8100 or 0x88a8.
    pub(crate) protocol: u16,
    /// 1 to 4094: 0 is none, but a priority's.
    pub(crate) id: u16,
}

/// A device that lies on no other, below a device that does.
pub(crate) struct Lower {
    /// The device.
    pub(crate) device: ARef<NetDevice>,
    /// The tag that frames for the upper one have here.
    pub(crate) tag: Option<VlanTag>,
}

impl PartialEq for Lower {
    fn eq(&self, other: &Self) -> bool {
        *self.device == *other.device && self.tag == other.tag
    }
}

/// More devices below one are not looked for: a bridge may have hundreds of ports.
const MOST: usize = 32;

/// A VLAN, if the device is one.
fn vlan(device: &NetDevice) -> Option<VlanTag> {
    let (mut protocol, mut id) = (0, 0);
    // SAFETY: The device is live, and both places can be written to.
    let is_vlan = unsafe { helpers::dev_vlan(device.as_ptr(), &mut protocol, &mut id) };
    is_vlan.then_some(VlanTag { protocol, id })
}

impl NetDevice {
    /// The lowest devices that frames for this one come in on: none if it lies on no other. An error
    /// if frames look otherwise there, or it cannot be told: two tags, a tunnel, a switch. Beside a card
    /// below a bridge, what cannot be told of its other ports does not count.
    pub(crate) fn lowest(&self, rtnl: &Rtnl) -> Result<KVec<Lower>> {
        let mut lowest = KVec::new();
        let mut found = KVec::new();
        let whole = Lower {
            device: self.into(),
            tag: None,
        };
        found.push(whole, GFP_KERNEL)?;
        let (mut is_known, mut is_unknown) = (false, false);
        // Grows while it is gone through; nothing lies on itself.
        let mut next = 0;
        while let Some(here) = found.get(next) {
            next = next.saturating_add(1);
            let device = here.device.clone();
            let mut tag = here.tag;
            // SAFETY: The device is live.
            if unsafe { helpers::dev_is_opaque(device.as_ptr()) } {
                return Err(EOPNOTSUPP);
            }
            let lower = device.lower(rtnl)?;
            if lower.is_empty() {
                // SAFETY: The device is live, and RTNL is held.
                match unsafe { helpers::dev_is_fed(device.as_ptr()) } {
                    true => is_unknown = true,
                    false => is_known = true,
                }
                if *device != *self {
                    lowest.push(Lower { device, tag }, GFP_KERNEL)?;
                }
                continue;
            }
            if let Some(vlan) = vlan(&device) {
                if tag.is_some() || vlan.id == 0 {
                    return Err(EOPNOTSUPP);
                }
                tag = Some(vlan);
            // SAFETY: The device is live.
            } else if !unsafe { helpers::dev_passes_on(device.as_ptr()) } {
                return Err(EOPNOTSUPP);
            }
            for device in lower {
                if found.len() > MOST {
                    return Err(E2BIG);
                }
                let lower = Lower { device, tag };
                if !found.contains(&lower) {
                    found.push(lower, GFP_KERNEL)?;
                }
            }
        }
        match is_unknown && !is_known {
            true => Err(EOPNOTSUPP),
            false => Ok(lowest),
        }
    }

    /// The first device on the way of what this one sends, itself or one that it lies on, that takes a
    /// frame in one piece only: it is copied before it gets there.
    pub(crate) fn copying(&self, rtnl: &Rtnl) -> Result<Option<ARef<Self>>> {
        let mut found = KVec::new();
        found.push(ARef::from(self), GFP_KERNEL)?;
        let mut next = 0;
        while let Some(device) = found.get(next).cloned() {
            next = next.saturating_add(1);
            // SAFETY: The device is live.
            if !unsafe { helpers::dev_takes_pieces(device.as_ptr()) } {
                return Ok(Some(device));
            }
            for lower in device.lower(rtnl)? {
                if found.len() <= MOST && !found.iter().any(|other| **other == *lower) {
                    found.push(lower, GFP_KERNEL)?;
                }
            }
        }
        Ok(None)
    }

    /// The devices that it lies on directly.
    fn lower(&self, _: &Rtnl) -> Result<KVec<ARef<Self>>> {
        let mut lower = KVec::new();
        let mut position = null_mut();
        loop {
            // SAFETY: The device is live; under RTNL the list does not change, and `position` is
            // where the last call has left it.
            let next = unsafe { helpers::dev_next_lower(self.as_ptr(), &mut position) };
            if next.is_null() {
                return Ok(lower);
            }
            // SAFETY: It is live as long as this one lies on it.
            let device = unsafe { Self::from_raw(next) };
            lower.push(device.into(), GFP_KERNEL)?;
        }
    }
}
