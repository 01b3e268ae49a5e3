// SPDX-License-Identifier: GPL-2.0

//! Page-ins: from the replica expected to answer soonest, then from the next.
//!
//! A page is put together from fragments of one checksum, and after damage from one server. Its checksum
//! is checked before anybody sees it.
//!
//! The rules: `docs/protocol.md`, "READ".

use super::super::device::Device;
use super::super::ids::{PageIndex, ServerSlot, SlotSet, Version, MAX_REPLICAS};
use super::super::storage::Storage;
use super::list::TransferId;
use super::op::{Assembly, Kind, Outcome, Stage, Transfer, TransferStage};
use super::page_out::{MOST_DAMAGED, MOST_IN_VAIN};
use super::transfer::HEDGE_WHEN_SENT;
use super::{OpInUse, Receive, Shard, Verdict};
use crate::wire::{Flags, FragmentMask, Fragmentation, Header, Status};

/// How long a page-in in the background waits for room on its way from the disk.
const ROOM_NS: u64 = 200_000_000;

impl<S: Storage> Shard<S> {
    /// Begins a page-in. The page must stay where it is until the completion.
    pub fn start_page_in(
        &mut self,
        now_ns: u64,
        index: usize,
        page: PageIndex,
        device: &Device<S>,
    ) -> Result<(), OpInUse> {
        self.claim_op(now_ns, index, Kind::PageIn, page)?;
        self.hedges.earn(device.hedge_percent());
        self.note_begun(now_ns, device.io_timeout_ns());
        self.link_active(index);
        self.begin_page_in(now_ns, index, device);
        Ok(())
    }

    pub(super) fn begin_page_in(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        let Some(op) = self.ops.get(index) else {
            return;
        };
        if op.disk.is_in_hand() {
            return;
        }
        let page = op.page;
        let next = device.next_version();
        let entry = loop {
            let entry = device.map.load(page);
            if !entry.is_busy() {
                break entry;
            }
            if self.ops.get(index).is_none_or(|op| op.is_background) {
                // Whoever writes it sees to its copies.
                self.end(index, Outcome::Failed);
                return;
            }
            if self.park(now_ns, index, device) {
                if let Some(op) = self.ops.get_mut(index) {
                    op.disk.renew();
                }
                return;
            }
        };
        if !entry.is_written() {
            self.end(index, Outcome::Zeros);
            return;
        }
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        if op.generation != entry.generation() {
            op.tried = SlotSet::EMPTY;
            op.disk.renew();
        }
        op.generation = entry.generation();
        op.version = next;
        op.assembly = None;
        let holders = entry
            .replicas()
            .intersection(device.servers.valid())
            .without(op.tried);
        if self.look_at_buffers(index, entry, device) {
            return;
        }
        let candidates = holders.intersection(device.servers.usable());
        let Some(slot) = self.soonest(candidates) else {
            match self.ask_disk(index, device) {
                Some(true) => {}
                // Every copy is known to be gone.
                None if holders.is_empty() => self.end(index, Outcome::Failed),
                _ => self.stall_page_in(now_ns, index, device),
            }
            return;
        };
        if let Some(op) = self.ops.get_mut(index) {
            op.stage = Stage::Active;
            op.hedge_ns = match candidates.len() {
                0 | 1 => u64::MAX,
                _ if op.is_background => u64::MAX,
                _ => HEDGE_WHEN_SENT,
            };
        }
        let id = TransferId {
            op: index,
            transfer: 0,
        };
        self.start_transfer(now_ns, id, slot, device);
    }

    /// The server of `candidates` that is expected to answer first.
    fn soonest(&mut self, candidates: SlotSet) -> Option<ServerSlot> {
        self.rotation = self.rotation.wrapping_add(1);
        let odd = self.rotation & 1;
        let mut best = None;
        for slot in candidates.iter() {
            let expected = self.path(slot).expected();
            let better = best.is_none_or(|(_, other)| {
                // Equals take turns, so that both are measured.
                expected < other || (expected == other && odd == 1)
            });
            if better {
                best = Some((slot, expected));
            }
        }
        best.map(|(slot, _)| slot)
    }

