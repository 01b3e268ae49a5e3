// SPDX-License-Identifier: GPL-2.0

//! Page-outs: a copy each to the least utilised servers, complete when all have it whole.

use super::super::device::Device;
use super::super::free::StaleCopy;
use super::super::ids::{PageIndex, ServerSlot, SlotSet, Version, MAX_REPLICAS};
use super::super::placement;
use super::super::storage::Storage;
use super::disk_page_out::DiskVerdict;
use super::list::TransferId;
use super::op::{Kind, Op, Outcome, Stage, Transfer, TransferStage};
use super::{OpInUse, Send, Shard};
use crate::wire::{FragmentMask, Header, Status};

/// Answers in a row without a fragment more than before, after which what is missing is sent again
/// only when its time is out.
pub(super) const MOST_IN_VAIN: u32 = 8;

/// How often in a row a page may come damaged at a server before that is not the way's fault.
pub(super) const MOST_DAMAGED: u32 = 3;

/// How often a page may change under us before its page-out is an error.
const MAX_CHANGES: u32 = 16;

/// How long a page-out that was refused waits for servers to free pages.
const ROOM_NS: u64 = 1_000_000_000;

impl<S: Storage> Shard<S> {
    /// Begins a page-out. `fill` is the value that fills the whole page, if one does; `crc` is
    /// CRC32C of the page, or of those 8 bytes, big-endian. The page must stay where it is until
    /// the completion.
    pub fn start_page_out(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        fill: Option<u64>,
        crc: u32,
        device: &Device<S>,
    ) -> Result<(), OpInUse> {
        let op = self.claim_op(now_ns, index, Kind::PageOut, page)?;
        op.fill = fill;
        op.crc = crc;
        self.note_begun(now_ns, device.io_timeout_ns());
        self.link_active(index);
        self.begin_page_out(now_ns, index, device);
        Ok(())
    }

    /// Makes a free op one of `kind` for `page`.
    pub(super) fn claim_op(
        &mut self,
        now_ns: u64,
        index: usize,
        kind: Kind,
        page: PageIndex,
    ) -> Result<&mut Op, OpInUse> {
        let op = self.ops.get_mut(index).ok_or(OpInUse)?;
        if op.stage != Stage::Free {
            return Err(OpInUse);
        }
        op.kind = kind;
        op.is_background = false;
        op.stage = Stage::Stalled;
        op.page = page;
        op.version = Version::default();
        op.begun = None;
        op.fill = None;
        op.started_ns = now_ns;
        op.waits_from_ns = now_ns;
        op.pins = 0;
        op.ends_when_sent = false;
        op.claimed = false;
        op.restarts = 0;
        op.renewals = 0;
        op.tried = SlotSet::EMPTY;
        op.sent_to = SlotSet::EMPTY;
        op.refused = SlotSet::EMPTY;
        op.waits_for_room_ns = None;
        op.counted_stalled = false;
        op.hedge_ns = u64::MAX;
        op.hedge = None;
        op.assembly = None;
        op.wake = false;
        op.disk.renew();
        Ok(op)
    }

    /// Waits for the page to be no longer written, unless it is already.
    pub(super) fn park(&mut self, now_ns: u64, index: usize, device: &Device<S>) -> bool {
        let Some(op) = self.ops.get_mut(index) else {
            return false;
        };
        device.park();
        if !device.map.load(op.page).is_busy() {
            device.unpark();
            return false;
        }
        op.stage = Stage::Parked;
        // Whoever had not the page, may have it after that; its generation may be the same.
        op.tried = SlotSet::EMPTY;
        self.counters.parked = self.counters.parked.wrapping_add(1);
        self.note_deadline(now_ns.saturating_add(super::SAFETY_NET_NS));
        true
    }

