// SPDX-License-Identifier: GPL-2.0

//! Memory.

pub(crate) mod alloc;
pub(in crate::linux) mod copy;
pub(crate) mod memalloc;
