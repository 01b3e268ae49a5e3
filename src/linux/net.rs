// SPDX-License-Identifier: GPL-2.0

//! Networking.

pub(crate) mod device;
pub(crate) mod hook;
pub(crate) mod notifier;
pub(crate) mod skb;
pub(crate) mod sock;
