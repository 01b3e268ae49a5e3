// SPDX-License-Identifier: GPL-2.0

//! A disk.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fmt::{
        self,
        Write, //
    },
    prelude::*,
    static_lock_class,
    str::NullTerminatedFormatter,
    sync::Arc,
    types::{
        ForeignOwnable,
        ScopeGuard, //
    },
};

use super::{
    operations::{
        Operations,
        OperationsVTable, //
    },
    tag_set::TagSet,
    BLOCK_SIZE, //
};
use crate::linux::block::bdev::DeviceNumber;

/// Bytes of a sector, the block layer's unit.
const SECTOR_SIZE: u32 = 512;

/// `BLK_FEAT_STABLE_WRITES`: pages are not written to while they are under writeback.
const BLK_FEAT_STABLE_WRITES: bindings::blk_features_t = 1 << 5;

/// What a disk is to be like.
///
/// Always: blocks of [`BLOCK_SIZE`] bytes, not rotational, no volatile cache, stable writes, no
/// partitions.
pub(crate) struct GenDiskBuilder {
    capacity_sectors: u64,
    max_request_bytes: u32,
    max_discard_bytes: u32,
}

impl GenDiskBuilder {
    /// A disk of `capacity_sectors` sectors of 512 bytes, rounded down to whole blocks.
    pub(crate) fn new(capacity_sectors: u64) -> Self {
        let sectors = u64::from(BLOCK_SIZE as u32 / SECTOR_SIZE);
        Self {
            capacity_sectors: capacity_sectors - capacity_sectors % sectors,
            max_request_bytes: BLOCK_SIZE as u32,
            max_discard_bytes: 0,
        }
    }

    /// The most bytes that a read or write may have: [`BLOCK_SIZE`] unless told otherwise.
    pub(crate) fn max_request_bytes(mut self, bytes: u32) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// The most bytes that a discard may name; 0, as at first, is no discard.
    pub(crate) fn max_discard_bytes(mut self, bytes: u32) -> Self {
        self.max_discard_bytes = bytes;
        self
    }

    fn limits(&self) -> bindings::queue_limits {
        let block = BLOCK_SIZE as u32;
        let segments = (self.max_request_bytes / SECTOR_SIZE).clamp(1, 0xffff);
        bindings::queue_limits {
            features: BLK_FEAT_STABLE_WRITES,
            logical_block_size: block,
            physical_block_size: block,
            io_min: block,
            max_hw_sectors: self.max_request_bytes / SECTOR_SIZE,
            // O_DIRECT may bring pieces as short as a sector.
            // CAST: Clamped above.
            max_segments: segments as u16,
            max_segment_size: u32::MAX,
            max_hw_discard_sectors: self.max_discard_bytes / SECTOR_SIZE,
            discard_granularity: if self.max_discard_bytes == 0 {
                0
            } else {
                block
            },
            ..pin_init::zeroed()
        }
    }

    /// Makes the disk `/dev/NAME`. Requests may come before this returns.
    pub(crate) fn build<T: Operations>(
        self,
        name: fmt::Arguments<'_>,
        tag_set: Arc<TagSet<T>>,
        queue_data: T::QueueData,
    ) -> Result<GenDisk<T>> {
        let data = queue_data.into_foreign();
        let drop_data = ScopeGuard::new(|| {
            // SAFETY: `data` was made by `into_foreign` above, and the disk has not been made.
            drop(unsafe { T::QueueData::from_foreign(data) });
        });

        // SAFETY: The tag set is initialised, and the limits and `data` are valid.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                tag_set.raw(),
                &mut self.limits(),
                data,
                static_lock_class!().as_ptr(),
            )
        })?;
        drop_data.dismiss();
        let put = ScopeGuard::new_with_data(disk, |disk| {
            // SAFETY: `disk` has been made above and not been added; `put_disk` ends the queue,
            // after which nothing uses `data`, which was made by `into_foreign` above.
            unsafe {
                bindings::put_disk(disk);
                drop(T::QueueData::from_foreign(data));
            }
        });

        // SAFETY: The disk is not added yet, so nobody else uses it.
        let disk_name = unsafe {
            (*disk).fops = OperationsVTable::<T>::block_device_ops();
            (*disk).flags |= bindings::GENHD_FL_NO_PART as i32;
            &mut (*disk).disk_name
        };
        NullTerminatedFormatter::new(disk_name)
            .ok_or(EINVAL)?
            .write_fmt(name)?;

        // SAFETY: `disk` is a live disk, and its name, operations and capacity are set when it is
        // added.
        to_result(unsafe {
            bindings::set_capacity(disk, self.capacity_sectors);
            bindings::device_add_disk(core::ptr::null_mut(), disk, core::ptr::null_mut())
        })?;
        put.dismiss();

        // INVARIANT: Made and added above; the queue's data is `data`, made by `into_foreign`.
        Ok(GenDisk {
            // SAFETY: `__blk_mq_alloc_disk` returned no error, and never returns null.
            disk: unsafe { NonNull::new_unchecked(disk) },
            _tag_set: tag_set,
        })
    }
}

/// A disk. Dropping it waits until no request is under way, and takes it away.
///
/// # Invariants
///
/// `disk` is a live disk that has been added; its queue's data was made by `into_foreign` of a
/// `T::QueueData`.
pub(crate) struct GenDisk<T: Operations> {
    disk: NonNull<bindings::gendisk>,
    // After the disk: its requests live here.
    _tag_set: Arc<TagSet<T>>,
}

// SAFETY: A disk may be taken away by any thread; its queue data is `Send`.
unsafe impl<T: Operations> Send for GenDisk<T> {}
// SAFETY: `&GenDisk` gives no access but to the address.
unsafe impl<T: Operations> Sync for GenDisk<T> {}

impl<T: Operations> GenDisk<T> {
    /// Its number.
    pub(crate) fn number(&self) -> DeviceNumber {
        // SAFETY: By the type invariant it is live, and has been given its number.
        DeviceNumber(unsafe { (*(*self.disk.as_ptr()).part0).bd_dev })
    }
}

impl<T: Operations> Drop for GenDisk<T> {
    fn drop(&mut self) {
        let disk = self.disk.as_ptr();
        // SAFETY: By the type invariant. `del_gendisk` waits for all requests, `put_disk` ends
        // the queue's hardware contexts; then nothing uses the queue's data any more.
        unsafe {
            let data = (*(*disk).queue).queuedata;
            bindings::del_gendisk(disk);
            bindings::put_disk(disk);
            drop(T::QueueData::from_foreign(data));
        }
    }
}