    pub(super) fn begin_page_out(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        let Some(op) = self.ops.get(index) else {
            return;
        };
        let page = op.page;
        if page.0 as usize >= device.map.len() {
            self.end(index, Outcome::Failed);
            return;
        }
        while self.ops.get(index).is_some_and(|op| op.begun.is_none()) {
            match device.map.begin_write(page) {
                Ok(entry) => {
                    // A copy that is not cancelled has a lower version than this page-out.
                    device.copies.cancel(page);
                    // The version comes after the page's lock, so that versions of a page rise.
                    let version = device.take_version();
                    if let Some(op) = self.ops.get_mut(index) {
                        op.begun = Some(entry);
                        op.version = version;
                    }
                    self.begin_put(index, device);
                }
                Err(_) => {
                    if self.park(now_ns, index, device) {
                        return;
                    }
                }
            }
        }
        self.continue_page_out(now_ns, index, device);
    }

    /// Fills up the transfers, and ends the op if nothing more can be done for it.
    pub(super) fn continue_page_out(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        for transfer in 0..device.replicas().min(MAX_REPLICAS) {
            let id = TransferId {
                op: index,
                transfer,
            };
            self.release_if_invalid(id, device);
            let Some(op) = self.ops.get_mut(index) else {
                return;
            };
            if op.transfers.get(transfer).map(|transfer| transfer.stage)
                != Some(TransferStage::Idle)
            {
                continue;
            }
            op.stage = Stage::Active;
            let Some(slot) = self.place(index, device) else {
                break;
            };
            self.start_page_out_transfer(now_ns, id, slot, device);
        }
        self.finish_if_done(now_ns, index, device);
    }

    /// Chooses a server for another copy of the op's page.
    fn place(&mut self, index: usize, device: &Device<S>) -> Option<ServerSlot> {
        let op = self.ops.get(index)?;
        let holders = op.begun.map_or(SlotSet::EMPTY, |entry| entry.replicas());
        // A full server still takes a newer version of a page that it holds.
        let full = device.servers.full().without(holders);
        let candidates = device
            .servers
            .usable()
            .without(device.servers.quiescing())
            .without(full)
            .without(op.targets())
            .without(op.tried);
        // Only where the page-out could not end otherwise, on a server that is to be removed.
        let draining = device.servers.draining();
        let staying = candidates.without(draining);
        let must = op.targets().without(draining).len() < device.min_copies();
        let candidates = match staying.is_empty() && must {
            true => candidates,
            false => staying,
        };
        let candidates = match mutated!(TwoCopiesOnOneServer) {
            true => device.servers.usable(),
            false => candidates,
        };
        let paths = &mut self.paths;
        placement::least_utilised(candidates, holders, |slot| {
            let load = device.servers.load(slot);
            paths.get_mut(slot.index()).map_or(u64::MAX, |path| {
                path.placed.utilisation(load, device.shards())
            })
        })
    }

    fn start_page_out_transfer(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &Device<S>,
    ) {
        let Some(op) = self.ops.get_mut(id.op) else {
            return;
        };
        op.tried.insert(slot);
        op.sent_to.insert(slot);
        // Once it has been sent the newer version, it may hold either.
        if op
            .begun
            .is_some_and(|entry| entry.replicas().contains(slot))
            && !mutated!(StaleReplicaKept)
        {
            device.map.forget(op.page, SlotSet::one(slot));
        }
        self.path_mut(slot).placed.add(device.servers.load(slot));
        self.start_transfer(now_ns, id, slot, device);
    }

    /// The server of a page that it has taken says how full it is.
    fn note_utilisation(&mut self, id: TransferId, utilisation: u16, device: &Device<S>) {
        if let Some(slot) = self.transfer_mut(id).and_then(|transfer| transfer.slot) {
            let load = device.servers.load(slot);
            self.path_mut(slot).placed.acknowledged(load, utilisation);
        }
    }

