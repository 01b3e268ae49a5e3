// SPDX-License-Identifier: GPL-2.0

//! When a request fails instead of waiting: at the I/O timeout, or earlier if nothing can be expected to
//! help it.
//!
//! How long servers and the disk have been silent: `cluster/silence.rs` and `mirror/disk_timeout.rs`.
//! With which copies a page-out may end: `page_out_end.rs`.

use super::super::ids::SlotSet;
use super::super::page_map::Entry;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::op::{Kind, Outcome, Stage};
use super::ops::OpId;
use super::{Shard, SAFETY_NET_NS};

/// How often all ops are checked: no notification comes when the I/O timeout is shortened. Several
/// times within the shortest I/O timeout.
const CHECK_NS: u64 = 125_000_000;

/// How long a background page-in waits for a mirror buffer.
const BUFFER_WAIT_NS: u64 = 200_000_000;

/// How long a page-out for which no server has room waits for servers to free pages.
const FREED_WAIT_NS: u64 = 1_000_000_000;

/// Whether the page is on a disk that is being detached. If a server that holds the page is lost
/// meanwhile, detaching is cancelled, and the page can be read again.
fn may_be_on_disk_again<S: Storage>(entry: Entry, device: &SwapDevice<S>) -> bool {
    let state = device.disk.load();
    entry.is_on_disk() && !state.is_attached() && state.may_return()
}

impl<S: Storage> Shard<S> {
    /// A request has begun that must end within the I/O timeout.
    pub(super) fn note_begun(&mut self, now_ns: u64, io_timeout_ns: u64) {
        self.note_deadline(now_ns.saturating_add(io_timeout_ns.min(CHECK_NS)));
    }

    /// Ends the op if it has waited for the I/O timeout, or lets it read the disk at last. Returns whether it
    /// has waited that long.
    pub(super) fn end_if_timed_out(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> bool {
        // Applies the I/O timeout as it is now, also to requests that began under a longer one.
        let waits_from_ns = self.ops[index].waits_from_ns;
        let end_ns = waits_from_ns.saturating_add(device.io_timeout_ns());
        if now_ns < end_ns || mutated!(IoTimeoutIgnored) {
            self.note_deadline(end_ns.min(now_ns.saturating_add(CHECK_NS)));
            return false;
        }
        match self.ask_disk_at_last(index, device) {
            true => self.wait_for_disk(now_ns, index, device),
            false => self.give_up(index, device),
        }
        true
    }

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

    /// The I/O timeout has passed, or every copy is known to be lost.
    pub(super) fn give_up(&mut self, index: OpId, device: &SwapDevice<S>) {
        let op = &mut self.ops[index];
        if op.stage == Stage::Parked {
            device.unpark();
        }
        match op.kind {
            Kind::PageOut => self.complete_or_fail(index, device),
            Kind::PageIn | Kind::Copy | Kind::Mirror => self.end(index, Outcome::Failed),
        }
    }

    /// A page-in that has timed out has asked the disk, which has [`CHECK_NS`] to answer. So the I/O timeout
    /// is exceeded by no more than that.
    fn wait_for_disk(&mut self, now_ns: u64, index: OpId, device: &SwapDevice<S>) {
        self.ops[index].waits_from_ns = now_ns
            .saturating_add(CHECK_NS)
            .saturating_sub(device.io_timeout_ns());
        self.note_deadline(now_ns.saturating_add(CHECK_NS));
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
        } else if self.has_no_room(index, device)
            && (!device.is_freeing() || self.room_wait_ns(now_ns, index) >= FREED_WAIT_NS)
        {
            self.counters.pages_out_no_space = self.counters.pages_out_no_space.wrapping_add(1);
            self.fail_page_out(index, Outcome::NoSpace, device);
        } else {
            self.count_stalled(index);
            self.wait_for_more(now_ns, index);
        }
    }

    /// Whether every server that answers and does not hold the page has no room, and no server or disk that
    /// may have room is only temporarily out of reach.
    fn has_no_room(&self, index: OpId, device: &SwapDevice<S>) -> bool {
        let op = &self.ops[index];
        // A holder of an older version has room for this one, unless it has lost that version.
        let holders = op.begun.map_or(SlotSet::EMPTY, |entry| entry.replicas());
        let full = device.servers.full().without(holders).union(op.refused);
        let usable = device.servers.usable();
        let others = usable
            .without(device.servers.quiescing())
            .without(op.targets());
        if others.is_empty() || !others.without(full).is_empty() {
            return false;
        }
        let awaited = device.servers.awaited(usable, full.union(op.targets()));
        awaited.is_empty() && !device.disk.load().may_return()
    }

    /// Servers are freeing pages: for how long the page-out has waited for them, from its first call on. The
    /// wait is limited because other page-outs may take each page that is freed, again and again.
    fn room_wait_ns(&mut self, now_ns: u64, index: OpId) -> u64 {
        let since_ns = self.ops[index].waits_for_room_ns.get_or_insert(now_ns);
        now_ns.saturating_sub(*since_ns)
    }

    /// The client was stopped for this long, so no answer could arrive. Ops that began since,
    /// before this timer ran, have not waited at all.
    pub(super) fn postpone_io_timeout(&mut self, now_ns: u64, stopped_ns: u64) {
        let mut walk = self.walk();
        while let Some(index) = walk.next(&self.ops) {
            let op = &mut self.ops[index];
            let put_off_ns = op.waits_from_ns.saturating_add(stopped_ns);
            op.waits_from_ns = put_off_ns.min(now_ns);
        }
    }
}
