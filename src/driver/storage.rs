// SPDX-License-Identifier: GPL-2.0

//! The engine's memory in the kernel, allocated when the module is loaded or a disk is attached.

use kernel::{
    alloc::{
        Allocator,
        Vec, //
    },
    prelude::*, //
};

use crate::{
    engine::client::{
        cluster::Peer,
        mirror::{
            Buffer,
            Head,
            Io, //
        },
        shard::Op,
        stale_copy::StaleCopy,
        storage::Storage, //
    },
    linux::mm::alloc::{
        Table,
        MAY_FAIL, //
    },
    sync::Atomic, //
};

/// The types of the client's tables.
pub(crate) struct KernelStorage;

impl Storage for KernelStorage {
    type Words = Table<Atomic<u32>>;
    type Ops = KVVec<Op>;
    type Buckets = KVec<u32>;
    type Peers = KVVec<Peer>;
    type Stale = KVVec<StaleCopy>;
    type Buffers = KVVec<Buffer>;
    type Heads = KVVec<Head>;
    type Ios = KVVec<Io>;
}

/// A vector of `len` values that `make` returns. Fails rather than have programs killed. Sleeps.
pub(crate) fn make_vec<T, A: Allocator>(
    len: usize,
    mut make: impl FnMut() -> Result<T>,
) -> Result<Vec<T, A>> {
    let mut vec = Vec::with_capacity(len, MAY_FAIL)?;
    for _ in 0..len {
        vec.push(make()?, MAY_FAIL)?;
    }
    Ok(vec)
}