    pub(super) fn handle_write_ack(
        &mut self,
        now_ns: u64,
        index: usize,
        transfer: usize,
        header: &Header,
        device: &Device<S>,
    ) {
        let id = TransferId {
            op: index,
            transfer,
        };
        if header.status == Status::Ok {
            self.note_utilisation(id, header.utilisation, device);
        }
        if self.ops.get(index).is_some_and(|op| op.kind == Kind::Copy) {
            self.handle_copy_ack(now_ns, id, header, device);
            return;
        }
        match header.status {
            Status::Ok => {
                self.note_success(now_ns, id, header.attempt);
                if let Some(transfer) = self.transfer_mut(id) {
                    transfer.stage = TransferStage::Acknowledged;
                }
                self.leave_window(id);
                let is_enough = mutated!(AckBeforeSecondCopy);
                if is_enough || self.ops.get(index).is_some_and(|op| !op.is_waiting()) {
                    // Not the end yet, if a copy has been lost or a server has come meanwhile.
                    self.continue_page_out(now_ns, index, device);
                }
            }
            Status::Incomplete => self.handle_gap(now_ns, id, header, device),
            Status::Corrupt => self.handle_damage(now_ns, id, device),
            Status::NoSpace | Status::Quota => {
                self.counters.no_space = self.counters.no_space.wrapping_add(1);
                if let Some(slot) = self.transfer_mut(id).and_then(|transfer| transfer.slot) {
                    device.servers.set_full(slot);
                    if let Some(op) = self.ops.get_mut(index) {
                        op.refused.insert(slot);
                    }
                }
                self.release(id);
                self.continue_page_out(now_ns, index, device);
            }
            Status::Stale if self.renew_once_more(now_ns, index, device) => {}
            // It holds a newer version than the newest there is, or is out of its mind.
            _ => {
                self.release(id);
                self.continue_page_out(now_ns, index, device);
            }
        }
    }

    /// A later fragment came, an earlier one did not: send what is missing below. Or the server had
    /// no room for what it held before, too many pages being half there: send all of it, when the
    /// window, which closes, has room again.
    ///
    /// One that says so again and again and never has more than before, is sent to as if it did not
    /// answer, and suspected.
    pub(super) fn handle_gap(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        device: &Device<S>,
    ) {
        let Some(transfer) = self.transfer_mut(id) else {
            return;
        };
        if transfer.is_progress(header.fragment_mask) {
            if !transfer.was_damaged {
                transfer.tries = 0;
            }
        } else if transfer.in_vain > MOST_IN_VAIN {
            self.give_up_on(now_ns, id, device);
            return;
        }
        let Some(transfer) = self.transfer_mut(id) else {
            return;
        };
        if transfer.stage != TransferStage::Sent || header.attempt != transfer.attempt {
            transfer.held = transfer.held.union(header.fragment_mask);
            return;
        }
        let (Some(slot), Some(cut)) = (transfer.slot, transfer.cut) else {
            return;
        };
        let dropped = !transfer.held.without(header.fragment_mask).is_empty();
        transfer.held = header.fragment_mask;
        let held = header.fragment_mask.bits();
        // CAST: below 256; the mask of all below the highest that is held.
        let below_highest = (1_u32 << (u8::BITS - held.leading_zeros())).wrapping_sub(1) as u8;
        let gap = FragmentMask::from_bits(below_highest & !held);
        if gap.is_empty() && !dropped {
            return;
        }
        if dropped {
            let path = self.path_mut(slot);
            path.window.on_loss(now_ns, path.rtt.smoothed_ns());
            self.leave_window(id);
            self.resend(id, cut.all());
        } else {
            self.resend(id, gap);
        }
    }

    /// The page has come damaged at a server. One where it does so again and again is left, however well it
    /// answers others.
    pub(super) fn handle_damage(&mut self, now_ns: u64, id: TransferId, device: &Device<S>) {
        self.counters.corrupt_out = self.counters.corrupt_out.wrapping_add(1);
        self.resend_damaged(id);
        let Some(transfer) = self.transfer_mut(id) else {
            return;
        };
        if !transfer.is_progress(FragmentMask::EMPTY) && transfer.in_vain > MOST_DAMAGED {
            self.give_up_on(now_ns, id, device);
        }
    }

