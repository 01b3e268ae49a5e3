// SPDX-License-Identifier: GPL-2.0

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/kernfs.h>
#include <linux/rcupdate.h>

/* Constants that bindgen does not see, as the wrappers spell them. */
static_assert((__force u8)BLK_STS_NOTSUPP == 1);
static_assert((__force u8)BLK_STS_TIMEOUT == 2);
static_assert((__force u8)BLK_STS_NOSPC == 3);
static_assert((__force u8)BLK_STS_TRANSPORT == 4);
static_assert((__force u8)BLK_STS_MEDIUM == 7);
static_assert((__force u8)BLK_STS_RESOURCE == 9);
static_assert((__force u8)BLK_STS_IOERR == 10);
static_assert((__force u8)BLK_STS_DEV_RESOURCE == 13);
static_assert((__force u8)BLK_STS_DURATION_LIMIT == 17);
static_assert((__force u8)BLK_STS_INVAL == 19);
static_assert((__force u32)BLK_FEAT_STABLE_WRITES == 1u << 5);
static_assert((__force u32)BLK_OPEN_WRITE == 1u << 1);

/*
 * Waits until nothing has @disk open, which is removed, and the last closer does not read its operations any
 * more.
 */
void rust_helper_disk_wait_closed(struct gendisk *disk)
{
	while (disk_openers(disk))
		msleep(10);
	/* A closer holds this mutex while it counts itself out and while it may sleep. */
	mutex_lock(&disk->open_mutex);
	mutex_unlock(&disk->open_mutex);
	synchronize_rcu_tasks();
}

/*
 * Puts a disk that could not be added, once nothing else holds it: a later holder would end the queue, which uses
 * the tag set and the driver's data. None comes: nothing finds the device, which add_disk() has deleted.
 */
void rust_helper_put_disk_last(struct gendisk *disk)
{
	while (kref_read(&disk_to_dev(disk)->kobj.kref) != 1)
		msleep(10);
	put_disk(disk);
}

/* Whether another disk (dm, md) is made, among others, of a disk. Sleeps. */
bool rust_helper_disk_is_below_another(struct device *dev)
{
	struct gendisk *disk = dev_to_disk(dev);
	struct kobject *holders = disk->part0->bd_holder_dir;
	bool below = false;

	/* A disk that goes away is no longer live before it gives up that directory. */
	mutex_lock(&disk->open_mutex);
	if (disk_live(disk) && holders && holders->sd)
		below = !RB_EMPTY_ROOT(&holders->sd->dir.children);
	mutex_unlock(&disk->open_mutex);
	return below;
}
