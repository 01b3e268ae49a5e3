// SPDX-License-Identifier: GPL-2.0

//! Whether an answer is believed, by what it reports of the versions that have been used.
//!
//! The rules: `docs/protocol.md`, "High water".

use super::super::ids::Version;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::super::versions::Witness;
use super::ops::TransferId;
use super::Shard;
use crate::wire::Header;

impl<S: Storage> Shard<S> {
    /// A server reports which versions have been used. An answer that is not believed does not
    /// count, and its transfer moves to another server.
    #[inline]
    pub(super) fn check_high_water(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        device: &SwapDevice<S>,
    ) -> bool {
        let (slot, incarnation) = (self.ops[id].slot, header.incarnation);
        let was_usable = device.servers.usable().contains(slot);
        let witness = Witness { slot, incarnation };
        if device.note_high_water(witness, Version(header.low_water)) {
            return true;
        }
        self.suspicion |= was_usable;
        self.leave_server(now_ns, id, slot, device);
        false
    }
}