    /// The server answers, and never has the page: once it has had as long as one that is silent,
    /// others are asked.
    pub(super) fn give_up_on(&mut self, now_ns: u64, id: TransferId, device: &Device<S>) {
        let Some(transfer) = self.transfer_mut(id).copied() else {
            return;
        };
        let Some(slot) = transfer.slot else {
            return;
        };
        let since_ns = now_ns.saturating_sub(transfer.began_ns);
        if since_ns < self.path(slot).suspect_after_ns(device.io_timeout_ns()) {
            return;
        }
        self.leave(now_ns, id, slot, device);
    }

    /// Nothing is to be had of this server, whatever it answers: it is suspected, and others are asked.
    pub(super) fn leave(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &Device<S>,
    ) {
        self.suspect(slot, device);
        self.path_mut(slot).overdue = true;
        match self.ops.get(id.op).map(|op| op.kind) {
            Some(Kind::PageOut) => {
                self.want_disk(id.op, device);
                self.release(id);
                self.counters.failovers = self.counters.failovers.wrapping_add(1);
                self.continue_page_out(now_ns, id.op, device);
            }
            Some(Kind::Copy) => self.end(id.op, Outcome::Failed),
            // It asks others when its time is out, or does so anyway.
            Some(Kind::PageIn | Kind::Mirror) | None => {}
        }
    }

    /// The page was found changed since its checksum was computed: all copies must be of one
    /// version, so the page-out begins anew with the next one.
    pub fn page_changed(&mut self, now_ns: u64, send: &Send, crc: u32, device: &Device<S>) {
        let index = send.id.op;
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        if op.stage != Stage::Active
            || op.kind != Kind::PageOut
            || op.version.0 != send.header.version
        {
            return;
        }
        self.restart_page_out(now_ns, index, crc, device);
    }

    /// Begins the page-out anew, with the next version, for the page now has another checksum.
    pub(super) fn restart_page_out(
        &mut self,
        now_ns: u64,
        index: usize,
        crc: u32,
        device: &Device<S>,
    ) {
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        self.counters.pages_changed = self.counters.pages_changed.wrapping_add(1);
        op.restarts = op.restarts.saturating_add(1);
        if op.restarts > MAX_CHANGES {
            if !self.end_after_put(index) {
                self.fail_page_out(index, Outcome::Failed, device);
            }
            return;
        }
        op.crc = crc;
        if mutated!(ChangedPageSameVersion) {
            let version = op.version;
            self.renew(now_ns, index, version, device);
            return;
        }
        self.renew(now_ns, index, device.take_version(), device);
    }

    pub(super) fn page_out_timed_out(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &Device<S>,
    ) {
        self.want_disk(id.op, device);
        if device.servers.usable().contains(slot) {
            self.resend_missing(id);
            return;
        }
        self.release(id);
        self.counters.failovers = self.counters.failovers.wrapping_add(1);
        self.continue_page_out(now_ns, id.op, device);
    }

