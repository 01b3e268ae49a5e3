// SPDX-License-Identifier: GPL-2.0

//! Sending, matching answers, and what happens when none comes.

use super::super::device::Device;
use super::super::ids::{ServerSlot, SlotSet, Version, MAX_REPLICAS};
use super::super::storage::Storage;
use super::super::versions::Witness;
use super::list::TransferId;
use super::op::{Kind, Stage, Transfer, TransferStage};
use super::path::Path;
use super::{Send, SendPayload, Shard, STOPPED_NS};
use crate::wire::{Flags, FragmentMask, Fragmentation, Header, MacAddress, Opcode, Status};

/// Timeouts after which frames that are still in this host no longer hold back others.
const FORCE_TRIES: u32 = 3;

/// In place of when to hedge: so long after it is first sent as is usual for its server.
pub(super) const HEDGE_WHEN_SENT: u64 = u64::MAX - 1;

impl<S: Storage> Shard<S> {
    /// Makes a transfer one to `slot`, and queues it.
    pub(super) fn start_transfer(
        &mut self,
        now_ns: u64,
        id: TransferId,
        slot: ServerSlot,
        device: &Device<S>,
    ) {
        let address = device.servers.address(slot);
        let cut = device.servers.fragmentation(slot);
        if let Some(Transfer {
            linked: true,
            slot: Some(old),
            ..
        }) = self.transfer_mut(id).copied()
        {
            // It may hang in the list of a server that nothing moves any more.
            self.flush_waiting(old);
        }
        let Some(op) = self.ops.get_mut(id.op) else {
            return;
        };
        let first_attempt = op.take_attempt();
        let Some(transfer) = op.transfers.get_mut(id.transfer) else {
            return;
        };
        *transfer = Transfer {
            stage: TransferStage::Queued,
            slot: Some(slot),
            incarnation: address.incarnation,
            session: address.session,
            first_attempt,
            attempt: first_attempt,
            began_ns: now_ns,
            cut: Some(cut),
            pending: cut.all(),
            // Where it hangs, it hangs.
            linked: transfer.linked,
            next: transfer.next,
            sending: transfer.sending,
            ..Transfer::default()
        };
        self.push_ready(id);
    }

    /// Queues a transfer again, for `pending`, under a new attempt.
    pub(super) fn resend(&mut self, id: TransferId, pending: FragmentMask) {
        let Some(op) = self.ops.get_mut(id.op) else {
            return;
        };
        let attempt = op.take_attempt();
        let Some(transfer) = op.transfers.get_mut(id.transfer) else {
            return;
        };
        transfer.attempt = attempt;
        transfer.pending = pending;
        transfer.stage = TransferStage::Queued;
        self.counters.retransmissions = self.counters.retransmissions.wrapping_add(1);
        self.push_ready(id);
    }

    /// A server has not answered in time that is to hold the page: what it has not said to hold is sent
    /// again. From the second time on all of it is: what it held may have made way for other pages, and
    /// those for this one, so that none is ever whole.
    pub(super) fn resend_missing(&mut self, id: TransferId) {
        let missing = self.transfer_mut(id).and_then(|transfer| {
            let all = transfer.cut?.all();
            let missing = all.without(transfer.held);
            // If it held all, it would have said so.
            Some(match missing.is_empty() || transfer.tries > 1 {
                true => all,
                false => missing,
            })
        });
        if let Some(missing) = missing {
            self.resend(id, missing);
        }
    }

    /// The page has come damaged. Frames get damaged on their way: the first time it is sent again at
    /// once. Memory does too, and stays so: after that, when the transfer's time is out.
    pub(super) fn resend_damaged(&mut self, id: TransferId) {
        let Some(transfer) = self.transfer_mut(id) else {
            return;
        };
        transfer.held = FragmentMask::EMPTY;
        transfer.content = None;
        let is_new = !core::mem::replace(&mut transfer.was_damaged, true);
        let all = transfer.cut.map(Fragmentation::all);
        if let Some(all) = all.filter(|_| is_new) {
            self.resend(id, all);
        }
    }

