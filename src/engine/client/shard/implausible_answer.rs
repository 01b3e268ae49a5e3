// SPDX-License-Identifier: GPL-2.0

//! Answers that report impossible versions: they do not count, and their server is suspected.
//!
//! The rules: `docs/protocol.md`, "High water".

use super::super::ids::Version;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::super::versions::Reporter;
use super::ops::TransferId;
use super::Shard;
use crate::wire::Header;

impl<S: Storage> Shard<S> {
    /// A server reports which versions have been used. If they are impossible, leaves the server.
    /// Returns whether it did.
    #[inline]
    pub(super) fn leave_if_implausible(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        device: &SwapDevice<S>,
    ) -> bool {
        let (slot, incarnation) = (self.ops[id].slot, header.incarnation);
        let was_usable = device.servers.usable().contains(slot);
        let reporter = Reporter { slot, incarnation };
        if device.note_high_water(reporter, Version(header.low_water)) {
            return false;
        }
        self.suspicion |= was_usable;
        self.leave_server(now_ns, id, slot, device);
        true
    }
}