    /// Ends the op if every transfer is answered and there are enough copies. While something of it is
    /// being sent it could not complete, and an acknowledgement counts only if its server is still the
    /// same when it does: [`Shard::sent`] looks again.
    fn finish_if_done(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        let is_acknowledged = |one: &Transfer| one.stage == TransferStage::Acknowledged;
        let is_waiting = op.is_waiting()
            && !(mutated!(AckBeforeSecondCopy) && op.transfers.iter().any(is_acknowledged));
        if !matches!(op.stage, Stage::Active | Stage::Stalled) || is_waiting {
            return;
        }
        op.ends_when_sent = op.pins != 0;
        if op.ends_when_sent {
            return;
        }
        let (copies, version) = (Self::acknowledged(op, device), op.version);
        let is_short = copies.len() < device.replicas();
        match self.judge_disk(index, is_short, device) {
            DiskVerdict::InHand => {}
            DiskVerdict::Wait => self.wait_for_more(now_ns, index),
            DiskVerdict::Go(on_disk) => {
                let held = copies.len().saturating_add(usize::from(on_disk));
                if held < device.min_copies() && !mutated!(MinCopiesIgnored) {
                    self.wait_or_fail(now_ns, index, on_disk, device);
                } else if device.versions().enter(self.number, version) {
                    self.finish(index, copies, on_disk, device);
                } else {
                    // As often as the counter jumps, which no server can make it for ever.
                    self.counters.versions_renewed = self.counters.versions_renewed.wrapping_add(1);
                    self.renew(now_ns, index, device.take_version(), device);
                }
            }
        }
    }

    /// Looks again at a page-out that could not end because something of it was being sent.
    pub(super) fn end_if_sent(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        if op.pins == 0 && core::mem::take(&mut op.ends_when_sent) {
            self.advance_page_out(now_ns, index, device);
        }
    }

    /// The servers that hold the op's page.
    fn acknowledged(op: &Op, device: &Device<S>) -> SlotSet {
        let mut copies = SlotSet::EMPTY;
        for transfer in &op.transfers {
            if let (TransferStage::Acknowledged, Some(slot)) = (transfer.stage, transfer.slot) {
                // A server that has restarted since holds nothing (docs/protocol.md, "Restart of a
                // server"). A quiescing server may be gone before the page is read.
                let is_there = device.servers.is_current(slot, transfer.incarnation)
                    && !device.servers.quiescing().contains(slot);
                if is_there || mutated!(IncarnationUnchecked) {
                    copies.insert(slot);
                }
            }
        }
        copies
    }

    /// The I/O timeout is out: what there is has to do, or the page-out fails.
    pub(super) fn finish_at_last(&mut self, index: usize, device: &Device<S>) {
        if self.end_after_put(index) {
            return;
        }
        let Some(op) = self.ops.get(index) else {
            return;
        };
        let copies = Self::acknowledged(op, device);
        let on_disk = op.disk.is_written() && device.disk.load().is_attached();
        let is_enough = op.begun.is_some()
            && copies.len().saturating_add(usize::from(on_disk)) >= device.min_copies()
            && self.disk_knows(index, device)
            && device.versions().enter(self.number, op.version);
        match is_enough {
            true => self.finish(index, copies, on_disk, device),
            false => self.fail_page_out(index, Outcome::Failed, device),
        }
    }

    /// The page-out is complete.
    fn finish(&mut self, index: usize, copies: SlotSet, on_disk: bool, device: &Device<S>) {
        let Some(op) = self.ops.get(index) else {
            return;
        };
        let (page, version, begun) = (op.page, op.version, op.begun.unwrap_or_default());
        let old = begun.replicas().union(op.sent_to).without(copies);
        let freed = device
            .map
            .finish_write(page, begun, version, copies, on_disk);
        let counters = &mut self.counters;
        // CAST: three at the most.
        counters.copies_out = counters.copies_out.wrapping_add(copies.len() as u64);
        if copies.intersection(device.servers.counting()).len() < device.replicas() {
            counters.pages_out_degraded = counters.pages_out_degraded.wrapping_add(1);
            device.note_degraded(page);
        }
        if on_disk {
            counters.local_out = counters.local_out.wrapping_add(1);
        } else if !op.disk.is_put(version) && device.disk.load().is_wanted() {
            // Else the mirror sees to it. Looked at after the map was changed: a disk that is
            // attached meanwhile is brought up to date with whatever the map says then.
            device.mark_out_of_sync(page);
        }
        if op.fill.is_some() {
            counters.same_filled_out = counters.same_filled_out.wrapping_add(1);
        }
        self.note_stale(index, old, freed, device);
        self.wake(index, device);
        self.end(index, Outcome::Done);
    }

