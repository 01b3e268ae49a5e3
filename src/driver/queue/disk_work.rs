// SPDX-License-Identifier: GPL-2.0

//! What a shard wants done with the local disk's mirror, and telling it: [`DiskWork`] and the
//! table in `src/engine/client/shard/disk_work.rs`.

use kernel::{
    prelude::*,
    sync::ArcBorrow, //
};

use super::{
    Queue,
    State, //
};
use crate::{
    driver::{
        core::Core,
        local::Pool, //
    },
    engine::client::{
        mirror::{
            BufferId,
            Get,
            ReadError,
            Token, //
        },
        shard::{
            AskAnswer,
            DiskRead,
            DiskWant,
            DiskWork,
            DiskWrite,
            PutAnswer,
            Taken, //
        },
    },
    linux::{
        block::mq::Block,
        time::hrtimer::now_ns, //
    },
};

/// What the shard must be told, and what is left to be done, under its lock.
///
/// The disk is asked, and waited for, under the lock: else its answer could come before the shard
/// knows that there will be one.
pub(super) enum DiskReply {
    /// A page has been put into a buffer, or has not.
    Put(DiskWrite, PutAnswer),
    /// The disk is to be waited for.
    Want(DiskWant),
    /// Buffers have been looked at, and maybe the page was copied from one.
    Looked(DiskRead, Taken),
    /// The disk is to be asked.
    Ask(DiskRead),
}

/// A page that was found in a buffer when the disk was to be asked for it.
pub(super) struct Found(Token, BufferId);

/// Does what can be done without the shard's lock. `block` is that of the op.
pub(super) fn execute(
    core: ArcBorrow<'_, Core>,
    work: DiskWork,
    block: Option<Block>,
) -> Option<DiskReply> {
    // There is one, or the shard would want nothing of it.
    let pool = core.local.pool();
    Some(match work {
        DiskWork::Write(write) => {
            let answer = match (pool, block) {
                (Some(pool), Some(block)) => pool.put(core, &write, &block),
                _ => PutAnswer::Closed,
            };
            DiskReply::Put(write, answer)
        }
        DiskWork::Want(want) => DiskReply::Want(want),
        DiskWork::Settle(settle) => {
            if let Some(pool) = pool {
                pool.settle(core, &settle);
            }
            return None;
        }
        DiskWork::Read(read) if read.buffers_only => {
            let mut taken = Taken::Nothing;
            if let (Some(pool), Some(block)) = (pool, block) {
                if let Get::Buffered(id) = pool.ask(core, &read) {
                    taken = pool.copy(id, &block, read.wants_crc);
                    pool.release(core, id);
                }
            }
            DiskReply::Looked(read, taken)
        }
        DiskWork::Read(read) => DiskReply::Ask(read),
        DiskWork::PassTurn(shard, way) => {
            if let Some(pool) = pool {
                pool.pass_turn(core, shard, way);
            }
            return None;
        }
    })
}

impl State {
    /// The block that some work is about to touch.
    pub(super) fn block_of(&self, work: &DiskWork) -> Option<Block> {
        match work {
            DiskWork::Write(write) => self.block(write.op),
            DiskWork::Read(read) if read.buffers_only => self.block(read.op),
            _ => None,
        }
    }

    /// Tells the shard. Returns a page that was found in a buffer after all:
    /// [`Queue::disk_read`] without the lock, then release it.
    pub(super) fn disk_reply(
        &mut self,
        core: ArcBorrow<'_, Core>,
        now_ns: u64,
        told: DiskReply,
    ) -> Option<Found> {
        let shard = &mut self.shard;
        let device = &core.device;
        let pool = core.local.pool();
        let want = |want: &DiskWant| pool.is_some_and(|pool| pool.want(core, want));
        match told {
            DiskReply::Put(write, answer) => {
                shard.disk_put(now_ns, &write, answer, device);
                if write.is_urgent && answer == PutAnswer::Copied {
                    let DiskWrite {
                        token,
                        page,
                        version,
                        ..
                    } = write;
                    let is_told = want(&DiskWant {
                        token,
                        page,
                        version,
                    });
                    if !is_told {
                        shard.disk_written(now_ns, token, false, device);
                    }
                }
            }
            DiskReply::Want(wanted) => {
                if !want(&wanted) {
                    shard.disk_written(now_ns, wanted.token, false, device);
                }
            }
            DiskReply::Looked(read, taken) => shard.disk_looked(now_ns, &read, taken, device),
            DiskReply::Ask(read) => {
                let got = pool.map_or(Get::Absent, |pool| pool.ask(core, &read));
                let answer = match got {
                    Get::Buffered(_) | Get::Queued => AskAnswer::Queued,
                    Get::Full => AskAnswer::Full,
                    Get::Changed | Get::Absent => AskAnswer::Changed,
                    Get::TimedOut => AskAnswer::TimedOut,
                };
                shard.disk_asked(now_ns, &read, answer, device);
                if let Get::Buffered(id) = got {
                    return Some(Found(read.token, id));
                }
            }
        }
        None
    }
}

impl Queue {
    /// A page that was found: to be done without the lock.
    pub(super) fn take_found(&self, core: ArcBorrow<'_, Core>, found: Found) {
        let Found(token, id) = found;
        if let Some(pool) = core.local.pool() {
            self.disk_read(core, pool, token, Ok(id));
            pool.release(core, id);
        }
    }

    /// The disk has answered; the buffer is the caller's to release.
    pub(crate) fn disk_read(
        &self,
        core: ArcBorrow<'_, Core>,
        pool: &Pool,
        token: Token,
        result: Result<BufferId, ReadError>,
    ) {
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        let claim = guard
            .shard
            .disk_read(now_ns, token, result.map(|_| ()), &core.device);
        let (Some(claim), Ok(id)) = (claim, result) else {
            self.run(core, guard, now_ns);
            return;
        };
        let block = guard.block(claim.op);
        drop(guard);

        // The claim keeps the op, and with it the block, until it is given back.
        let taken = block.map_or(Taken::Nothing, |block| {
            pool.copy(id, &block, claim.wants_crc)
        });

        let mut guard = self.state.lock();
        guard
            .shard
            .disk_received(now_ns, &claim, taken, &core.device);
        self.run(core, guard, now_ns);
    }
}
