// SPDX-License-Identifier: GPL-2.0

//! A disk, and its operations as a block device.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device::Device,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    fmt::{
        self,
        Write, //
    },
    module::this_module,
    prelude::*,
    static_lock_class,
    str::NullTerminatedFormatter,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
    types::{
        ForeignOwnable,
        ScopeGuard, //
    },
};

use super::{
    operations::{
        ForeignBorrowed,
        Operations, //
    },
    tag_set::TagSet, //
};
use crate::linux::{
    block::{
        place::BLOCK_LEN,
        DeviceNumber, //
    },
    helpers,
    module, //
};

/// Bytes of a sector, the block layer's unit.
const SECTOR_SIZE: u32 = 512;

/// `BLK_FEAT_STABLE_WRITES`: pages are not written to while they are under writeback.
const BLK_FEAT_STABLE_WRITES: bindings::blk_features_t = 1 << 5;

/// `BLK_OPEN_WRITE`
const BLK_OPEN_WRITE: bindings::blk_mode_t = 1 << 1;

/// The operations of a disk as a block device: `struct block_device_operations`.
///
/// Could be removed with [`Operations`], once the kernel crate lets a driver set these.
///
/// # Examples
///
/// See the [module](super).
#[vtable]
pub(crate) trait BlockDeviceOperations: Operations {
    /// The disk is about to be opened, for writing or not. An error refuses that. May sleep.
    fn open(queue_data: ForeignBorrowed<'_, Self::QueueData>, for_writing: bool) -> Result {
        let _ = (queue_data, for_writing);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Page `slot` of the device, used as swap space, is needed no longer. Called under a
    /// spinlock: only note it. On a partition `slot` counts from its beginning, so the disk must be built
    /// with [`GenDiskBuilder::no_partitions`].
    fn swap_slot_free_notify(queue_data: ForeignBorrowed<'_, Self::QueueData>, slot: u64) {
        let _ = (queue_data, slot);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The C callbacks of `T`.
struct DeviceVTable<T: BlockDeviceOperations>(PhantomData<T>);

/// The driver's data of a queue. Null after the disk has been removed.
///
/// # Safety
///
/// - `queue` must be live for `'a`.
unsafe fn queue_data_of<'a>(queue: *mut bindings::request_queue) -> &'a Atomic<*mut c_void> {
    // SAFETY: The queue is live by the requirements of this function, and the field is an aligned
    // pointer, which only this file writes.
    unsafe { &*(&raw mut (*queue).queuedata).cast() }
}

impl<T: BlockDeviceOperations> DeviceVTable<T> {
    /// # Safety
    ///
    /// - Only the swap code may call this, with a disk made by [`GenDiskBuilder::build`].
    unsafe extern "C" fn swap_slot_free_notify_callback(
        bdev: *mut bindings::block_device,
        slot: c_ulong,
    ) {
        // A disk may be removed while it is open. Its data is freed after an RCU grace period.
        let _guard = rcu::read_lock();
        // SAFETY: The swap code holds the device open, so it and its queue are live.
        let data = unsafe { queue_data_of((*bdev).bd_queue) }.load(Relaxed);
        if !data.is_null() {
            // SAFETY: It was made by `into_foreign`, and is not freed within this read-side section.
            let queue_data = unsafe { T::QueueData::borrow(data) };
            T::swap_slot_free_notify(queue_data, slot as u64)
        }
    }

    /// # Safety
    ///
    /// - Only the block layer may call this, with a disk made by [`GenDiskBuilder::build`].
    unsafe extern "C" fn open_callback(
        disk: *mut bindings::gendisk,
        mode: bindings::blk_mode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The block layer has a reference to the disk, so it, its queue and the queue's
            // data (made by `into_foreign`) are live: a disk is opened under a lock, which `del_gendisk`
            // takes before it is gone.
            let queue_data = unsafe { T::QueueData::borrow((*(*disk).queue).queuedata) };
            T::open(queue_data, mode & BLK_OPEN_WRITE != 0)?;
            Ok(0)
        })
    }

    /// Its owner is this module, which therefore stays while the disk is open.
    const TABLE: &'static bindings::block_device_operations = &bindings::block_device_operations {
        open: if T::HAS_OPEN {
            Some(Self::open_callback)
        } else {
            None
        },
        swap_slot_free_notify: if T::HAS_SWAP_SLOT_FREE_NOTIFY {
            Some(Self::swap_slot_free_notify_callback)
        } else {
            None
        },
        owner: this_module::<<T as BlockDeviceOperations>::OwnerModule>().as_ptr(),
        ..pin_init::zeroed()
    };
}

