// SPDX-License-Identifier: GPL-2.0

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

/* What a file shows; the private pointer of its seq_file is to this. */
struct shown {
	int (*show)(struct seq_file *file, void *v);
};

static int shown_open(struct inode *inode, struct file *file)
{
	struct shown *shown = inode->i_private;

	/* A module whose init fails is freed without waiting for the references of open files. */
	if (READ_ONCE(THIS_MODULE->state) != MODULE_STATE_LIVE)
		return -ENODEV;
	return single_open(file, shown->show, shown);
}

/*
 * No seeking: it would make the text again, with other numbers of other lengths, and a program that
 * reads line by line (a shell) would continue in the middle of a line, or miss one.
 */
static const struct file_operations shown_fops = {
	.owner = THIS_MODULE,
	.open = shown_open,
	.read = seq_read,
	.release = single_release,
};

struct dentry *rust_helper_debugfs_create_dir(const char *name)
{
	return debugfs_create_dir(name, NULL);
}

void rust_helper_debugfs_create_shown(const char *name, struct dentry *dir, struct shown *shown)
{
	debugfs_create_file(name, 0444, dir, shown, &shown_fops);
}

void rust_helper_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}