    /// The transfer is over, with or without success: nothing of it is under way for us.
    pub(super) fn release(&mut self, id: TransferId) {
        let Some(op) = self.ops.get_mut(id.op) else {
            return;
        };
        if let Some(transfer) = op.transfers.get_mut(id.transfer) {
            transfer.stage = TransferStage::Idle;
        }
        self.leave_window(id);
    }

    /// The transfer no longer counts in its server's window; who waited for that may go on.
    pub(super) fn leave_window(&mut self, id: TransferId) {
        let Some(transfer) = self.transfer_mut(id) else {
            return;
        };
        let Some(slot) = transfer.slot else {
            return;
        };
        if core::mem::take(&mut transfer.in_window) && !mutated!(WindowLeaks) {
            self.path_mut(slot).window.leave();
            self.flush_waiting(slot);
        }
    }

    /// How long an answer of the server is waited for.
    pub(super) fn retry_after_ns(&self, slot: ServerSlot, tries: u32, device: &Device<S>) -> u64 {
        self.path(slot)
            .retry_after_ns(tries, device.io_timeout_ns())
    }

    /// Takes a transfer from the ready list to the wire, if it is still wanted and the window
    /// has room.
    pub(super) fn begin_send(
        &mut self,
        now_ns: u64,
        id: TransferId,
        device: &Device<S>,
    ) -> Option<()> {
        let op = self.ops.get_mut(id.op)?;
        if op.stage != Stage::Active {
            return None;
        }
        let transfer = op.transfers.get_mut(id.transfer)?;
        if transfer.stage != TransferStage::Queued || transfer.sending {
            // Who is sending it puts it back when done.
            return None;
        }
        let slot = transfer.slot?;
        // PANIC: never; a slot is below the array's length by its invariant.
        let path = &mut self.paths[slot.index()];
        if !transfer.in_window {
            if !path.window.has_room() {
                // Its server may die while it waits here.
                let wait_ns = path.retry_after_ns(0, device.io_timeout_ns());
                transfer.due_ns = now_ns.saturating_add(wait_ns);
                self.push_waiting(slot, id);
                return None;
            }
            transfer.in_window = true;
            path.window.enter();
        }
        transfer.stage = TransferStage::Sent;
        transfer.sending = true;
        transfer.sent_ns = now_ns;
        let again = transfer.attempt != transfer.first_attempt;
        if !again {
            transfer.first_sent_ns = now_ns;
            if op.hedge_ns == HEDGE_WHEN_SENT {
                op.hedge_ns = now_ns.saturating_add(path.hedge_after_ns());
            }
        }
        let wait_ns = path.retry_after_ns(transfer.tries, device.io_timeout_ns());
        transfer.due_ns = now_ns.saturating_add(wait_ns);
        let due_ns = transfer.due_ns.min(op.hedge_ns);
        if !mutated!(SendHoldIgnored) {
            op.pins = op.pins.saturating_add(1);
        }
        self.note_deadline(due_ns);
        self.counters.transfers_sent = self.counters.transfers_sent.wrapping_add(1);
        Some(())
    }

    /// The frames that [`super::Action::Send`] wants sent. To be asked before the lock is let go
    /// that [`Shard::poll`] was called under; else there may be none.
    #[inline]
    pub fn describe(&self, id: TransferId, device: &Device<S>) -> Option<Send> {
        let op = self.ops.get(id.op)?;
        let transfer = op.transfers.get(id.transfer)?;
        let (slot, cut) = (transfer.slot?, transfer.cut?);
        let again = transfer.attempt != transfer.first_attempt;
        let is_filled = op.fill.is_some();
        let (opcode, flags, fragment_count, fragment_mask, version, payload_crc) = match op.kind {
            Kind::PageIn => (
                Opcode::Read,
                Flags::default(),
                cut.count(),
                transfer.pending,
                u64::from(op.generation.0),
                0,
            ),
            Kind::PageOut | Kind::Copy | Kind::Mirror => (
                Opcode::Write,
                if is_filled {
                    Flags::SAME_FILLED
                } else {
                    Flags::default()
                },
                if is_filled { 1 } else { cut.count() },
                FragmentMask::EMPTY,
                op.version.0,
                op.crc,
            ),
        };
        Some(Send {
            id,
            destination: device.servers.mac(slot),
            header: Header {
                opcode,
                flags,
                status: Status::Ok,
                tag: self.tag(id.op),
                attempt: transfer.attempt,
                fragment_index: 0,
                fragment_count,
                fragment_mask,
                utilisation: 0,
                payload_crc,
                session: transfer.session,
                incarnation: transfer.incarnation,
                page: u64::from(op.page.0),
                version,
                low_water: device.low_water().0,
            },
            payload: match (op.kind, op.fill) {
                (Kind::PageIn, _) => SendPayload::Nothing,
                (_, Some(value)) => SendPayload::Fill(value),
                (_, None) => SendPayload::Page {
                    fragments: transfer.pending,
                    cut,
                    // A copy's page is our own.
                    verify: again && op.kind == Kind::PageOut,
                },
            },
            force: !again || transfer.tries >= FORCE_TRIES,
        })
    }