/// A builder for [`GenDisk`]. Disks are not rotational, have no volatile cache, and blocks as long as a
/// page, as those of the kernel crate's builder unless it is called with other values.
///
/// Could be removed in a release after 7.3, once that of the kernel crate has these limits and features,
/// and [`Operations`] is its trait.
///
/// # Examples
///
/// See the [module](super).
pub(crate) struct GenDiskBuilder {
    capacity_sectors: u64,
    max_hw_sectors: u32,
    max_hw_discard_sectors: u32,
    features: bindings::blk_features_t,
    flags: u32,
}

impl GenDiskBuilder {
    /// The sectors of a block, and the fewest that the block layer takes for `max_hw_sectors`.
    const MIN_HW_SECTORS: u32 = BLOCK_LEN / SECTOR_SIZE;

    /// `BLK_DEV_MAX_SECTORS`: a disk has fewer bytes than 2^63.
    const MAX_CAPACITY: u64 = i64::MAX as u64 / SECTOR_SIZE as u64;

    /// A disk without any capacity yet.
    pub(crate) fn new() -> Self {
        Self {
            capacity_sectors: 0,
            max_hw_sectors: Self::MIN_HW_SECTORS,
            max_hw_discard_sectors: 0,
            features: 0,
            flags: 0,
        }
    }

    /// Its capacity, in sectors of 512 bytes.
    pub(crate) fn capacity_sectors(mut self, sectors: u64) -> Self {
        self.capacity_sectors = sectors;
        self
    }

    /// The most sectors that a read or write may have: a block by default.
    pub(crate) fn max_hw_sectors(mut self, sectors: u32) -> Self {
        self.max_hw_sectors = sectors;
        self
    }

    /// The most sectors that a discard may name; 0, as at first, is no discard.
    pub(crate) fn max_hw_discard_sectors(mut self, sectors: u32) -> Self {
        self.max_hw_discard_sectors = sectors;
        self
    }

    /// Pages are not written to while they are under writeback.
    pub(crate) fn stable_writes(mut self) -> Self {
        self.features |= BLK_FEAT_STABLE_WRITES;
        self
    }

    /// The kernel does not look for partitions.
    pub(crate) fn no_partitions(mut self) -> Self {
        self.flags |= bindings::GENHD_FL_NO_PART;
        self
    }

    fn limits(&self) -> bindings::queue_limits {
        let has_discard = self.max_hw_discard_sectors != 0;
        bindings::queue_limits {
            features: self.features,
            logical_block_size: BLOCK_LEN,
            physical_block_size: BLOCK_LEN,
            io_min: BLOCK_LEN,
            max_hw_sectors: self.max_hw_sectors,
            // O_DIRECT may bring pieces as short as a sector.
            // CAST: At most that.
            max_segments: self.max_hw_sectors.min(0xffff) as u16,
            max_segment_size: u32::MAX,
            max_hw_discard_sectors: self.max_hw_discard_sectors,
            discard_granularity: if has_discard { BLOCK_LEN } else { 0 },
            ..pin_init::zeroed()
        }
    }

    /// Makes the disk `/dev/NAME`. Fails with `EINVAL` for a name, a capacity or a limit that the block
    /// layer does not take.
    ///
    /// Requests may come, and programs may open the disk, before this returns. So a module's `init` should
    /// do this last: if it fails afterwards, it waits until nothing has the disk open ([`GenDisk`]).
    ///
    /// # Context
    ///
    /// Process. Sleeps.
    pub(crate) fn build<T: BlockDeviceOperations>(
        self,
        name: fmt::Arguments<'_>,
        tagset: Arc<TagSet<T>>,
        queue_data: T::QueueData,
    ) -> Result<GenDisk<T>> {
        if self.max_hw_sectors < Self::MIN_HW_SECTORS || self.capacity_sectors > Self::MAX_CAPACITY
        {
            return Err(EINVAL);
        }
        let data = queue_data.into_foreign();
        let drop_data = ScopeGuard::new(|| {
            // SAFETY: `data` was made by `into_foreign` above, and the disk has not been made.
            drop(unsafe { T::QueueData::from_foreign(data) });
        });

        // SAFETY: The tag set is initialised, and the limits and `data` are valid.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                tagset.raw_tag_set(),
                &mut self.limits(),
                data,
                static_lock_class!().as_ptr(),
            )
        })?;
        drop_data.dismiss();
        let put = ScopeGuard::new_with_data(disk, |disk| {
            // SAFETY: `disk` has been made above and not been added. The function puts the last reference,
            // which ends the queue. (With CONFIG_DEBUG_KOBJECT_RELEASE that is later, for C drivers too.)
            // Nothing uses `data` then, which was made by `into_foreign` above.
            unsafe {
                helpers::put_disk_last(disk);
                drop(T::QueueData::from_foreign(data));
            }
        });

        // SAFETY: The disk is not added yet, so nothing else uses it.
        let disk_name = unsafe {
            (*disk).fops = DeviceVTable::<T>::TABLE;
            (*disk).flags |= self.flags as i32;
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
            _tagset: tagset,
        })
    }
}

