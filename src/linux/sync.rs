// SPDX-License-Identifier: GPL-2.0

//! Synchronisation primitives.

pub(crate) mod rcu_cell;
pub(crate) mod try_cell;
