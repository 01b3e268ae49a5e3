// SPDX-License-Identifier: GPL-2.0

#include <linux/blkdev.h>
#include <linux/dcache.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kernfs.h>
#include <linux/kmemleak.h>
#include <linux/major.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/path.h>

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

/* Opens a device, even if someone else has claimed it. */
struct file *rust_helper_bdev_open(dev_t dev)
{
	return bdev_file_open_by_dev(dev, BLK_OPEN_READ, NULL, NULL);
}

/*
 * After this the kernel begins no call for a claim, and uses its flag only as a number. A task that has
 * unlocked the mutex in note_dead may still have to return from it: see `Holders` in block/bdev/job.rs.
 */
void rust_helper_bdev_disown(struct file *file)
{
	struct block_device *bdev = file_bdev(file);

	/* It stays allocated if the file is closed too late. */
	kmemleak_not_leak(file->private_data);
	mutex_lock(&bdev->bd_holder_lock);
	bdev->bd_holder_ops = NULL;
	mutex_unlock(&bdev->bd_holder_lock);
}

/* A file that stays open for ever. */
void rust_helper_file_not_leak(struct file *file)
{
	kmemleak_not_leak(file);
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

/* Waits until @end at most: a task that opens the disk holds this mutex while it waits for the disk. */
static bool lock_disk(struct gendisk *disk, unsigned long end)
{
	while (!mutex_trylock(&disk->open_mutex)) {
		if (!time_before(jiffies, end))
			return false;
		fsleep(1000);
	}
	return true;
}

/*
 * The directory of a disk in sysfs, or the one with links to what it is made of; the caller puts it. Null if
 * there is none, an error after @end.
 */
static struct kernfs_node *directory_of(struct gendisk *disk, bool slaves, unsigned long end)
{
	struct kernfs_node *node = NULL;
	struct kobject *kobj;

	/* A disk that goes away is no longer live before it gives up its directories. */
	if (!lock_disk(disk, end))
		return ERR_PTR(-EBUSY);
	kobj = slaves ? disk->slave_dir : &disk_to_dev(disk)->kobj;
	if (disk_live(disk) && kobj) {
		node = kobj->sd;
		kernfs_get(node);
	}
	mutex_unlock(&disk->open_mutex);
	return node;
}

/*
 * The module of a disk's driver, for as long as the caller holds the reference that this takes. Null if it is
 * built in or going away, an error after @end.
 */
static struct module *owner_of(struct gendisk *disk, unsigned long end)
{
	struct module *owner = NULL;

	/* A driver stays while one of its disks is live, and this mutex is needed to take the disk away. */
	if (!lock_disk(disk, end))
		return ERR_PTR(-EBUSY);
	if (disk_live(disk) && try_module_get(disk->fops->owner))
		owner = disk->fops->owner;
	mutex_unlock(&disk->open_mutex);
	return owner;
}

static struct kernfs_node *loop_attribute(struct gendisk *disk, const char *name, unsigned long end)
{
	struct kernfs_node *parent = directory_of(disk, false, end);
	struct kernfs_node *dir, *node;

	if (IS_ERR_OR_NULL(parent))
		return parent;
	dir = kernfs_find_and_get(parent, "loop");
	kernfs_put(parent);
	if (!dir)
		return NULL;
	node = kernfs_find_and_get(dir, name);
	kernfs_put(dir);
	return node;
}

/*
 * The block device that a loop device's file is, or lies on, in @below; 0 if there is none. A loop device has
 * no link to it: it says its file's path, as in sysfs, which is looked up as the calling process sees it.
 */
static int below_loop(struct gendisk *disk, dev_t *below, unsigned long end)
{
	struct device_attribute *attribute;
	struct kernfs_node *node = NULL;
	struct module *owner;
	struct inode *inode;
	struct path path;
	int error = 0;
	char *text;
	ssize_t len;

	*below = 0;
	if (disk->major != LOOP_MAJOR)
		return 0;
	text = (char *)__get_free_page(GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	/* The attribute is the loop driver's, and stays as long as that does. A loop driver that is built in stays. */
	owner = owner_of(disk, end);
	if (IS_ERR(owner)) {
		error = PTR_ERR(owner);
		goto free;
	}
	if (!owner && IS_MODULE(CONFIG_BLK_DEV_LOOP))
		goto free;
	node = loop_attribute(disk, "backing_file", end);
	if (IS_ERR(node)) {
		error = PTR_ERR(node);
		node = NULL;
	}
	if (!node)
		goto put_module;
	attribute = container_of((struct attribute *)node->priv, struct device_attribute, attr);
	len = attribute->show(disk_to_dev(disk), attribute, text);
	if (len <= 1 || len >= PAGE_SIZE)
		goto put_module;
	/* The last byte is a newline. */
	text[len - 1] = '\0';
	if (kern_path(text, LOOKUP_FOLLOW, &path))
		goto put_module;
	inode = d_backing_inode(path.dentry);
	if (S_ISBLK(inode->i_mode))
		*below = inode->i_rdev;
	else if (inode->i_sb->s_bdev)
		*below = inode->i_sb->s_bdev->bd_dev;
	path_put(&path);
put_module:
	kernfs_put(node);
	module_put(owner);
free:
	free_page((unsigned long)text);
	return error;
}

/*
 * Whether @bdev is the disk @dev, or a part of it, or is made of it in up to @depth steps, or of more. An
 * error after @end.
 */
static int lies_on(struct block_device *bdev, dev_t dev, unsigned int depth, unsigned long end)
{
	struct gendisk *disk = bdev->bd_disk;
	struct kernfs_node *slaves, *link;
	struct class_dev_iter iter;
	struct device *other;
	dev_t below;
	int found;

	if (disk_devt(disk) == dev || !depth)
		return true;
	slaves = directory_of(disk, true, end);
	if (IS_ERR(slaves))
		return PTR_ERR(slaves);
	found = below_loop(disk, &below, end);
	/* A link has the name of what it leads to. */
	class_dev_iter_init(&iter, disk_to_dev(disk)->class, NULL, NULL);
	while (!found && (other = class_dev_iter_next(&iter))) {
		link = slaves ? kernfs_find_and_get(slaves, kobject_name(&other->kobj)) : NULL;
		if (link || (below && other->devt == below))
			found = lies_on(dev_to_bdev(other), dev, depth - 1, end);
		kernfs_put(link);
	}
	class_dev_iter_exit(&iter);
	kernfs_put(slaves);
	return found;
}

/*
 * Whether an open device is made of the disk of that number, which has one; an error if another task opens one
 * of the disks below it for longer than @wait_ms. What goes through a network to this machine itself is not
 * seen.
 */
int rust_helper_bdev_is_made_of(struct block_device *bdev, dev_t dev, unsigned int wait_ms)
{
	/* As deep as a stack of file systems may be, and more. */
	return lies_on(bdev, dev, 8, jiffies + msecs_to_jiffies(wait_ms));
}