    /// Whether a page-in waits for nobody who may still answer: all who have the page have been silent
    /// for the I/O timeout, before it began or since.
    pub(super) fn is_in_vain(&self, now_ns: u64, index: usize, device: &Device<S>) -> bool {
        let Some(op) = self.ops.get(index) else {
            return false;
        };
        let state = device.disk.load();
        let is_reading = op.disk.is_in_hand() || op.disk.is_reading() && !state.is_hopeless();
        if op.kind != Kind::PageIn || is_reading || op.claimed {
            return false;
        }
        let entry = device.map.load(op.page);
        if entry.is_busy() || !entry.is_written() || entry.generation() != op.generation {
            // It is looked for elsewhere soon.
            return false;
        }
        let may_read =
            entry.is_on_disk() && state.is_attached() && !state.is_hopeless() && !op.disk.failed();
        let holders = entry
            .replicas()
            .intersection(device.servers.valid())
            .without(op.tried)
            .union(op.targets());
        let hopeless = device.servers.hopeless();
        let io_timeout_ns = device.io_timeout_ns();
        // A frame may have come that the cluster has not heard of.
        let is_silent = |slot| {
            let heard_ns = self.path(slot).heard_ns;
            let is_heard = heard_ns != 0 && now_ns.saturating_sub(heard_ns) < io_timeout_ns;
            hopeless.contains(slot) && !is_heard
        };
        !may_read && holders.iter().all(is_silent)
    }

    fn stall_page_in(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        let is_in_vain = self.is_in_vain(now_ns, index, device);
        let Some(op) = self.ops.get_mut(index) else {
            return;
        };
        op.stage = Stage::Stalled;
        if is_in_vain {
            self.end(index, Outcome::Failed);
            return;
        }
        if op.is_background {
            // The disk may only have no room for it now. Whoever looks for pages waits longer.
            let until_ns = op.started_ns.saturating_add(ROOM_NS);
            let waits = op.disk.is_put_off() && now_ns < until_ns;
            match waits {
                true => self.note_deadline(until_ns),
                false => self.end(index, Outcome::Failed),
            }
            return;
        }
        self.count_stalled(index);
        self.note_deadline(now_ns.saturating_add(super::SAFETY_NET_NS));
    }

    /// Begins anew if nothing is under way any more.
    pub(super) fn continue_page_in(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        if self.ops.get(index).is_some_and(|op| !op.is_waiting()) {
            self.begin_page_in(now_ns, index, device);
        }
    }

