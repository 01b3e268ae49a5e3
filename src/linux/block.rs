// SPDX-License-Identifier: GPL-2.0

//! Block devices: one of our own, those of others, and I/O on them.

pub(crate) mod bdev;
pub(crate) mod bio;
pub(in crate::linux) mod bytes;
mod device_number;
pub(crate) mod mq;
mod page;
pub(in crate::linux) mod place;

pub(crate) use self::{
    bytes::{
        Block,
        BlockWriter, //
    },
    device_number::DeviceNumber,
    page::Page, //
};