    /// Too few have the page, and nobody else can be asked now: waits for somebody who can, unless
    /// that is in vain.
    fn wait_or_fail(&mut self, now_ns: u64, index: usize, on_disk: bool, device: &Device<S>) {
        let may_take = on_disk || device.disk.load().may_return();
        let hoped = device.servers.hoped().saturating_add(usize::from(may_take));
        if hoped < device.min_copies() {
            self.fail_page_out(index, Outcome::Failed, device);
        } else if self.is_refused(now_ns, index, device) {
            self.counters.pages_out_no_space = self.counters.pages_out_no_space.wrapping_add(1);
            self.fail_page_out(index, Outcome::NoSpace, device);
        } else {
            self.count_stalled(index);
            self.wait_for_more(now_ns, index);
        }
    }

    /// Whether every server that answers, and has not the page, has no room for it, and will not have
    /// soon, and nobody is out of reach only for now who might have some.
    fn is_refused(&mut self, now_ns: u64, index: usize, device: &Device<S>) -> bool {
        let Some(op) = self.ops.get_mut(index) else {
            return false;
        };
        // Who holds an older version has room for this one, but may have lost that.
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
        let may_come = !awaited.is_empty();
        if may_come || device.disk.load().may_return() {
            return false;
        }
        if !device.is_freeing() {
            return true;
        }
        // What is freed others may take, again and again.
        let since_ns = *op.waits_for_room_ns.get_or_insert(now_ns);
        now_ns.saturating_sub(since_ns) >= ROOM_NS
    }

    /// Too few servers: wait for one, or for the disk. What was acknowledged stays so.
    fn wait_for_more(&mut self, now_ns: u64, index: usize) {
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        // Whoever comes back may be asked again.
        op.stage = Stage::Stalled;
        op.tried = op.targets();
        self.note_deadline(now_ns.saturating_add(super::SAFETY_NET_NS));
    }

    /// Counts an op that waits for a server, once.
    pub(super) fn count_stalled(&mut self, index: usize) {
        if let Some(op) = self.ops.get_mut(index) {
            if !core::mem::replace(&mut op.counted_stalled, true) {
                self.counters.stalled = self.counters.stalled.wrapping_add(1);
            }
        }
    }

    /// The page-out ends in an error: what is left of the older version stays.
    fn fail_page_out(&mut self, index: usize, outcome: Outcome, device: &Device<S>) {
        let Some(op) = self.ops.get(index) else {
            return;
        };
        if op.begun.is_some() {
            let sent_to = op.sent_to;
            let freed = device.map.abandon_write(op.page);
            device.note_degraded(op.page);
            if device.disk.load().is_wanted() {
                device.mark_out_of_sync(op.page);
            }
            self.note_stale(index, sent_to, freed, device);
            self.wake(index, device);
        }
        self.end(index, outcome);
    }

    /// Has `old`, who may hold an older version of the page or a copy that does not count, told
    /// to free it; and everybody else too, if the page was freed while it was written.
    fn note_stale(&mut self, index: usize, old: SlotSet, freed: bool, device: &Device<S>) {
        let Some(op) = self.ops.get(index) else {
            return;
        };
        let mut stale = StaleCopy {
            page: op.page,
            slots: old,
            below: Version(op.version.0.saturating_add(1)),
        };
        if mutated!(FreeTooMuch) {
            stale.below = Version(op.version.0.saturating_add(1000));
        }
        if freed {
            let freed = device.map.take_free(op.page, || device.take_version());
            if let Some((holders, below)) = freed {
                stale.slots = old.union(holders);
                stale.below = below;
                self.count_freed(1);
            }
        }
        self.put_stale(stale);
    }

    fn wake(&mut self, index: usize, device: &Device<S>) {
        let wake = device.has_parked() && !mutated!(WakeLost);
        if let Some(op) = self.ops.get_mut(index) {
            op.wake = wake;
        }
    }
}
