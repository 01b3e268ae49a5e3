// SPDX-License-Identifier: GPL-2.0
/*
 * What a block device is made of: whether a disk is below it. Found by what sysfs shows: the links to a disk's
 * slaves, and the loop driver's attribute.
 */

#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kernfs.h>
#include <linux/major.h>
#include <linux/module.h>
#include <linux/namei.h>

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
 * no link to it: it says its file's path, as in sysfs, which is looked up as the calling process sees it. @end
 * does not bound that: it waits for the path's file system.
 */
static int below_loop(struct gendisk *disk, dev_t *below, unsigned long end)
{
	struct device_attribute *attribute;
	struct kernfs_node *node;
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
	if (IS_ERR_OR_NULL(node)) {
		error = PTR_ERR_OR_ZERO(node);
		goto put_module;
	}
	attribute = container_of((struct attribute *)node->priv, struct device_attribute, attr);
	len = attribute->show(disk_to_dev(disk), attribute, text);
	if (len <= 1 || len >= PAGE_SIZE)
		goto put_node;
	/* The last byte is a newline. */
	text[len - 1] = '\0';
	if (kern_path(text, LOOKUP_FOLLOW, &path))
		goto put_node;
	inode = d_backing_inode(path.dentry);
	if (S_ISBLK(inode->i_mode))
		*below = inode->i_rdev;
	else if (inode->i_sb->s_bdev)
		*below = inode->i_sb->s_bdev->bd_dev;
	path_put(&path);
put_node:
	kernfs_put(node);
put_module:
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
