/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What shim.c offers to src/linux/shim.rs, which declares the same functions again by hand:
 * bindgen runs only for the kernel's own headers. Change both together.
 */
#ifndef ANEMONE_SHIM_H
#define ANEMONE_SHIM_H

#include <linux/types.h>

struct anemone_ingress;
struct bio;
struct block_device;
struct dentry;
struct file;
struct list_head;
struct net_device;
struct nf_hook_state;
struct notifier_block;
struct page;
struct seq_file;
struct sk_buff;

/*
 * Looks at a received frame: NF_ACCEPT leaves it to the stack, NF_STOLEN means it is consumed. There is
 * a state as long as others come after, none when it is the stack itself that hands it over.
 */
typedef unsigned int anemone_receive_fn(void *priv, struct sk_buff *skb,
					const struct nf_hook_state *state);

/* What a file shows; its seq_file's private pointer is to this. */
struct anemone_shown {
	int (*show)(struct seq_file *file, void *v);
};

void *anemone_vzalloc_huge(size_t size);
void *anemone_kvzalloc_now(size_t size);

const void *anemone_skb_pointer(const struct sk_buff *skb, unsigned int offset, unsigned int len);

void *anemone_page_address(const struct page *page);
bool anemone_get_page_to_send(struct page *page);
void anemone_get_page(struct page *page);
void anemone_put_page(struct page *page);

void anemone_cond_resched(void);
void anemone_preempt_disable(void);
void anemone_preempt_enable(void);
void anemone_synchronize_rcu_tasks(void);

void anemone_local_bh_disable(void);
void anemone_local_bh_enable(void);

struct dentry *anemone_debugfs_dir(const char *name);
void anemone_debugfs_file(const char *name, struct dentry *dir, struct anemone_shown *shown);
void anemone_debugfs_remove(struct dentry *dentry);

bool anemone_bdev_read_only(struct block_device *bdev);
u64 anemone_bdev_nr_bytes(struct block_device *bdev);
bool anemone_bdev_is_zoned(struct block_device *bdev);
unsigned int anemone_bdev_logical_block_size(struct block_device *bdev);
unsigned int anemone_bdev_physical_block_size(struct block_device *bdev);
bool anemone_bdev_is_misaligned(struct block_device *bdev);
bool anemone_bdev_is_synchronous(struct block_device *bdev);
bool anemone_bdev_takes_nowait(struct block_device *bdev, u64 sector, unsigned int sectors);
struct file *anemone_bdev_open(dev_t dev, u32 *gone);
bool anemone_bdev_has_dirty_cache(struct block_device *bdev);
bool anemone_bdev_is_made_of(struct block_device *bdev, dev_t dev);
bool anemone_bdev_is_below_another(dev_t dev);
void anemone_submit_bio_from_reserve(struct bio *bio);

const char *anemone_machine_uuid(void);
u64 anemone_siphash(const void *data, size_t len, u64 key0, u64 key1);

struct net_device *anemone_dev_get_by_name(const char *name);
struct net_device *anemone_dev_sibling(const struct net_device *dev, const char *name);
void anemone_dev_hold(struct net_device *dev);
void anemone_dev_put(struct net_device *dev);
const char *anemone_dev_name(const struct net_device *dev);
const u8 *anemone_dev_addr(const struct net_device *dev);
bool anemone_dev_lasting_addr(const struct net_device *dev, u8 *addr);
unsigned int anemone_dev_mtu(const struct net_device *dev);
bool anemone_dev_is_ethernet(const struct net_device *dev);
u64 anemone_dev_net_cookie(const struct net_device *dev);
bool anemone_dev_is_registered(const struct net_device *dev);
struct net_device *anemone_dev_next_lower(struct net_device *dev, struct list_head **position);
bool anemone_dev_passes_on(const struct net_device *dev);
bool anemone_dev_is_opaque(struct net_device *dev);
bool anemone_dev_is_fed(struct net_device *dev);
bool anemone_dev_takes_pieces(const struct net_device *dev);
bool anemone_dev_vlan(const struct net_device *dev, u16 *protocol, u16 *id);
struct net_device *anemone_notifier_info_to_dev(void *info);

struct anemone_ingress *anemone_ingress_register(struct net_device *dev, __be16 ethertype,
						 anemone_receive_fn *receive, void *priv,
						 bool last);
void anemone_ingress_unregister(struct anemone_ingress *ingress);

int anemone_register_pm_notifier(struct notifier_block *block);
void anemone_unregister_pm_notifier(struct notifier_block *block);
int anemone_register_vmfork_notifier(struct notifier_block *block);
void anemone_unregister_vmfork_notifier(struct notifier_block *block);

void *anemone_memalloc_socket(void);
void anemone_memalloc_socket_release(void *sock);

#endif
