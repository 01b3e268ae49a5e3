// SPDX-License-Identifier: GPL-2.0

//! The memory of the client's parts. The owner allocates it; nothing here does.

use core::ops::{Deref, DerefMut};

use super::cluster::Peer;
use super::mirror::{Buffer, Head, Io};
use super::shard::Op;
use super::stale_copy::StaleCopy;
use crate::sync::Atomic;

/// Words of a table that all shards share: the page map, or a bitmap.
pub trait Words: Deref<Target = [Atomic<u32>]> {}

impl<W: Deref<Target = [Atomic<u32>]>> Words for W {}

/// The type of each table.
pub trait Storage {
    /// Words of the page map, and of the dirty bitmaps.
    type Words: Words;
    /// A shard's ops.
    type Ops: DerefMut<Target = [Op]>;
    /// A histogram's buckets: [`super::histogram::BUCKETS`] of them.
    type Buckets: DerefMut<Target = [u32]>;
    /// The cluster's servers: one for each slot.
    type Peers: DerefMut<Target = [Peer]>;
    /// Copies that servers are to free.
    type Stale: DerefMut<Target = [StaleCopy]>;
    /// The mirror's buffers: one for each page of its pool.
    type Buffers: DerefMut<Target = [Buffer]>;
    /// Heads of the mirror's hash by page: any number, best the number of buffers.
    type Heads: DerefMut<Target = [Head]>;
    /// The mirror's I/Os: one for each that may be under way.
    type Ios: DerefMut<Target = [Io]>;
}

/// Memory for tests: `Vec`s.
#[cfg(test)]
pub mod heap {
    use std::vec::Vec;

    use super::*;

    /// All tables are `Vec`s.
    pub struct Heap;

    impl Storage for Heap {
        type Words = Vec<Atomic<u32>>;
        type Ops = Vec<Op>;
        type Buckets = Vec<u32>;
        type Peers = Vec<Peer>;
        type Stale = Vec<StaleCopy>;
        type Buffers = Vec<Buffer>;
        type Heads = Vec<Head>;
        type Ios = Vec<Io>;
    }

    /// `count` zeros.
    pub fn words(count: usize) -> Vec<Atomic<u32>> {
        (0..count).map(|_| Atomic::<u32>::new(0)).collect()
    }
}
