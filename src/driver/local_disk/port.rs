// SPDX-License-Identifier: GPL-2.0

//! A queue's way to the pool: calls of the mirror, and copies between its pages and requests'.
//!
//! The mirror is called under the queue's lock, pages are copied without any lock.

use super::Pool;
use crate::{
    driver::{
        shared::Shared,
        storage::KernelStorage, //
    },
    engine::client::{
        disk_port::DiskPort,
        mirror::Mirror,
        shard::{
            BufferFill,
            BufferRead, //
        },
    },
    linux::block::{
        Block,
        BlockWriter, //
    }, //
};

/// The shards' way to the mirror of the client's pool.
pub(crate) struct LocalPort<'a>(pub(crate) &'a Shared);

impl DiskPort<KernelStorage> for LocalPort<'_> {
    fn call<R>(&mut self, call: impl FnOnce(&mut Mirror<KernelStorage>) -> R) -> Option<R> {
        let pool = self.0.local.pool()?;
        Some(pool.with(self.0, |state, _| call(&mut state.mirror)))
    }
}

impl Pool {
    /// Copies a block, or the value that fills it, to the mirror's buffer. Returns the copy's checksum.
    pub(crate) fn fill(&self, fill: &BufferFill, block: Block<'_>) -> Option<u32> {
        let page = self.pages.get(fill.buffer.index())?;
        if let Some(value) = fill.fill {
            page.writer().fill(value);
            return fill.crc;
        }
        page.copy_from(&block);
        Some(page.block().crc32c())
    }

    /// Copies the mirror's buffer to a block. Returns the block's checksum if `read` asks for it.
    pub(crate) fn read(&self, read: &BufferRead, block: &BlockWriter<'_>) -> (bool, Option<u32>) {
        let Some(page) = self.pages.get(read.buffer.index()) else {
            return (false, None);
        };
        page.copy_to(block);
        (true, read.wants_crc.then(|| block.crc32c()))
    }
}
