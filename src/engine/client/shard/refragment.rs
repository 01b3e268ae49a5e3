// SPDX-License-Identifier: GPL-2.0

//! Restarts a transfer with fragments of another length when the path MTU has changed. Which length:
//! `cluster/path_mtu.rs`.

use super::super::ids::ServerSlot;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::ops::TransferId;
use super::Shard;

impl<S: Storage> Shard<S> {
    /// Restarts the transfer if its fragments are longer than the path MTU now allows.
    pub(super) fn cut_smaller(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        let transfer = &self.ops[id];
        let cut = device.servers.fragmentation(transfer.slot);
        if transfer.is_asked() && cut.count() > transfer.cut.count() {
            self.refragment(now_ns, id, device);
        }
    }

    /// Restarts the transfer, if it is still for this server, with fragments of the right length.
    /// Its tries and start time are kept, because the length may change repeatedly.
    pub(super) fn cut_again(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &SwapDevice<S>,
    ) {
        let cut = device.servers.fragmentation(slot);
        let before = self.ops[id];
        if !before.is_asked() || before.slot != slot || before.cut == cut {
            return;
        }
        self.refragment(now_ns, id, device);
        let transfer = &mut self.ops[id];
        (transfer.tries, transfer.began_ns) = (before.tries, before.began_ns);
    }

    /// Restarts the transfer with fragments of the right length.
    fn refragment(&mut self, now_ns: u64, id: TransferId, device: &SwapDevice<S>) {
        self.release(id);
        self.start_transfer(now_ns, id, self.ops[id].slot, device);
    }
}
