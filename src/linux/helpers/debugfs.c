// SPDX-License-Identifier: GPL-2.0

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

/* What a file shows; its seq_file's private pointer is to this. */
struct shown {
	int (*show)(struct seq_file *file, void *v);
};

static int shown_open(struct inode *inode, struct file *file)
{
	struct shown *shown = inode->i_private;

	return single_open(file, shown->show, shown);
}

/*
 * No seeking: it would make the text anew, with other numbers, of other lengths, and whoever reads
 * line by line (a shell) would go on in the middle of a line, or miss one.
 */
static const struct file_operations shown_fops = {
	.owner = THIS_MODULE,
	.open = shown_open,
	.read = seq_read,
	.release = single_release,
};

struct dentry *rust_helper_debugfs_dir(const char *name)
{
	return debugfs_create_dir(name, NULL);
}

void rust_helper_debugfs_file(const char *name, struct dentry *dir, struct shown *shown)
{
	debugfs_create_file(name, 0444, dir, shown, &shown_fops);
}

void rust_helper_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}
