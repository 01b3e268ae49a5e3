// SPDX-License-Identifier: GPL-2.0

//! Block devices: one of our own, those of others, and I/O on them.

pub(crate) mod bdev;
pub(crate) mod bio;
pub(crate) mod mq;
pub(in crate::linux) mod place;