    /// The frames of a transfer are free again; if it was queued meanwhile, it is ready now.
    pub(super) fn end_send(&mut self, id: TransferId) {
        if let Some(transfer) = self.transfer_mut(id) {
            transfer.sending = false;
            if transfer.stage == TransferStage::Queued {
                self.push_ready(id);
            }
        }
        self.unpin(id.op);
    }

    /// The transfer that a frame answers. `None` if it answers none: it is late, repeated,
    /// foreign or forged.
    pub(super) fn find_transfer(
        &self,
        source: MacAddress,
        header: &Header,
        device: &Device<S>,
    ) -> Option<(usize, usize)> {
        if Self::number_of_tag(header.tag) != usize::from(self.number) {
            return None;
        }
        // CAST: 16 bits.
        let index = (header.tag & 0xffff) as usize;
        let op = self.ops.get(index)?;
        let expected = match op.kind {
            Kind::PageOut | Kind::Copy | Kind::Mirror => Opcode::WriteAck,
            Kind::PageIn => Opcode::ReadReply,
        };
        if mutated!(StaleReplyAccepted) && op.stage == Stage::Active && header.opcode == expected {
            let asked = |transfer: &Transfer| transfer.incarnation == header.incarnation;
            return Some((index, op.transfers.iter().position(asked)?));
        }
        if op.stage != Stage::Active
            || header.opcode != expected
            || header.page != u64::from(op.page.0)
            || (op.kind != Kind::PageIn && header.version != op.version.0)
        {
            return None;
        }
        let found = op.transfers.iter().position(|transfer| {
            // A transfer that is queued to be sent again may still be answered.
            let asked = matches!(transfer.stage, TransferStage::Sent | TransferStage::Queued);
            let since_first = header.attempt.wrapping_sub(transfer.first_attempt);
            let since_first_max = transfer.attempt.wrapping_sub(transfer.first_attempt);
            asked
                && since_first <= since_first_max
                && transfer.session == header.session
                && transfer.incarnation == header.incarnation
        })?;
        let slot = op.transfers.get(found)?.slot?;
        (device.servers.is_current(slot, header.incarnation) && device.servers.is_at(slot, source))
            .then_some((index, found))
    }

    /// A server says which versions we have used. One that is not believed has not answered: its transfer
    /// goes elsewhere.
    #[inline]
    pub(super) fn is_believed(
        &mut self,
        now_ns: u64,
        op: usize,
        transfer: usize,
        header: &Header,
        device: &Device<S>,
    ) -> bool {
        let id = TransferId { op, transfer };
        let Some(slot) = self.transfer_mut(id).and_then(|transfer| transfer.slot) else {
            return true;
        };
        let incarnation = header.incarnation;
        let was_usable = device.servers.usable().contains(slot);
        let witness = Witness { slot, incarnation };
        if device.hear_of(witness, Version(header.low_water)) {
            return true;
        }
        self.suspicion |= was_usable;
        self.leave(now_ns, id, slot, device);
        false
    }

