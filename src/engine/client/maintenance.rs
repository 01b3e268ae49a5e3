// SPDX-License-Identifier: GPL-2.0

//! Maintenance of a client: everything that its worker and its operator have it do beside the data path.
//!
//! Each activity is a state machine that decides what is done, and in which order: removing a server
//! ([`removal`]) and detaching the local disk ([`detach`]). It names the next step and the lock under which
//! its owner carries that step out; the owner holds no other lock meanwhile, and decides nothing. The
//! driver and the simulator carry out the same steps.
//!
//! A step that looks at the page map looks at a part of it only, [`PART_PAGES`] in the driver. Whether a
//! page needs a server is [`drain`]'s rule, whether it needs the disk [`disk_drain`]'s.

pub mod detach;
pub mod disk_drain;
pub mod drain;
pub mod removal;

/// Pages of the map that one step looks at: about a millisecond.
pub const PART_PAGES: u32 = 1 << 18;