    pub(super) fn handle_read_reply(
        &mut self,
        now_ns: u64,
        index: usize,
        transfer: usize,
        header: &Header,
        fill: Option<u64>,
        device: &Device<S>,
    ) -> Verdict {
        let id = TransferId {
            op: index,
            transfer,
        };
        let others_until_ns = self.others_until_ns(id);
        let Some(op) = self.ops.get_mut(index) else {
            return Verdict::Done;
        };
        let version = Version(header.version);
        let is_wanted = version.generation() == op.generation || mutated!(StaleReplyAccepted);
        if header.status != Status::Ok || !is_wanted {
            let since = op.version;
            // One that has what is wanted, says so of another question.
            let lacks_it = match version.0 {
                // The page may have been freed since, and written in the same generation: not before the
                // next version of that generation was given out.
                0 => {
                    let passed = device.next_version().0.wrapping_sub(since.0);
                    let next = op.generation.0.wrapping_sub(since.generation().0);
                    passed <= u64::from(next)
                }
                _ if device.versions().is_ours(version) == Some(false) => true,
                // What came to the server after the question was due may have come to the map as well.
                _ => !is_wanted && version < since,
            };
            self.handle_miss(now_ns, id, lacks_it, device);
            return Verdict::Done;
        }
        match device.versions().is_ours(version) {
            Some(true) => {}
            _ if mutated!(StaleReplyAccepted) => {}
            // Of the generation that is wanted, and of a life that is forgotten: other bytes.
            Some(false) => {
                self.handle_miss(now_ns, id, true, device);
                return Verdict::Done;
            }
            // Taken as lost on the way.
            None => return Verdict::Done,
        }
        if op.claimed && !mutated!(ReceiveClaimIgnored) {
            // Another CPU is copying a fragment of it. This one is lost, and asked for again.
            self.counters.claim_conflicts = self.counters.claim_conflicts.wrapping_add(1);
            return Verdict::Done;
        }
        if header.flags.contains(Flags::SAME_FILLED) {
            if let Some(value) = fill {
                if !op.is_background {
                    self.counters.same_filled_in = self.counters.same_filled_in.wrapping_add(1);
                }
                op.crc = header.payload_crc;
                self.note_success(now_ns, id, header.attempt);
                self.note_whole(index, transfer);
                self.end(index, Outcome::Filled(value));
            }
            return Verdict::Done;
        }
        let Some(cut) = Fragmentation::from_count(header.fragment_count) else {
            return Verdict::Done;
        };
        let Some((offset, len)) = cut.span(header.fragment_index) else {
            return Verdict::Done;
        };
        let Some(asked) = op.transfers.get_mut(transfer) else {
            return Verdict::Done;
        };
        if asked.cut != Some(cut) {
            self.note_in_vain(now_ns, id, MOST_IN_VAIN, device);
            return Verdict::Done;
        }
        let (known, crc) = *asked.content.get_or_insert((version, header.payload_crc));
        if version < known {
            // A late answer: the server has got another since.
            self.note_in_vain(now_ns, id, MOST_IN_VAIN, device);
            return Verdict::Done;
        }
        if version == known && header.payload_crc != crc {
            // It has one page of that version, not two.
            self.counters.corrupt_in = self.counters.corrupt_in.wrapping_add(1);
            self.read_again(now_ns, id, device);
            return Verdict::Done;
        }
        asked.content = Some((version, header.payload_crc));
        // What two servers have of one generation is the same, if only a copy of repair's in another
        // version, and the checksum says whether it is: then each fragment that comes is one less to
        // come. Not after a page that was damaged.
        let is_mixed = op.restarts == 0;
        let fits = |assembly: &Assembly| {
            assembly.crc == header.payload_crc
                && assembly.cut == cut
                && (assembly.transfer == transfer || is_mixed)
        };
        let mut assembly = match op.assembly {
            Some(assembly) if fits(&assembly) => Assembly {
                transfer,
                ..assembly
            },
            // One content at a time, until its server falls silent.
            Some(_) if now_ns < others_until_ns => return Verdict::Done,
            _ => Assembly {
                transfer,
                crc: header.payload_crc,
                cut,
                have: FragmentMask::EMPTY,
                fed_ns: now_ns,
            },
        };
        if assembly.have.contains(header.fragment_index) {
            self.note_in_vain(now_ns, id, MOST_IN_VAIN, device);
            return Verdict::Done;
        }
        op.assembly = Some(assembly);
        op.claimed = true;
        if !mutated!(ReceiveClaimIgnored) {
            op.pins = op.pins.saturating_add(1);
        }
        assembly.have.insert(header.fragment_index);
        Verdict::Receive(Receive {
            op: index,
            transfer,
            index: header.fragment_index,
            attempt: header.attempt,
            offset,
            len,
            completes: assembly.have == cut.all(),
        })
    }

    /// Until when what another transfer has begun to assemble is not to be thrown away: as long as
    /// its server's page-ins take. 0 if there is no such thing.
    fn others_until_ns(&self, id: TransferId) -> u64 {
        let Some((op, assembly)) = self
            .ops
            .get(id.op)
            .and_then(|op| Some((op, op.assembly.as_ref()?)))
            .filter(|(_, assembly)| assembly.transfer != id.transfer)
        else {
            return 0;
        };
        let asked = op.transfers.get(assembly.transfer).filter(|one| {
            // Whoever is no longer asked, sends no more.
            matches!(one.stage, TransferStage::Sent | TransferStage::Queued)
        });
        let Some(slot) = asked.and_then(|one| one.slot) else {
            return 0;
        };
        let answer_ns = self.path(slot).hedge_after_ns();
        assembly.fed_ns.saturating_add(answer_ns)
    }

    /// The claim ends: the fragment has been copied, or could not be (`copied`). `crc` is that
    /// of the whole page, if the fragment completes it.
    pub fn received(
        &mut self,
        now_ns: u64,
        receive: &Receive,
        copied: bool,
        crc: Option<u32>,
        device: &Device<S>,
    ) {
        let Some(op) = self.ops.get_mut(receive.op) else {
            return;
        };
        op.claimed = false;
        let fed = op.assembly.as_mut().filter(|assembly| {
            copied && op.stage == Stage::Active && assembly.transfer == receive.transfer
        });
        if let (Some(assembly), Some(transfer)) = (fed, op.transfers.get_mut(receive.transfer)) {
            assembly.have.insert(receive.index);
            let is_more = transfer.is_progress(assembly.have);
            if is_more || transfer.in_vain <= MOST_IN_VAIN {
                assembly.fed_ns = now_ns;
            }
            let assembly = *assembly;
            self.assembled(now_ns, receive, assembly, is_more, crc, device);
        }
        self.look_after_claim(receive.op);
        self.unpin(receive.op);
    }