    /// A server has answered: it lives.
    pub(super) fn note_heard(&mut self, now_ns: u64, op: usize, transfer: usize) {
        let id = TransferId { op, transfer };
        if let Some(slot) = self.transfer_mut(id).and_then(|transfer| transfer.slot) {
            let path = self.path_mut(slot);
            path.heard_ns = now_ns;
            path.overdue = false;
        }
    }

    /// A server has answered what nobody waits for any more: that it lives is news all the same.
    pub(super) fn note_late(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        header: &Header,
        device: &Device<S>,
    ) {
        let from = device.servers.valid().iter().find(|&slot| {
            let address = device.servers.address(slot);
            address.mac == source
                && address.session == header.session
                && address.incarnation == header.incarnation
        });
        if let Some(slot) = from {
            let path = self.path_mut(slot);
            path.heard_ns = now_ns;
            path.overdue = false;
            self.measure_late(now_ns, slot, header);
        }
    }

    /// Measures by an answer that nobody waits for any more, if its op is still as it was: else only
    /// those who are quick enough would be measured.
    fn measure_late(&mut self, now_ns: u64, slot: ServerSlot, header: &Header) {
        // CAST: 16 bits.
        let op = (header.tag & 0xffff) as usize;
        let found = self.ops.get(op).and_then(|op| {
            op.transfers.iter().position(|transfer| {
                transfer.slot == Some(slot)
                    && transfer.session == header.session
                    && transfer.incarnation == header.incarnation
            })
        });
        if let (Some(transfer), true) = (
            found,
            Self::number_of_tag(header.tag) == usize::from(self.number),
        ) {
            self.measure(now_ns, TransferId { op, transfer }, header.attempt);
        }
    }

    /// The transfer's sending number `attempt` was answered: if it was the first or the last, it
    /// is known when it was sent.
    fn measure(&mut self, now_ns: u64, id: TransferId, attempt: u32) {
        let Some(op) = self.ops.get_mut(id.op) else {
            return;
        };
        let is_page_in = op.kind == Kind::PageIn;
        let Some(transfer) = op.transfers.get_mut(id.transfer) else {
            return;
        };
        let sent_ns = if attempt == transfer.first_attempt {
            transfer.first_sent_ns
        } else if attempt == transfer.attempt && transfer.stage != TransferStage::Queued {
            transfer.sent_ns
        } else {
            return;
        };
        let Some(slot) = transfer.slot else {
            return;
        };
        if core::mem::replace(&mut transfer.measured, true) || sent_ns == 0 {
            return;
        }
        let rtt_ns = now_ns.saturating_sub(sent_ns);
        let path = self.path_mut(slot);
        path.rtt.sample(rtt_ns);
        if is_page_in {
            path.note_page_in(rtt_ns);
        }
    }

    /// The transfer was answered as it should be: measure, and let the window open.
    pub(super) fn note_success(&mut self, now_ns: u64, id: TransferId, attempt: u32) {
        self.measure(now_ns, id, attempt);
        if let Some(slot) = self.transfer_mut(id).and_then(|transfer| transfer.slot) {
            self.path_mut(slot).window.on_answer();
        }
    }

    /// Looks at every transfer of an active op for what is due.
    pub(super) fn check_transfers(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        self.check_hedge(now_ns, index, device);
        for transfer in 0..MAX_REPLICAS {
            let id = TransferId {
                op: index,
                transfer,
            };
            let Some(op) = self.ops.get(index) else {
                return;
            };
            if op.stage != Stage::Active {
                return;
            }
            let Some(current) = op.transfers.get(transfer).copied() else {
                return;
            };
            if !matches!(current.stage, TransferStage::Sent | TransferStage::Queued) {
                continue;
            }
            // The I/O timeout may have become shorter since.
            let bound_ns = Path::tries_within(device.io_timeout_ns());
            let is_sent = current.stage == TransferStage::Sent;
            let current = match is_sent {
                true => Transfer {
                    due_ns: current.due_ns.min(current.sent_ns.saturating_add(bound_ns)),
                    ..current
                },
                false => current,
            };
            if now_ns < current.due_ns {
                let usable = device.servers.usable();
                if op.kind == Kind::PageIn && op.targets().intersection(usable).is_empty() {
                    self.look_elsewhere(now_ns, id, device);
                }
                self.note_deadline(current.due_ns);
                continue;
            }
            if current.stage == TransferStage::Sent {
                self.transfer_timed_out(now_ns, id, current, device);
            } else if current.due_ns != 0 {
                self.check_waiting(now_ns, id, current, device);
            }
        }
    }