/// A disk. Dropping it waits until no request is under way, and removes the disk, also if it is open.
///
/// An open file of the disk keeps the module, but not while the module's `init` fails. There the drop waits
/// until nothing has the disk open, without a bound, because the module's code and tables are freed next. The
/// helper polls the number of openers. In the kernel it would be replaced by a load that fails waiting for
/// references to the module, as unloading does.
///
/// # Context
///
/// It is dropped in process context, and sleeps.
///
/// Could be removed with [`GenDiskBuilder`].
///
/// # Invariants
///
/// `disk` is a live disk that has been added; its queue's data was made by `into_foreign` of a
/// `T::QueueData`.
///
/// # Examples
///
/// See the [module](super).
pub(crate) struct GenDisk<T: Operations> {
    disk: NonNull<bindings::gendisk>,
    // After the disk: its requests live here.
    _tagset: Arc<TagSet<T>>,
}

// SAFETY: A disk may be taken away by any thread; its queue data is `Send`.
unsafe impl<T: Operations> Send for GenDisk<T> {}
// SAFETY: `&GenDisk` gives no access but to the address.
unsafe impl<T: Operations> Sync for GenDisk<T> {}

impl<T: Operations> GenDisk<T> {
    /// Returns a reference to it.
    pub(crate) fn reference(&self) -> DiskRef {
        // INVARIANT: By the type invariant it has been added.
        // SAFETY: By the type invariant it is live, and its device is initialised.
        DiskRef(unsafe { Device::get_device(&raw mut (*(*self.disk.as_ptr()).part0).bd_device) })
    }
}

/// A reference to a disk, which may have been removed since. The last one is dropped in process context.
///
/// Could be removed with [`GenDisk`].
///
/// # Invariants
///
/// The device is that of a disk that has been added.
///
/// # Examples
///
/// ```ignore
/// fn report<T: Operations>(disk: &GenDisk<T>) {
///     if disk.reference().is_below_another() {
///         pr_info!("it is in use by the device mapper\n");
///     }
/// }
/// ```
pub(crate) struct DiskRef(ARef<Device>);

impl DiskRef {
    fn as_ptr(&self) -> *mut bindings::device {
        // `Device` is transparent over it.
        core::ptr::from_ref(&*self.0).cast_mut().cast()
    }

    /// Returns the disk's number.
    pub(crate) fn number(&self) -> DeviceNumber {
        // SAFETY: By the type invariant it is live, and has been given its number.
        DeviceNumber(unsafe { (*self.as_ptr()).devt })
    }

    /// Returns whether another disk is made of it, as the device mapper makes them. Process context; sleeps.
    pub(crate) fn is_below_another(&self) -> bool {
        // SAFETY: By the type invariant it is the device of a disk.
        unsafe { helpers::disk_is_below_another(self.as_ptr()) }
    }
}

impl<T: Operations> Drop for GenDisk<T> {
    fn drop(&mut self) {
        let disk = self.disk.as_ptr();
        // SAFETY: By the type invariant. After `del_gendisk` the disk cannot be opened, and has no
        // requests and no hardware queues. `swap_slot_free_notify_callback` then finds no data, and
        // `synchronize_rcu` waits for calls that found it before. So nothing uses the data, which was
        // made by `into_foreign`. Until `put_disk` the disk is live for `disk_wait_closed`.
        unsafe {
            bindings::del_gendisk(disk);
            let data = queue_data_of((*disk).queue).xchg(core::ptr::null_mut(), Full);
            rcu::synchronize_rcu();
            if module::is_coming(this_module::<T::OwnerModule>()) {
                helpers::disk_wait_closed(disk);
            }
            bindings::put_disk(disk);
            drop(T::QueueData::from_foreign(data));
        }
    }
}
