// SPDX-License-Identifier: GPL-2.0

//! Carrying out the shard's work: sending, copying and completing, without the queue's lock.

use kernel::sync::SpinLockIrqGuard;

use super::{
    OpPage,
    Queue,
    State, //
};
use crate::{
    driver::{
        local_disk::LocalPort,
        request_part::RequestPart,
        shared::Shared,
        storage::KernelStorage, //
        tx_frames::{
            Sent,
            Signer, //
        },
    },
    engine::client::{
        ids::PageIndex,
        repair::Repair,
        shard::{
            Action,
            Completion,
            OpId,
            Outcome,
            SendPayload, //
        },
        swap_device::SwapDevice,
    },
    linux::block::mq::BlkStatus,
};

/// What is done without the lock when an op has ended.
enum EndAction {
    /// Release the page from the op's frames, then end its part of the request.
    End {
        op: OpId,
        part: Option<RequestPart>,
        status: BlkStatus,
        wake: Option<PageIndex>,
    },
    /// Fill the page, then end its part of the request.
    Fill {
        part: Option<RequestPart>,
        value: u64,
    },
    /// An op of repair has ended. Its frames refer to a page of the module's own, and the op may be in use
    /// again already, so they are not released.
    Copied { wake: Option<PageIndex> },
}

impl Queue {
    /// Carries out the shard's work until there is none.
    ///
    /// One item for each hold of the lock: copying several out from under it costs more than taking
    /// a lock that is mostly free.
    pub(super) fn run<'a>(
        &'a self,
        shared: &Shared,
        mut guard: SpinLockIrqGuard<'a, State>,
        now_ns: u64,
    ) {
        let mut port = LocalPort(shared);
        loop {
            let action = guard.shard.poll(now_ns, &mut port, &shared.device);
            let is_quiet = guard.shard.is_quiet();
            if is_quiet {
                self.timer.arm(guard.next_timeout_ns());
            }
            let suspicion = guard.shard.take_suspicion();
            let unlock = |guard| {
                drop(guard);
                if suspicion {
                    shared.kick();
                }
            };
            match action {
                Some(Action::Seal(seal)) => {
                    let page = self.page_of(&guard, seal.op);
                    unlock(guard);
                    let sealed = match (self.sealing(shared, seal.op), &page) {
                        (Some((sealer, own)), Some(page)) => own.seal(sealer, &seal, page.block()),
                        _ => None,
                    };
                    drop(page);
                    guard = self.state.lock();
                    guard.shard.sealed(now_ns, &seal, sealed, &shared.device);
                }
                Some(Action::Send(send)) => {
                    let own = self.seals.get(send.id.op.index());
                    let page = match send.payload {
                        SendPayload::Page { .. } if own.is_none() => {
                            self.page_of(&guard, send.id.op)
                        }
                        _ => None,
                    };
                    unlock(guard);
                    let sent = match self.frames.get(send.id.op.index()) {
                        Some(frames) => {
                            let block = match own {
                                Some(own) => Some(own.block()),
                                None => page.as_ref().map(OpPage::block),
                            };
                            let signer = shared.keys.as_deref().map(|keys| Signer {
                                keys,
                                lane: self.lane,
                            });
                            shared.link.send(frames, &send, block, signer)
                        }
                        None => Sent::Done,
                    };
                    drop(page);
                    guard = self.state.lock();
                    if let Sent::Changed(crc) = sent {
                        guard.shard.page_changed(now_ns, &send, crc, &shared.device);
                    }
                    guard.shard.sent(now_ns, send.id, &shared.device);
                }
                Some(Action::Complete(completion)) => {
                    // Repair's next work is known only now.
                    let is_quiet = is_quiet && guard.repair.is_none();
                    let end = guard.complete(now_ns, completion, &shared.device);
                    unlock(guard);
                    let woken = self.execute(shared, end);
                    if is_quiet && woken.is_none() {
                        return;
                    }
                    guard = self.state.lock();
                    if woken.is_some() {
                        guard.shard.unpark(now_ns, woken, &shared.device);
                    }
                }
                Some(Action::FillBuffer(fill)) => {
                    let page = self.page_of(&guard, fill.op);
                    unlock(guard);
                    let crc = match (shared.local.pool(), &page) {
                        (Some(pool), Some(page)) => pool.fill(&fill, page.block()),
                        _ => None,
                    };
                    drop(page);
                    guard = self.state.lock();
                    let shard = &mut guard.shard;
                    shard.buffer_filled(now_ns, &fill, crc, &mut port, &shared.device);
                }
                Some(Action::ReadBuffer(read)) => {
                    let page = self.page_of(&guard, read.op);
                    unlock(guard);
                    let (copied, crc) =
                        match (shared.local.pool(), page.as_ref().and_then(OpPage::writer)) {
                            (Some(pool), Some(writer)) => pool.read(&read, &writer),
                            _ => (false, None),
                        };
                    drop(page);
                    guard = self.state.lock();
                    let shard = &mut guard.shard;
                    shard.buffer_read(now_ns, &read, copied, crc, &mut port, &shared.device);
                }
                None => {
                    unlock(guard);
                    return;
                }
            }
        }
    }

    /// Does one item. Returns a page that requests may be waiting for.
    fn execute(&self, shared: &Shared, end: EndAction) -> Option<PageIndex> {
        let wake = match end {
            EndAction::End {
                op,
                part,
                status,
                wake,
            } => {
                // Sealed pages are our own: a frame that is still queued may keep one.
                let frames = self
                    .frames
                    .get(op.index())
                    .filter(|_| self.seals.is_empty());
                if frames.is_some_and(|frames| !frames.release()) {
                    self.linger(op);
                }
                if let Some(part) = part {
                    part.end(status);
                }
                wake
            }
            EndAction::Fill { part, value } => {
                if let Some(part) = part {
                    if let Some(writer) = part.block().writer() {
                        writer.fill(value);
                    }
                    part.end(BlkStatus::OK);
                }
                None
            }
            EndAction::Copied { wake } => wake,
        };
        if wake.is_some() {
            // Requests of other queues may be waiting too: the worker checks.
            shared.kick();
        }
        wake
    }
}

