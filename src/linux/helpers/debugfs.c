// SPDX-License-Identifier: GPL-2.0

#include <linux/debugfs.h>
#include <linux/fs.h>

struct dentry *rust_helper_debugfs_create_dir(const char *name, struct dentry *parent)
{
	return debugfs_create_dir(name, parent);
}

void rust_helper_debugfs_create_file(const char *name, umode_t mode, struct dentry *dir, void *data,
				     const struct file_operations *fops)
{
	debugfs_create_file(name, mode, dir, data, fops);
}

void rust_helper_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}
