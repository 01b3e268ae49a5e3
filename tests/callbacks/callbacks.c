// SPDX-License-Identifier: GPL-2.0
/*
 * A function of each C type that the module's callbacks must have. scripts/callbacks maps them. Each is
 * used where the kernel's headers expect one, so that its type is the kernel's.
 */
#include <linux/bio.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/netfilter.h>
#include <linux/notifier.h>
#include <linux/seq_file.h>

static blk_status_t type_of_queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	return BLK_STS_OK;
}

static void type_of_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
}

static int type_of_init_hctx(struct blk_mq_hw_ctx *hctx, void *data, unsigned int index)
{
	return 0;
}

static void type_of_exit_hctx(struct blk_mq_hw_ctx *hctx, unsigned int index)
{
}

static int type_of_init_request(struct blk_mq_tag_set *set, struct request *rq, unsigned int index, int node)
{
	return 0;
}

static void type_of_exit_request(struct blk_mq_tag_set *set, struct request *rq, unsigned int index)
{
}

const struct blk_mq_ops types_of_blk_mq = {
	.queue_rq = type_of_queue_rq,
	.commit_rqs = type_of_commit_rqs,
	.init_hctx = type_of_init_hctx,
	.exit_hctx = type_of_exit_hctx,
	.init_request = type_of_init_request,
	.exit_request = type_of_exit_request,
};

static int type_of_bdev_open(struct gendisk *disk, blk_mode_t mode)
{
	return 0;
}

static void type_of_swap_slot_free_notify(struct block_device *bdev, unsigned long slot)
{
}

const struct block_device_operations types_of_block_device = {
	.open = type_of_bdev_open,
	.swap_slot_free_notify = type_of_swap_slot_free_notify,
};

static void type_of_bio_end_io(struct bio *bio)
{
}

bio_end_io_t *types_of_bio = type_of_bio_end_io;

static enum hrtimer_restart type_of_hrtimer(struct hrtimer *timer)
{
	return HRTIMER_NORESTART;
}

enum hrtimer_restart (*types_of_hrtimer)(struct hrtimer *) = type_of_hrtimer;

static unsigned int type_of_nf_hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return NF_ACCEPT;
}

nf_hookfn *types_of_netfilter = type_of_nf_hook;

static int type_of_notifier(struct notifier_block *block, unsigned long event, void *data)
{
	return NOTIFY_DONE;
}

struct notifier_block types_of_notifier = {
	.notifier_call = type_of_notifier,
};

static int type_of_param_set(const char *value, const struct kernel_param *param)
{
	return 0;
}

static int type_of_param_get(char *buffer, const struct kernel_param *param)
{
	return 0;
}

const struct kernel_param_ops types_of_param = {
	.set = type_of_param_set,
	.get = type_of_param_get,
};

static int type_of_file_open(struct inode *inode, struct file *file)
{
	return 0;
}

const struct file_operations types_of_file = {
	.open = type_of_file_open,
};

static int type_of_seq_show(struct seq_file *file, void *v)
{
	return 0;
}

struct seq_operations types_of_seq = {
	.show = type_of_seq_show,
};

MODULE_DESCRIPTION("Types of callbacks; never loaded");
MODULE_LICENSE("GPL");
