// SPDX-License-Identifier: GPL-2.0

//! Block devices on blk-mq: what `kernel::block::mq` will be once it has sectors, late errors,
//! per-request data and queue limits. Names and shapes follow it.
//!
//! A driver implements [`Operations`], makes a [`TagSet`] and a [`GenDisk`], and is handed each
//! [`Request`] as an owned value: it can be ended once, from any context, and dropping it ends it
//! with an error. The data of a request is reached [`Block`] by [`Block`].
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

mod block;
mod gen_disk;
mod operations;
mod own_block;
mod request;
mod tag_set;

pub(crate) use block::{
    Block,
    Span,
    BLOCK_SIZE, //
};
pub(crate) use gen_disk::{
    GenDisk,
    GenDiskBuilder, //
};
pub(crate) use operations::{
    Operations, //
};
pub(crate) use own_block::OwnBlock;
pub(crate) use request::{
    BlkStatus,
    Op,
    PartCount,
    Request,
    RequestPart,
    MAX_PARTS, //
};
pub(crate) use tag_set::TagSet;
