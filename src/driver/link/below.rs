// SPDX-License-Identifier: GPL-2.0

//! The devices under the interface: where frames come in first, and which of them copies sent frames.

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    driver::ingress::Lower,
    linux::net::device::{
        NetDevice,
        Rtnl, //
    },
};

/// More devices under an interface are not looked at: a bridge may have hundreds of ports.
const MOST: usize = 32;

/// Whether frames continue from the devices below in the form in which they came in there.
fn passes_on(device: &NetDevice) -> bool {
    device.is_lag_master() || device.is_bridge_master() || device.is_macvlan()
}

/// Whether frames come from somewhere below that the kernel does not show: out of a tunnel (vxlan, geneve,
/// gretap, l2tp), or from a program (tun). A card has a parent; the frames of a veth and of a dummy come
/// from this machine; those of a bond and of a bridge come from the devices that will be below them.
fn is_fed(device: &NetDevice, rtnl: &Rtnl) -> bool {
    let is_local = |kind: &CStr| matches!(kind.to_bytes(), b"veth" | b"dummy");
    !device.has_parent() && !passes_on(device) && !device.kind(rtnl).is_some_and(is_local)
}

/// Returns the lowest devices on which the interface's frames come in: none if it is stacked on no other.
///
/// Fails if frames have another form there, or if this cannot be found out: two tags, a tunnel, a switch.
/// If a card is under a bridge, unknown devices at its other ports do not count.
pub(super) fn lowest(interface: &NetDevice, rtnl: &Rtnl) -> Result<KVec<Lower>> {
    let mut lowest = KVec::new();
    let mut found = KVec::new();
    let whole = Lower {
        device: interface.into(),
        tag: None,
    };
    found.push(whole, GFP_KERNEL)?;
    let (mut is_known, mut is_unknown) = (false, false);
    // The list grows while it is walked. It ends because no device is stacked on itself.
    let mut next = 0;
    while let Some(here) = found.get(next) {
        next = next.saturating_add(1);
        let device = here.device.clone();
        let mut tag = here.tag;
        if device.is_ovs_master() || device.uses_dsa(rtnl) {
            return Err(EOPNOTSUPP);
        }
        let mut below = device.lower(rtnl).peekable();
        if below.peek().is_none() {
            match is_fed(&device, rtnl) {
                true => is_unknown = true,
                false => is_known = true,
            }
            if *device != *interface {
                let device = device.clone();
                lowest.push(Lower { device, tag }, GFP_KERNEL)?;
            }
            continue;
        }
        if let Some(vlan) = device.vlan() {
            if tag.is_some() || vlan.id == 0 {
                return Err(EOPNOTSUPP);
            }
            tag = Some(vlan);
        } else if !passes_on(&device) {
            return Err(EOPNOTSUPP);
        }
        for device in below {
            if found.len() > MOST {
                return Err(E2BIG);
            }
            let device = device.into();
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

/// Returns the first device on the way of what the interface sends, itself included, that takes a frame
/// in one piece only: the kernel copies the frame before.
pub(super) fn copying(interface: &NetDevice, rtnl: &Rtnl) -> Result<Option<ARef<NetDevice>>> {
    let mut found = KVec::new();
    found.push(ARef::from(interface), GFP_KERNEL)?;
    let mut next = 0;
    while let Some(device) = found.get(next).cloned() {
        next = next.saturating_add(1);
        if !device.has_scatter_gather() {
            return Ok(Some(device));
        }
        for lower in device.lower(rtnl) {
            if found.len() <= MOST && !found.iter().any(|other| **other == *lower) {
                found.push(ARef::from(lower), GFP_KERNEL)?;
            }
        }
    }
    Ok(None)
}