impl State {
    /// An op has ended.
    #[inline]
    fn complete(
        &mut self,
        now_ns: u64,
        completion: Completion,
        device: &SwapDevice<KernelStorage>,
    ) -> EndAction {
        if self.repair.is_some() {
            return self.end_copy(now_ns, &completion, device);
        }
        let Completion { op, outcome, wake } = completion;
        let part = self.parts.get_mut(op.index()).and_then(Option::take);
        let status = match outcome {
            Outcome::Done => BlkStatus::OK,
            Outcome::Failed => BlkStatus::IOERR,
            // The kernel keeps the page in memory.
            Outcome::NoSpace => BlkStatus::NOSPC,
            Outcome::Zeros => return EndAction::Fill { part, value: 0 },
            Outcome::Filled(value) => return EndAction::Fill { part, value },
        };
        EndAction::End {
            op,
            part,
            status,
            wake,
        }
    }

    /// An op of repair has ended.
    #[cold]
    fn end_copy(
        &mut self,
        now_ns: u64,
        completion: &Completion,
        device: &SwapDevice<KernelStorage>,
    ) -> EndAction {
        let shard = &mut self.shard;
        let repair = self.repair.as_deref_mut();
        EndAction::Copied {
            wake: repair.and_then(|repair| repair.completed(now_ns, completion, shard, device)),
        }
    }

    /// When a timeout of the shard, or of repair, is due.
    fn next_timeout_ns(&self) -> u64 {
        let repair_ns = self.repair.as_deref().map(Repair::next_timeout_ns);
        self.shard
            .next_timeout_ns()
            .min(repair_ns.unwrap_or(u64::MAX))
    }
}
