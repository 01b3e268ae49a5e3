// SPDX-License-Identifier: GPL-2.0

#include <linux/blkdev.h>
#include <linux/dcache.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kmemleak.h>
#include <linux/math64.h>
#include <linux/rcupdate.h>

bool rust_helper_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

u64 rust_helper_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

bool rust_helper_bdev_is_zoned(struct block_device *bdev)
{
	return bdev_is_zoned(bdev);
}

unsigned int rust_helper_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

unsigned int rust_helper_bdev_physical_block_size(struct block_device *bdev)
{
	return bdev_physical_block_size(bdev);
}

/* Whether its first byte lies within a physical block of the disk. */
bool rust_helper_bdev_is_misaligned(struct block_device *bdev)
{
	return bdev_alignment_offset(bdev) != 0;
}

bool rust_helper_bdev_is_synchronous(struct block_device *bdev)
{
	return bdev_synchronous(bdev);
}

/*
 * Whether a bio of whole pages may be REQ_NOWAIT: the queue must know it, and never split it, for
 * a bio that would be split ends with EAGAIN each time.
 */
bool rust_helper_bdev_takes_nowait(struct block_device *bdev, u64 sector, unsigned int sectors)
{
	struct request_queue *q = bdev_get_queue(bdev);
	unsigned int chunk = READ_ONCE(q->limits.chunk_sectors);
	u64 first = bdev->bd_start_sect + sector;

	if (!bdev_nowait(bdev) || sectors > queue_max_sectors(q) ||
	    sectors >> PAGE_SECTORS_SHIFT > queue_max_segments(q) ||
	    queue_virt_boundary(q) >= PAGE_SIZE)
		return false;
	return !chunk || div_u64(first, chunk) == div_u64(first + sectors - 1, chunk);
}

/* The holder is the flag that says that the device is gone. */
static void note_dead(struct block_device *bdev, bool surprise)
{
	u32 *gone = bdev->bd_holder;

	WRITE_ONCE(*gone, 1);
	mutex_unlock(&bdev->bd_holder_lock);
}

static const struct blk_holder_ops holder_ops = {
	.mark_dead = note_dead,
};

/* Claims a device: opens it exclusively, for reading and writing. */
struct file *rust_helper_bdev_claim(dev_t dev, u32 *gone)
{
	return bdev_file_open_by_dev(dev, BLK_OPEN_READ | BLK_OPEN_WRITE, gone,
				     &holder_ops);
}

/* After this no call for a claim is under way, and none begins: the kernel uses its flag only as a number. */
void rust_helper_bdev_disown(struct file *file)
{
	struct block_device *bdev = file_bdev(file);

	/* It stays allocated if the file is closed too late. */
	kmemleak_not_leak(file->private_data);
	mutex_lock(&bdev->bd_holder_lock);
	bdev->bd_holder_ops = NULL;
	mutex_unlock(&bdev->bd_holder_lock);
	/* A task that has unlocked the mutex in note_dead may still have to return from it. */
	if (READ_ONCE(*(u32 *)bdev->bd_holder))
		synchronize_rcu_tasks();
}

/*
 * Gives up a file that was opened here. In a kernel thread, another thread of the kernel's closes it. Returns
 * whether it has done so within @wait_ms.
 */
bool rust_helper_fput_wait(struct file *file, unsigned int wait_ms)
{
	unsigned long end = jiffies + msecs_to_jiffies(wait_ms);
	struct dentry *dentry = dget(file->f_path.dentry);
	bool closed;

	fput(file);
	/* No other file has this dentry, and the file keeps it until it is closed. */
	while (!(closed = READ_ONCE(dentry->d_lockref.count) == 1) && time_before(jiffies, end))
		fsleep(1000);
	dput(dentry);
	return closed;
}