    /// Nothing new waits on the server, until it answers.
    pub(super) fn suspect(&mut self, slot: ServerSlot, device: &Device<S>) {
        if device.servers.suspect(slot) {
            self.suspicion = true;
        }
        self.usable = self.usable.without(SlotSet::one(slot));
    }

    /// Of these servers, which can be used again, the op asks at once what they have not answered: the
    /// longer they were silent, the longer it would wait before it asks again.
    pub(super) fn ask_those_back(
        &mut self,
        now_ns: u64,
        index: usize,
        back: SlotSet,
        device: &Device<S>,
    ) {
        if back.is_empty() {
            return;
        }
        for transfer in 0..MAX_REPLICAS {
            let id = TransferId {
                op: index,
                transfer,
            };
            let Some(transfer) = self.transfer_mut(id) else {
                return;
            };
            let is_back = transfer.slot.is_some_and(|slot| back.contains(slot));
            if is_back && transfer.stage == TransferStage::Sent && transfer.tries != 0 {
                // It was silent before, not since.
                transfer.began_ns = now_ns;
                transfer.tries = 0;
                transfer.due_ns = now_ns;
            }
        }
        self.check_transfers(now_ns, index, device);
    }

    /// No answer in time.
    fn transfer_timed_out(
        &mut self,
        now_ns: u64,
        id: TransferId,
        transfer: Transfer,
        device: &Device<S>,
    ) {
        let Some(slot) = transfer.slot else {
            return;
        };
        self.counters.timeouts = self.counters.timeouts.wrapping_add(1);
        let was_stopped = now_ns.saturating_sub(transfer.due_ns) >= STOPPED_NS;
        let path = self.path_mut(slot);
        let rtt_ns = path.rtt.smoothed_ns();
        path.window.on_loss(now_ns, rtt_ns);
        path.overdue = true;
        let silent_ns = now_ns.saturating_sub(path.heard_ns.max(transfer.began_ns));
        if was_stopped {
            if let Some(transfer) = self.transfer_mut(id) {
                transfer.began_ns = now_ns;
            }
        } else if silent_ns >= path.suspect_after_ns(device.io_timeout_ns()) {
            self.suspect(slot, device);
        }
        if let Some(transfer) = self.transfer_mut(id) {
            transfer.tries = transfer.tries.saturating_add(1);
        }
        match self.ops.get(id.op).map(|op| op.kind) {
            Some(Kind::PageOut) => self.page_out_timed_out(now_ns, id, slot, device),
            Some(Kind::PageIn) => self.page_in_timed_out(now_ns, id, slot, device),
            Some(Kind::Copy) => self.copy_timed_out(id, slot, device),
            Some(Kind::Mirror) | None => {}
        }
        // The path's MTU may be another now: what was sent may not have fitted.
        self.cut_again(now_ns, id, slot, device);
    }

    /// It waits for a window that does not open: go elsewhere if the server is out of use, or somebody
    /// else has the page.
    fn check_waiting(
        &mut self,
        now_ns: u64,
        id: TransferId,
        transfer: Transfer,
        device: &Device<S>,
    ) {
        let Some(slot) = transfer.slot else {
            return;
        };
        let again_ns = now_ns.saturating_add(self.retry_after_ns(slot, 0, device));
        if let Some(transfer) = self.transfer_mut(id) {
            transfer.due_ns = again_ns;
        }
        self.note_deadline(again_ns);
        let kind = self.ops.get(id.op).map(|op| op.kind);
        if device.servers.usable().contains(slot) {
            // Whoever fills the window may be silent, and not yet known to be.
            match kind {
                Some(Kind::PageOut) => self.want_disk(id.op, device),
                Some(Kind::PageIn) => {
                    self.page_in_waited(now_ns, id, device);
                }
                _ => {}
            }
        } else {
            match kind {
                Some(Kind::PageOut) => self.page_out_timed_out(now_ns, id, slot, device),
                Some(Kind::PageIn) => self.page_in_timed_out(now_ns, id, slot, device),
                Some(Kind::Copy) => self.copy_timed_out(id, slot, device),
                Some(Kind::Mirror) | None => {}
            }
        }
    }

