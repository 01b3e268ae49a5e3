// SPDX-License-Identifier: GPL-2.0

//! Block device drivers on blk-mq: what `kernel::block::mq` will be once requests have an operation,
//! a sector, data, late errors and the driver's own data, and disks have queue limits. Names and
//! shapes follow it (of Linux 7.3), so that it can take this file's place step by step.
//!
//! A driver implements [`Operations`] and [`BlockDeviceOperations`], makes a [`TagSet`] and a
//! [`GenDisk`], and gets each [`Request`] as an owned value: it can be ended once, in any context, and
//! dropping it ends it with an error. Its data is divided into [`RequestBlock`]s. The request does not
//! end while there is one.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)
//!
//! # Examples
//!
//! A disk that reads as zeros and forgets what is written to it.
//!
//! ```ignore
//! struct Null;
//!
//! #[vtable]
//! impl Operations for Null {
//!     type QueueData = ();
//!     type HwData = ();
//!     type RequestData = ();
//!
//!     fn new_request_data() -> impl Init<()> {
//!         ()
//!     }
//!
//!     fn init_hctx(_queue_data: (), _hctx_idx: u32) -> Result<()> {
//!         Ok(())
//!     }
//!
//!     fn queue_rq(
//!         _hw_data: (),
//!         _queue_data: (),
//!         rq: Request<Self>,
//!         _is_last: bool,
//!     ) -> Result<(), Refused<Self>> {
//!         match rq.op() {
//!             Op::Read | Op::Write => {
//!                 for block in rq.into_blocks() {
//!                     if let Some(writer) = block.writer() {
//!                         writer.fill(0);
//!                     }
//!                 }
//!                 Ok(())
//!             }
//!             Op::Flush => Ok(rq.end(BlkStatus::OK)),
//!             _ => Err((rq, BlkStatus::NOTSUPP)),
//!         }
//!     }
//!
//!     fn commit_rqs(_hw_data: (), _queue_data: ()) {}
//!
//!     fn end_rq(rq: Request<Self>) {
//!         rq.end(BlkStatus::OK);
//!     }
//! }
//!
//! #[vtable]
//! impl BlockDeviceOperations for Null {
//!     fn open(_queue_data: (), for_writing: bool) -> Result {
//!         pr_info!("opened, for writing: {for_writing}\n");
//!         Ok(())
//!     }
//! }
//!
//! fn add() -> Result<GenDisk<Null>> {
//!     let tagset = Arc::pin_init(
//!         TagSet::new(1, 64, 1, TagSetFlag::NoSchedByDefault.into()),
//!         GFP_KERNEL,
//!     )?;
//!     GenDiskBuilder::new()
//!         .capacity_sectors(4096)
//!         .build(fmt!("null"), tagset, ())
//! }
//! ```

mod gen_disk;
mod operations;
mod request;
mod request_block;
mod tag_set;

pub(crate) use gen_disk::{
    BlockDeviceOperations,
    DiskRef,
    GenDisk,
    GenDiskBuilder, //
};
pub(crate) use operations::{
    Operations,
    Refused, //
};
pub(crate) use request::{
    BlkStatus,
    Op,
    Request, //
};
pub(crate) use request_block::RequestBlock;
pub(crate) use tag_set::{
    TagSet,
    TagSetFlag, //
};
