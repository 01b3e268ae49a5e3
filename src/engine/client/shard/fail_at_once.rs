// SPDX-License-Identifier: GPL-2.0

//! Whether a request that can ask no server or disk now waits, or fails at once: a page-in whose sources are
//! all silent or lost, and a page-out with too few copies.
//!
//! How long servers and the disk have been silent: `cluster/silence.rs` and `mirror/disk_timeout.rs`.
//! Whether servers have room: `no_room.rs`. With which copies a page-out may end: `page_out_end.rs`.

use super::super::ids::SlotSet;
use super::super::page_map::Entry;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome};
use super::ops::OpId;
use super::{Shard, SAFETY_NET_NS};

/// How long a background page-in waits for a mirror buffer.
const BUFFER_WAIT_NS: u64 = 200_000_000;

/// Whether the page is on a disk that is being detached. If a server that holds the page is lost
/// meanwhile, detaching is cancelled, and the page can be read again.
fn may_be_on_disk_again<S: Storage>(entry: Entry, device: &SwapDevice<S>) -> bool {
    let state = device.disk.load();
    entry.is_on_disk() && !state.is_attached() && state.may_return()
}

impl<S: Storage> Shard<S> {
    /// Ends the op if it waits in vain. Returns whether it does.
    pub(super) fn end_if_in_vain(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> bool {
        let is_in_vain = self.is_in_vain(now_ns, index, device);
        if is_in_vain {
            self.give_up(index, device);
        }
        is_in_vain
    }

    /// Whether a page-in has nothing left to wait for: all holders of the page have been silent for
    /// the I/O timeout, before it began or since.
    fn is_in_vain(&self, now_ns: u64, index: OpId, device: &SwapDevice<S>) -> bool {
        let op = &self.ops[index];
        let state = device.disk.load();
        let is_reading = op.disk.is_in_hand() || op.disk.is_reading() && !state.is_given_up();
        if op.kind != Kind::PageIn || is_reading || op.claimed {
            return false;
        }
        let entry = device.map.load(op.page);
        if entry.is_busy() || !entry.is_written() || entry.generation() != op.generation {
            // The op reads the new entry soon.
            return false;
        }
        let may_read =
            entry.is_on_disk() && state.is_attached() && !state.is_given_up() && !op.disk.failed();
        let holders = entry
            .replicas()
            .intersection(device.servers.valid())
            .without(op.tried)
            .union(op.targets());
        let given_up = device.servers.given_up();
        let io_timeout_ns = device.io_timeout_ns();
        // A shard may have received a frame of which the cluster does not know yet.
        let is_silent = |slot| {
            let heard_ns = self.paths[slot].heard_ns;
            let is_heard = heard_ns != 0 && now_ns.saturating_sub(heard_ns) < io_timeout_ns;
            given_up.contains(slot) && !is_heard
        };
        !may_read && !may_be_on_disk_again(entry, device) && holders.iter().all(is_silent)
    }

    /// A page-in has no source that answers now. `holders` may still have its page. It is not to be read from
    /// the disk at all if `lacks_disk`. It waits, unless every copy is known to be lost, or all sources have
    /// been silent for the I/O timeout.
    pub(super) fn wait_or_fail_page_in(
        &mut self,
        now_ns: u64,
        index: OpId,
        entry: Entry,
        holders: SlotSet,
        lacks_disk: bool,
        device: &SwapDevice<S>,
    ) {
        let is_lost = lacks_disk && holders.is_empty() && !may_be_on_disk_again(entry, device);
        let op = &self.ops[index];
        // The mirror may only lack a free buffer. Searches for pages take longer than this wait.
        let buffer_ns = op.started_ns.saturating_add(BUFFER_WAIT_NS);
        let waits = !op.is_background || op.disk.is_put_off() && now_ns < buffer_ns;
        if is_lost || !waits || self.is_in_vain(now_ns, index, device) {
            self.end(index, Outcome::Failed);
        } else if self.ops[index].is_background {
            self.stall(index, buffer_ns);
        } else {
            self.count_stalled(index);
            self.stall(index, now_ns.saturating_add(SAFETY_NET_NS));
        }
    }

    /// A page-out has too few copies, and no other server can be asked now. It waits, unless too few
    /// servers can be expected, or no server has room. `on_disk`: whether the disk has the page.
    pub(super) fn wait_or_fail_page_out(
        &mut self,
        now_ns: u64,
        index: OpId,
        on_disk: bool,
        device: &SwapDevice<S>,
    ) {
        let may_take = on_disk || device.disk.load().may_return();
        let expected = device
            .servers
            .expected()
            .saturating_add(usize::from(may_take));
        if expected < device.min_copies() {
            self.fail_page_out(index, Outcome::Failed, device);
        } else if self.fails_for_room(now_ns, index, device) {
            self.counters.pages_out_no_space = self.counters.pages_out_no_space.wrapping_add(1);
            self.fail_page_out(index, Outcome::NoSpace, device);
        } else {
            self.count_stalled(index);
            self.wait_for_more(now_ns, index);
        }
    }
}
