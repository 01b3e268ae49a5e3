// SPDX-License-Identifier: GPL-2.0

//! Memory.

pub(crate) mod alloc;
pub(crate) mod block;
pub(in crate::linux) mod copy;
pub(crate) mod memalloc;
pub(crate) mod page;
