// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of the kernel interfaces that the kernel crate does not cover (yet), laid out and
//! named as the kernel crate would have them. All `unsafe` code of the module is here and below.
//!
//! A wrapper knows nothing of Anemone: no protocol, no policy, no state beyond that of the kernel
//! object that it wraps. `helpers/` has in C what exists only as macros and inline functions, as
//! `rust/helpers` of the kernel does; [`helpers`] declares it for Rust.
//!
//! None of them is in a kernel release up to 7.3. The documentation of each
//! wrapper says what could replace it.
//!
//! A function sleeps, or needs a certain context, only if it says so. Others, and `drop`s, may be called in
//! any context, with interrupts disabled too. A function that sleeps must not be called while preemption is
//! disabled or the RCU read lock is held: where RCU is not preemptible, sleeping would end the read section.
//! No type ensures this, here as in the kernel crate (`rcu::synchronize_rcu` is safe); the kernel's checks
//! (`CONFIG_DEBUG_ATOMIC_SLEEP`, `CONFIG_PROVE_RCU`) report a caller that does it. The safety comments take
//! it as given.
//!
//! Where C takes `THIS_MODULE`, a wrapper takes its user's `ThisModule`, or the user's type names its module
//! (`OwnerModule`, `ModuleMetadata`).

pub(crate) mod block;
pub(crate) mod capability;
mod crc32c;
pub(crate) mod crypto;
pub(crate) mod debugfs;
pub(crate) mod dmi;
mod helpers;
pub(crate) mod keyring;
pub(crate) mod miscdevice;
pub(crate) mod mm;
pub(crate) mod module;
pub(crate) mod module_param;
pub(crate) mod net;
mod notifier;
pub(crate) mod random;
pub(crate) mod sched;
pub(crate) mod siphash;
pub(crate) mod suspend;
pub(crate) mod sync;
pub(crate) mod time;
pub(crate) mod workqueue;

pub(crate) use crc32c::crc32c;
