// SPDX-License-Identifier: GPL-2.0

//! Where frames from the servers come in: up to three ways for each interface.
//!
//! - The ingress hook of the interface. It comes before the stack drops frames in the emergency reserve.
//! - The ingress hooks of the lowest devices under the interface (a VLAN, a bond, a bridge), for frames in
//!   the emergency reserve only: the stack drops them there.
//! - A packet type of the interface, for frames that bypass its hook (`ifb`), and for kernels without one.
//!
//! So a frame that is left to others may be seen twice. Which frames are taken: `frame_verdict.rs`.

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    client::Client,
    frame_verdict::{
        Entry,
        ReceivePath,
        Under, //
    }, //
};
use crate::linux::net::{
    device::{
        NetDevice,
        Rtnl,
        VlanTag, //
    },
    hook::{
        Hook,
        HAS_INGRESS, //
    }, //
};

/// The priority of the hooks: another hook, which may drop or redirect frames, comes after them.
const FIRST: i32 = i32::MIN;

/// A device on which no other is stacked, under the interface.
pub(crate) struct Lower {
    /// The device.
    pub(crate) device: ARef<NetDevice>,
    /// The tag of the interface's frames there.
    pub(crate) tag: Option<VlanTag>,
}

impl PartialEq for Lower {
    fn eq(&self, other: &Self) -> bool {
        *self.device == *other.device && self.tag == other.tag
    }
}

/// Returns whether a hook is for what comes in there.
fn is_on(hook: &Hook<Entry>, lower: &Lower) -> bool {
    *hook.device() == *lower.device && hook.receiver().tag() == lower.tag
}

/// The hooks of the interface, and of the devices under it.
pub(crate) struct Ingress {
    device: ARef<NetDevice>,
    hook: Option<Hook<Entry>>,
    packet_type: Hook<Entry>,
    lower: KVec<Hook<Entry>>,
    client: Arc<Client>,
    ethertype: u16,
}

impl Ingress {
    /// Receives frames of `ethertype` through `device`. Sleeps.
    pub(crate) fn new(
        device: ARef<NetDevice>,
        ethertype: u16,
        client: Arc<Client>,
        rtnl: &Rtnl,
    ) -> Result<Self> {
        let own = |path| Entry {
            client: client.clone(),
            ethertype,
            path,
            under: None,
        };
        let packet_type =
            Hook::packet_type(device.clone(), ethertype, own(ReceivePath::Stack), rtnl)?;
        let hook = match HAS_INGRESS {
            true => match Hook::ingress(device.clone(), FIRST, own(ReceivePath::Hook), rtnl) {
                Ok(hook) => Some(hook),
                Err(error) => {
                    // Here, because dropping it locks the mutex, which is held.
                    packet_type.remove(rtnl);
                    return Err(error);
                }
            },
            false => None,
        };
        Ok(Self {
            device,
            hook,
            packet_type,
            lower: KVec::new(),
            client,
            ethertype,
        })
    }

    /// The interface.
    pub(crate) fn device(&self) -> &NetDevice {
        &self.device
    }

    /// The devices under it that have a hook, each with the tag of the interface's frames there.
    pub(crate) fn lower(&self) -> impl Iterator<Item = (&NetDevice, Option<VlanTag>)> {
        let hooks = self.lower.iter();
        hooks.map(|hook| (hook.device(), hook.receiver().tag()))
    }

    /// Receives frames in the emergency reserve on these devices under the interface, and on no others.
    /// Returns whether that is a change. On failure no hook is removed. Sleeps.
    pub(crate) fn set_lower(&mut self, wanted: &[Lower], rtnl: &Rtnl) -> Result<bool> {
        let mut is_changed = false;
        // New hooks first: they need memory, and there may be none.
        for lower in wanted {
            if self.lower.iter().any(|hook| is_on(hook, lower)) {
                continue;
            }
            self.lower.reserve(1, GFP_KERNEL)?;
            let entry = Entry {
                client: self.client.clone(),
                ethertype: self.ethertype,
                path: ReceivePath::Lower,
                under: Some(Under {
                    interface: self.device.clone(),
                    tag: lower.tag,
                }),
            };
            let hook = Hook::ingress(lower.device.clone(), FIRST, entry, rtnl)?;
            if let Err(refused) = self.lower.push_within_capacity(hook) {
                refused.0.remove(rtnl);
            }
            is_changed = true;
        }
        let removed =
            self.remove_lower(|hook| !wanted.iter().any(|lower| is_on(hook, lower)), rtnl);
        Ok(is_changed || removed)
    }

    /// Removes the hooks of `device`, which was under the interface. Sleeps.
    pub(crate) fn forget(&mut self, device: &NetDevice, rtnl: &Rtnl) {
        self.remove_lower(|hook| hook.device() == device, rtnl);
    }

    /// Returns whether there were any.
    fn remove_lower(&mut self, which: impl Fn(&Hook<Entry>) -> bool, rtnl: &Rtnl) -> bool {
        let before = self.lower.len();
        let mut index = 0;
        while let Some(hook) = self.lower.get(index) {
            if !which(hook) {
                index = index.saturating_add(1);
            } else if let Ok(hook) = self.lower.remove(index) {
                hook.remove(rtnl);
            }
        }
        self.lower.len() != before
    }

    /// Removes all hooks. When this returns, no frame is being received. Sleeps.
    pub(crate) fn remove(mut self, rtnl: &Rtnl) {
        self.remove_lower(|_| true, rtnl);
        if let Some(hook) = self.hook {
            hook.remove(rtnl);
        }
        self.packet_type.remove(rtnl);
    }
}