    /// Releases the transfer if its server's pages are gone, or a page-out cannot end on the
    /// strength of a copy there. Returns whether that is so.
    pub(super) fn release_if_invalid(&mut self, id: TransferId, device: &Device<S>) -> bool {
        let Some(op) = self.ops.get(id.op) else {
            return false;
        };
        let Some(transfer) = op.transfers.get(id.transfer) else {
            return false;
        };
        let quiescing = match op.kind {
            Kind::PageOut | Kind::Copy | Kind::Mirror => device.servers.quiescing(),
            Kind::PageIn => SlotSet::EMPTY,
        };
        let is_gone = transfer.stage != TransferStage::Idle
            && transfer.slot.is_some_and(|slot| {
                quiescing.contains(slot) || !device.servers.is_current(slot, transfer.incarnation)
            })
            && !mutated!(IncarnationUnchecked);
        if is_gone {
            self.release(id);
        }
        is_gone
    }

    /// Begins the transfer anew if its fragments are longer than now are known to cross the path.
    fn cut_smaller(&mut self, now_ns: u64, id: TransferId, device: &Device<S>) {
        let Some(transfer) = self.transfer_mut(id) else {
            return;
        };
        let (Some(slot), Some(cut)) = (transfer.slot, transfer.cut) else {
            return;
        };
        let is_asked = matches!(transfer.stage, TransferStage::Sent | TransferStage::Queued);
        if is_asked && device.servers.fragmentation(slot).count() > cut.count() {
            self.refragment(now_ns, id, slot, device);
        }
    }

    /// Begins the transfer, if it still is to this server, anew with fragments of the length that is now
    /// right. Its tries and its time go on: the length may change again and again.
    fn cut_again(&mut self, now_ns: u64, id: TransferId, slot: ServerSlot, device: &Device<S>) {
        let cut = device.servers.fragmentation(slot);
        let is_other = |transfer: &Transfer| {
            let is_asked = matches!(transfer.stage, TransferStage::Sent | TransferStage::Queued);
            is_asked && transfer.slot == Some(slot) && transfer.cut != Some(cut)
        };
        let Some(before) = self.transfer_mut(id).copied().filter(is_other) else {
            return;
        };
        self.refragment(now_ns, id, slot, device);
        if let Some(transfer) = self.transfer_mut(id) {
            (transfer.tries, transfer.began_ns) = (before.tries, before.began_ns);
        }
    }

    /// Begins the transfer anew, with fragments of the length that is now right.
    fn refragment(&mut self, now_ns: u64, id: TransferId, slot: ServerSlot, device: &Device<S>) {
        self.release(id);
        self.start_transfer(now_ns, id, slot, device);
    }

    /// Servers have come or gone, or the way to one has become narrower: transfers to those that
    /// are gone end, and the op goes on.
    pub(super) fn look_at_servers(&mut self, now_ns: u64, index: usize, device: &Device<S>) {
        let mut dropped = false;
        for transfer in 0..MAX_REPLICAS {
            let id = TransferId {
                op: index,
                transfer,
            };
            dropped |= self.release_if_invalid(id, device);
            self.cut_smaller(now_ns, id, device);
        }
        // Whoever waits for the disk alone, may have the servers instead.
        if !dropped && self.ops.get(index).is_none_or(|op| op.is_waiting()) {
            return;
        }
        match self.ops.get(index).map(|op| op.kind) {
            Some(Kind::PageOut) => self.continue_page_out(now_ns, index, device),
            Some(Kind::PageIn) => self.continue_page_in(now_ns, index, device),
            Some(Kind::Copy) => self.continue_copy(index),
            Some(Kind::Mirror) | None => {}
        }
    }
}
