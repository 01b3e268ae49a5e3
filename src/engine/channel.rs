// SPDX-License-Identifier: GPL-2.0

//! What lies between the engine and the network if client and server share a key: frames are signed when they
//! are sent, and verified before the engine sees them. Neither engine knows.
//!
//! Before its first frame of a session a client requests keys ([`client`]), and the server answers
//! ([`server`]). The keys of both directions follow from the shared key, from the session, and from numbers
//! that both sides choose. They are changed from time to time.
//!
//! The rules: `docs/protocol.md`, "Signatures" and "KEY_REQUEST"; why they are so: `docs/security.md`.

pub mod budget;
pub mod client;
mod pair_key;
pub mod replay_window;
#[cfg(not(MODULE))]
pub mod server;

pub use pair_key::{Direction, FrameKeySeed, PairKey};

/// Counters of a client: each processor that sends has one of its own, if there are not more.
pub const LANES: usize = 16;