    fn assembled(
        &mut self,
        now_ns: u64,
        receive: &Receive,
        assembly: Assembly,
        is_more: bool,
        crc: Option<u32>,
        device: &Device<S>,
    ) {
        let id = TransferId {
            op: receive.op,
            transfer: receive.transfer,
        };
        if assembly.have != assembly.cut.all() {
            let slot = self.transfer_mut(id).and_then(|transfer| transfer.slot);
            // Progress: the rest may take as long again, however long was waited before.
            if let Some(slot) = slot.filter(|_| is_more) {
                let due_ns = now_ns.saturating_add(self.retry_after_ns(slot, 0, device));
                if let Some(transfer) = self.transfer_mut(id) {
                    transfer.due_ns = due_ns;
                    if !transfer.was_damaged {
                        transfer.tries = 0;
                    }
                }
                self.note_deadline(due_ns);
            }
            return;
        }
        if crc == Some(assembly.crc) || mutated!(CrcUncheckedIn) {
            self.note_success(now_ns, id, receive.attempt);
            self.note_whole(id.op, id.transfer);
            if let Some(op) = self.ops.get_mut(id.op) {
                op.crc = assembly.crc;
            }
            self.end(id.op, Outcome::Done);
            return;
        }
        self.counters.corrupt_in = self.counters.corrupt_in.wrapping_add(1);
        self.read_again(now_ns, id, device);
    }

    /// What was put together is thrown away, and all of it asked for again: of the next holder
    /// if there is one, else of this one.
    fn read_again(&mut self, now_ns: u64, id: TransferId, device: &Device<S>) {
        if let Some(op) = self.ops.get_mut(id.op) {
            // What another has sent may be whole.
            op.assembly = op.assembly.filter(|one| one.transfer != id.transfer);
            op.restarts = op.restarts.saturating_add(1);
        }
        if self.fail_over(now_ns, id.op, device) {
            self.release(id);
            return;
        }
        self.resend_damaged(id);
        self.note_in_vain(now_ns, id, MOST_DAMAGED, device);
    }

    /// The server has answered what is of no use. One that does so again and again is suspected.
    fn note_in_vain(&mut self, now_ns: u64, id: TransferId, most: u32, device: &Device<S>) {
        let is_too_often = |transfer: &mut Transfer| {
            !transfer.is_progress(FragmentMask::EMPTY) && transfer.in_vain > most
        };
        if self.transfer_mut(id).is_some_and(is_too_often) {
            self.give_up_on(now_ns, id, device);
        }
    }

    /// The server has not the page, or not this generation of it; for certain, if `lacks_it`.
    fn handle_miss(&mut self, now_ns: u64, id: TransferId, lacks_it: bool, device: &Device<S>) {
        self.counters.misses = self.counters.misses.wrapping_add(1);
        let slot = self.transfer_mut(id).and_then(|transfer| transfer.slot);
        self.release(id);
        if let (Some(op), Some(slot)) = (self.ops.get_mut(id.op), slot) {
            op.tried.insert(slot);
            if lacks_it {
                self.strike(id.op, slot, device);
            }
        }
        self.continue_page_in(now_ns, id.op, device);
    }

    /// The map says that the server has the page, and the server that it has not, or another version of it:
    /// the server was put back to an earlier state, or this machine was. The map is told, so that the copy
    /// is made again; but only if the page is as it was when the server was asked, and is to be had of
    /// somebody else who has not said the same. So however late, wrong or many such answers are, none takes
    /// the last copy away.
    fn strike(&mut self, index: usize, slot: ServerSlot, device: &Device<S>) {
        let Some(op) = self.ops.get(index) else {
            return;
        };
        let page = op.page;
        let entry = device.map.load(page);
        let is_as_it_was = entry.is_written() && entry.generation() == op.generation;
        if !is_as_it_was || !entry.replicas().contains(slot) {
            return;
        }
        let others = entry
            .replicas()
            .intersection(device.servers.usable())
            .without(op.tried);
        let is_on_disk = entry.is_on_disk() && device.disk.load().is_usable() && !op.disk.failed();
        if others.is_empty() && !is_on_disk {
            return;
        }
        // Not if it is being written, or another CPU strikes somebody else at the same time.
        if device.map.drop_replicas(page, entry, SlotSet::one(slot)) {
            device.servers.note_missing(slot);
            device.note_degraded(page);
            // What it has instead, nobody needs.
            self.frees_lost.insert(slot);
            self.counters.copies_missing = self.counters.copies_missing.wrapping_add(1);
        }
    }

