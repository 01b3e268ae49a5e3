// SPDX-License-Identifier: GPL-2.0

//! The way from a shard to the local disk.

use super::mirror::Mirror;
use super::storage::Storage;

/// Calls the mirror for a shard.
///
/// A shard calls it while its own lock is held, so an answer of the mirror cannot arrive before the
/// shard expects it. The mirror's lock is taken inside the shard's, for one call.
pub trait DiskPort<S: Storage> {
    /// Calls the mirror under its lock. Returns `None` if there is no mirror, because no disk has ever
    /// been attached.
    fn call<R>(&mut self, call: impl FnOnce(&mut Mirror<S>) -> R) -> Option<R>;
}

/// A mirror that the caller owns, or none.
impl<S: Storage> DiskPort<S> for Option<&mut Mirror<S>> {
    fn call<R>(&mut self, call: impl FnOnce(&mut Mirror<S>) -> R) -> Option<R> {
        self.as_deref_mut().map(call)
    }
}
