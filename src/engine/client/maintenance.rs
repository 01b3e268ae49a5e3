// SPDX-License-Identifier: GPL-2.0

//! Maintenance of a client: what its worker and its operator do apart from the data path.
//!
//! Each activity is a state machine that decides the steps and their order: the worker's rounds ([`round`]),
//! removing a server ([`removal`]) and detaching the local disk ([`detach`]). It returns the next step and
//! the lock under which its owner carries out that step. The owner holds no other lock of the data path or
//! the cluster meanwhile, and decides nothing. The driver and the simulator carry out the same steps.
//!
//! A step that checks the page map checks only a part of it, [`PART_PAGES`] in the driver.
//! [`removal_need`] has the rule whether a page needs a server, and [`detach_need`] the rule whether it needs
//! the disk.

pub mod detach;
pub mod detach_need;
pub mod event_log;
pub mod removal;
pub mod removal_need;
pub mod round;

use super::config::NS_PER_S;

/// Pages of the map that one step checks: about a millisecond of work.
pub const PART_PAGES: u32 = 1 << 18;

/// The time between two checks whether servers have answered, or the disk's I/O has ended.
const RECHECK_NS: u64 = 2_000_000;

/// How long servers are waited for. A server that does not answer is suspected much sooner.
const ANSWER_NS: u64 = 5 * NS_PER_S;

#[cfg(test)]
mod bench {
    use super::super::cluster::{Cluster, Peer, Peers, Random};
    use super::super::config::Config;
    use super::super::ids::SERVER_SLOTS;
    use super::super::storage::heap::{words, Heap};
    use super::super::swap_device::SwapDevice;
    use crate::wire::{ClientId, ClusterName};

    use std::boxed::Box;

    pub(super) struct Ones;

    impl Random for Ones {
        fn number(&mut self) -> u64 {
            1
        }
    }

    /// A cluster without servers. Not on the stack, which is small in the kernel.
    pub(super) fn cluster() -> Box<Cluster<Heap, Ones>> {
        let (id, name) = (ClientId([1; 16]), ClusterName::default());
        let peers = Peers::new(std::vec![Peer::default(); SERVER_SLOTS]).unwrap();
        Box::new(Cluster::new(id, name, Ones, 1500, peers))
    }

    /// A device of four pages, for one shard.
    pub(super) fn device() -> Box<SwapDevice<Heap>> {
        Box::new(SwapDevice::new(words(4), Config::new(2, 1, 30).unwrap(), 1))
    }
}