    pub(super) fn page_in_timed_out(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &Device<S>,
    ) {
        let Some(op) = self.ops.get(id.op) else {
            return;
        };
        let entry = device.map.load(op.page);
        if entry.generation() != op.generation && !entry.is_busy() {
            // It has been written since: others have it now.
            for transfer in 0..MAX_REPLICAS {
                self.release(TransferId { transfer, ..id });
            }
            self.continue_page_in(now_ns, id.op, device);
            return;
        }
        let another = self.fail_over(now_ns, id.op, device);
        if !another {
            self.retry_ask(id.op);
            self.ask_disk(id.op, device);
        }
        let Some(op) = self.ops.get_mut(id.op) else {
            return;
        };
        let is_mixed = op.restarts == 0;
        let assembly = op
            .assembly
            .filter(|assembly| assembly.transfer == id.transfer || is_mixed);
        if another && !device.servers.usable().contains(slot) {
            self.release(id);
            return;
        }
        let missing = self.transfer_mut(id).and_then(|transfer| {
            let cut = transfer.cut?;
            let have = assembly.filter(|assembly| assembly.cut == cut);
            Some(
                cut.all()
                    .without(have.map_or(FragmentMask::EMPTY, |one| one.have)),
            )
        });
        if let Some(missing) = missing {
            self.resend(id, missing);
        }
    }

    /// The transfer has waited for room in its server's window for as long as for an answer: somebody
    /// else is asked, if there is one.
    pub(super) fn page_in_waited(&mut self, now_ns: u64, id: TransferId, device: &Device<S>) {
        if self.fail_over(now_ns, id.op, device) {
            self.release(id);
        } else {
            self.retry_ask(id.op);
            self.ask_disk(id.op, device);
        }
    }

    /// Whether a page-in whose I/O timeout is out reads the disk before it ends in an error: once, if it
    /// has not asked the disk yet, and for one I/O timeout more.
    pub(super) fn reads_disk_at_last(
        &mut self,
        now_ns: u64,
        index: usize,
        device: &Device<S>,
    ) -> bool {
        let may_ask = self.ops.get(index).is_some_and(|op| {
            let is_open = matches!(op.stage, Stage::Active | Stage::Stalled);
            op.kind == Kind::PageIn && !op.is_background && is_open && op.disk.may_ask_at_last()
        });
        let is_asked = may_ask && self.ask_disk(index, device).is_some();
        if let Some(op) = self.ops.get_mut(index).filter(|_| is_asked) {
            op.disk.is_last = true;
            op.waits_from_ns = now_ns;
        }
        is_asked
    }

    /// All servers that are asked are silent. Another holder may be back since, or the disk may have got
    /// the page from one that was.
    pub(super) fn look_elsewhere(&mut self, now_ns: u64, id: TransferId, device: &Device<S>) {
        if self.fail_over(now_ns, id.op, device) {
            self.release(id);
        } else {
            self.ask_disk(id.op, device);
        }
    }

    /// Asks a holder that is not being asked, the one that is being failing us. Returns whether
    /// there was one.
    fn fail_over(&mut self, now_ns: u64, index: usize, device: &Device<S>) -> bool {
        let another = self.ask_another(now_ns, index, device).is_some();
        if another {
            self.counters.failovers = self.counters.failovers.wrapping_add(1);
        }
        another
    }

    /// Asks a holder that is not being asked. Returns the transfer, if there was one.
    pub(super) fn ask_another(
        &mut self,
        now_ns: u64,
        index: usize,
        device: &Device<S>,
    ) -> Option<usize> {
        let op = self.ops.get(index)?;
        let entry = device.map.load(op.page);
        if entry.generation() != op.generation || !entry.is_written() {
            return None;
        }
        let candidates = entry
            .replicas()
            .intersection(device.servers.usable())
            .without(op.targets())
            .without(op.tried);
        let free = (0..MAX_REPLICAS).find(|&transfer| {
            op.transfers.get(transfer).map(|transfer| transfer.stage) == Some(TransferStage::Idle)
        });
        let (Some(transfer), Some(slot)) = (free, self.soonest(candidates)) else {
            return None;
        };
        if let Some(op) = self.ops.get_mut(index) {
            op.hedge = op.hedge.filter(|&hedge| hedge != transfer);
        }
        let id = TransferId {
            op: index,
            transfer,
        };
        self.start_transfer(now_ns, id, slot, device);
        Some(transfer)
    }
}
