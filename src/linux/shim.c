// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel interfaces that exist only as macros and inline functions, or whose structures the
 * kernel's Rust bindings do not cover. Each function does one thing that src/linux/ wraps:
 * no policy and no state is here.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/bottom_half.h>
#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/dmi.h>
#include <linux/err.h>
#include <linux/etherdevice.h>
#include <linux/fs.h>
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/kernfs.h>
#include <linux/major.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <linux/nsproxy.h>
#include <linux/path.h>
#include <linux/preempt.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/siphash.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/vmalloc.h>
#include <net/dsa.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "shim.h"

/* Memory */

/* Fails rather than have programs killed. */
void *anemone_vzalloc_huge(size_t size)
{
	return vmalloc_huge(size, GFP_KERNEL | __GFP_ZERO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
}

/* Without waiting, and without a word if there is none. */
void *anemone_kvzalloc_now(size_t size)
{
	return kvzalloc(size, GFP_NOWAIT | __GFP_NOWARN);
}

/* Pages */

void *anemone_page_address(const struct page *page)
{
	return page_address(page);
}

/* Takes a reference for a frame, unless the network may not refer to such a page. */
bool anemone_get_page_to_send(struct page *page)
{
	if (!sendpage_ok(page))
		return false;
	get_page(page);
	return true;
}

void anemone_get_page(struct page *page)
{
	get_page(page);
}

void anemone_put_page(struct page *page)
{
	put_page(page);
}

/* The scheduler */

void anemone_cond_resched(void)
{
	cond_resched();
}

void anemone_preempt_disable(void)
{
	preempt_disable();
}

void anemone_preempt_enable(void)
{
	preempt_enable();
}

/* Where no task is preempted (no CONFIG_TASKS_RCU), this is synchronize_rcu by another name. */
void anemone_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}

/* Softirqs of this CPU */

void anemone_local_bh_disable(void)
{
	local_bh_disable();
}

void anemone_local_bh_enable(void)
{
	local_bh_enable();
}

/* Files in debugfs */

static int anemone_debugfs_open(struct inode *inode, struct file *file)
{
	struct anemone_shown *shown = inode->i_private;

	return single_open(file, shown->show, shown);
}

/*
 * No seeking: it would make the text anew, with other numbers, of other lengths, and whoever reads
 * line by line (a shell) would go on in the middle of a line, or miss one.
 */
static const struct file_operations anemone_debugfs_fops = {
	.owner = THIS_MODULE,
	.open = anemone_debugfs_open,
	.read = seq_read,
	.release = single_release,
};

struct dentry *anemone_debugfs_dir(const char *name)
{
	return debugfs_create_dir(name, NULL);
}

void anemone_debugfs_file(const char *name, struct dentry *dir, struct anemone_shown *shown)
{
	debugfs_create_file(name, 0444, dir, shown, &anemone_debugfs_fops);
}

void anemone_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}

/* Block devices */

bool anemone_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

u64 anemone_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

bool anemone_bdev_is_zoned(struct block_device *bdev)
{
	return bdev_is_zoned(bdev);
}

unsigned int anemone_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

unsigned int anemone_bdev_physical_block_size(struct block_device *bdev)
{
	return bdev_physical_block_size(bdev);
}

/* Whether its first byte lies within a physical block of the disk. */
bool anemone_bdev_is_misaligned(struct block_device *bdev)
{
	return bdev_alignment_offset(bdev) != 0;
}

bool anemone_bdev_is_synchronous(struct block_device *bdev)
{
	return bdev_synchronous(bdev);
}

/*
 * Whether a bio of whole pages may be REQ_NOWAIT: the queue must know it, and never split it, for
 * a bio that would be split ends with EAGAIN each time.
 */
bool anemone_bdev_takes_nowait(struct block_device *bdev, u64 sector, unsigned int sectors)
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
static void anemone_mark_dead(struct block_device *bdev, bool surprise)
{
	u32 *gone = bdev->bd_holder;

	WRITE_ONCE(*gone, 1);
	mutex_unlock(&bdev->bd_holder_lock);
}

static const struct blk_holder_ops anemone_holder_ops = {
	.mark_dead = anemone_mark_dead,
};

/* Opens a device for reading and writing, and for nobody else. */
struct file *anemone_bdev_open(dev_t dev, u32 *gone)
{
	return bdev_file_open_by_dev(dev, BLK_OPEN_READ | BLK_OPEN_WRITE, gone,
				     &anemone_holder_ops);
}

bool anemone_bdev_has_dirty_cache(struct block_device *bdev)
{
	return mapping_tagged(bdev->bd_mapping, PAGECACHE_TAG_DIRTY) ||
	       mapping_tagged(bdev->bd_mapping, PAGECACHE_TAG_WRITEBACK);
}

/* The directory of a disk in sysfs, or the one with links to what it is made of; the caller puts it. */
static struct kernfs_node *anemone_directory_of(struct gendisk *disk, bool slaves)
{
	struct kernfs_node *node = NULL;
	struct kobject *kobj;

	/* A disk that goes away is no longer live before it gives up its directories. */
	mutex_lock(&disk->open_mutex);
	kobj = slaves ? disk->slave_dir : &disk_to_dev(disk)->kobj;
	if (disk_live(disk) && kobj) {
		node = kobj->sd;
		kernfs_get(node);
	}
	mutex_unlock(&disk->open_mutex);
	return node;
}

static struct kernfs_node *anemone_loop_attribute(struct gendisk *disk, const char *name)
{
	struct kernfs_node *parent = anemone_directory_of(disk, false);
	struct kernfs_node *dir, *node;

	if (!parent)
		return NULL;
	dir = kernfs_find_and_get(parent, "loop");
	kernfs_put(parent);
	if (!dir)
		return NULL;
	node = kernfs_find_and_get(dir, name);
	kernfs_put(dir);
	return node;
}

/*
 * The block device that a loop device's file is, or lies on; 0 if there is none. A loop device has no
 * link to it: it says its file's path, as in sysfs, which is looked up as the calling process sees it.
 */
static dev_t anemone_below_loop(struct gendisk *disk)
{
	struct device_attribute *attribute;
	struct kernfs_node *node = NULL;
	struct inode *inode;
	struct path path;
	dev_t dev = 0;
	char *text;
	ssize_t len;

	if (disk->major != LOOP_MAJOR)
		return 0;
	text = (char *)__get_free_page(GFP_KERNEL);
	if (!text)
		return 0;
	/* The attribute is the loop driver's, and stays as long as that does. */
	if (!try_module_get(disk->fops->owner))
		goto free;
	node = anemone_loop_attribute(disk, "backing_file");
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
		dev = inode->i_rdev;
	else if (inode->i_sb->s_bdev)
		dev = inode->i_sb->s_bdev->bd_dev;
	path_put(&path);
put_module:
	kernfs_put(node);
	module_put(disk->fops->owner);
free:
	free_page((unsigned long)text);
	return dev;
}

/* Whether @bdev is the disk @dev, or a part of it, or is made of it in up to @depth steps, or of more. */
static bool anemone_lies_on(struct block_device *bdev, dev_t dev, unsigned int depth)
{
	struct gendisk *disk = bdev->bd_disk;
	struct kernfs_node *slaves, *link;
	struct class_dev_iter iter;
	struct device *other;
	bool found = false;
	dev_t below;

	if (disk_devt(disk) == dev || !depth)
		return true;
	slaves = anemone_directory_of(disk, true);
	below = anemone_below_loop(disk);
	/* A link has the name of what it leads to. */
	class_dev_iter_init(&iter, disk_to_dev(disk)->class, NULL, NULL);
	while (!found && (other = class_dev_iter_next(&iter))) {
		link = slaves ? kernfs_find_and_get(slaves, kobject_name(&other->kobj)) : NULL;
		if (link || (below && other->devt == below))
			found = anemone_lies_on(dev_to_bdev(other), dev, depth - 1);
		kernfs_put(link);
	}
	class_dev_iter_exit(&iter);
	kernfs_put(slaves);
	return found;
}

/*
 * Whether an open device is made of the disk of that number, which has one. What goes through a network
 * to this machine itself is not seen.
 */
bool anemone_bdev_is_made_of(struct block_device *bdev, dev_t dev)
{
	/* As deep as a stack of file systems may be, and more. */
	return anemone_lies_on(bdev, dev, 8);
}

/* Whether another disk (dm, md) is made, among others, of the device. Sleeps. */
bool anemone_bdev_is_below_another(dev_t dev)
{
	struct file *file = bdev_file_open_by_dev(dev, BLK_OPEN_READ, NULL, NULL);
	struct gendisk *disk;
	struct kobject *holders;
	bool below = false;

	if (IS_ERR(file))
		return false;
	holders = file_bdev(file)->bd_holder_dir;
	disk = file_bdev(file)->bd_disk;
	/* A disk that goes away is no longer live before it gives up that directory. */
	mutex_lock(&disk->open_mutex);
	if (disk_live(disk) && holders && holders->sd)
		below = !RB_EMPTY_ROOT(&holders->sd->dir.children);
	mutex_unlock(&disk->open_mutex);
	bdev_fput(file);
	return below;
}

/* I/O that frees memory may use the emergency reserve, as that of the swap layer itself does. */
void anemone_submit_bio_from_reserve(struct bio *bio)
{
	unsigned int flags = memalloc_noreclaim_save();

	submit_bio(bio);
	memalloc_noreclaim_restore(flags);
}

/* What a machine is */

/* The machine's UUID as its firmware says it, if it does; else NULL. */
const char *anemone_machine_uuid(void)
{
	return dmi_get_system_info(DMI_PRODUCT_UUID);
}

u64 anemone_siphash(const void *data, size_t len, u64 key0, u64 key1)
{
	siphash_key_t key = { { key0, key1 } };

	return siphash(data, len, &key);
}

/* Network devices */

/* In the network namespace of the calling process: whoever loads the module. */
struct net_device *anemone_dev_get_by_name(const char *name)
{
	return dev_get_by_name(current->nsproxy->net_ns, name);
}

/* In the network namespace of another, which may have been taken off its list. Under RTNL. */
struct net_device *anemone_dev_sibling(const struct net_device *dev, const char *name)
{
	ASSERT_RTNL();
	return dev_get_by_name(dev_net(dev), name);
}

void anemone_dev_hold(struct net_device *dev)
{
	dev_hold(dev);
}

void anemone_dev_put(struct net_device *dev)
{
	dev_put(dev);
}

const char *anemone_dev_name(const struct net_device *dev)
{
	return dev->name;
}

const u8 *anemone_dev_addr(const struct net_device *dev)
{
	return dev->dev_addr;
}

/* An address that is the same after a restart: the one that it was made with, or was given. */
bool anemone_dev_lasting_addr(const struct net_device *dev, u8 *addr)
{
	if (!is_zero_ether_addr(dev->perm_addr))
		ether_addr_copy(addr, dev->perm_addr);
	else if (dev->addr_assign_type != NET_ADDR_RANDOM)
		ether_addr_copy(addr, dev->dev_addr);
	else
		return false;
	return true;
}

unsigned int anemone_dev_mtu(const struct net_device *dev)
{
	return READ_ONCE(dev->mtu);
}

bool anemone_dev_is_ethernet(const struct net_device *dev)
{
	return dev->type == ARPHRD_ETHER && dev->addr_len == ETH_ALEN &&
	       dev->hard_header_len >= ETH_HLEN && !(dev->flags & IFF_LOOPBACK);
}

/* Under RTNL, as all that follows up to the notifier: else the device moves while it is looked at. */
u64 anemone_dev_net_cookie(const struct net_device *dev)
{
	ASSERT_RTNL();
	return dev_net(dev)->net_cookie;
}

bool anemone_dev_is_registered(const struct net_device *dev)
{
	ASSERT_RTNL();
	return dev->reg_state == NETREG_REGISTERED;
}

/* The next of the devices that it lies on; *position is NULL at first. */
struct net_device *anemone_dev_next_lower(struct net_device *dev, struct list_head **position)
{
	ASSERT_RTNL();
	if (!*position)
		*position = dev->adj_list.lower.next;
	return netdev_lower_get_next(dev, position);
}

/* Whether frames go on from the devices that it lies on as they have come in there. */
bool anemone_dev_passes_on(const struct net_device *dev)
{
	return netif_is_bond_master(dev) || netif_is_team_master(dev) ||
	       netif_is_bridge_master(dev) || netif_is_macvlan(dev);
}

/* Whether frames have come in elsewhere before, or in another form, without a trace of that. */
bool anemone_dev_is_opaque(struct net_device *dev)
{
	return netif_is_ovs_master(dev) || netdev_uses_dsa(dev);
}

/*
 * Whether its frames come from somewhere below that is not written down: out of a tunnel (vxlan, geneve,
 * gretap, l2tp), or from a program (tun). A card has a parent; a veth's and a dummy's come from this
 * machine; a bond's and a bridge's from what will lie below them.
 */
bool anemone_dev_is_fed(struct net_device *dev)
{
	const struct rtnl_link_ops *ops = dev->rtnl_link_ops;

	ASSERT_RTNL();
	if (dev->dev.parent || anemone_dev_passes_on(dev))
		return false;
	return !ops || (strcmp(ops->kind, "veth") && strcmp(ops->kind, "dummy"));
}

/* Whether it sends a frame from several places in memory, or the kernel has to make one piece of it. */
bool anemone_dev_takes_pieces(const struct net_device *dev)
{
	return dev->features & NETIF_F_SG;
}

/* Whether it is a VLAN; if so, its protocol and number. */
bool anemone_dev_vlan(const struct net_device *dev, u16 *protocol, u16 *id)
{
	if (!is_vlan_dev(dev))
		return false;
	*protocol = ntohs(vlan_dev_vlan_proto(dev));
	*id = vlan_dev_vlan_id(dev);
	return true;
}

struct net_device *anemone_notifier_info_to_dev(void *info)
{
	return netdev_notifier_info_to_dev(info);
}

/* Received frames */

/* Where these bytes of a frame lie, if they lie in one piece; else NULL. */
const void *anemone_skb_pointer(const struct sk_buff *skb, unsigned int offset, unsigned int len)
{
	const struct skb_shared_info *info = skb_shinfo(skb);
	unsigned int size = skb_headlen(skb);
	unsigned int i;

	if (offset < size)
		return len <= size - offset ? skb->data + offset : NULL;
	if (!skb_frags_readable(skb))
		return NULL;
	for (i = 0; i < info->nr_frags; i++) {
		offset -= size;
		size = skb_frag_size(&info->frags[i]);
		if (offset < size)
			return len <= size - offset ? skb_frag_address(&info->frags[i]) + offset : NULL;
	}
	return NULL;
}

struct anemone_ingress {
	/* Last, when the stack has done with the frame; not on a device that another lies on. */
	struct packet_type type;
	anemone_receive_fn *receive;
#ifdef CONFIG_NETFILTER_INGRESS
	/* First, before frames in the emergency reserve are dropped. */
	struct nf_hook_ops ops;
#endif
};

static int anemone_packet_rcv(struct sk_buff *skb, struct net_device *dev,
			      struct packet_type *type, struct net_device *orig_dev)
{
	struct anemone_ingress *ingress = container_of(type, struct anemone_ingress, type);

	/* What has come in here for a device above is not ours. */
	if (dev != type->dev || ingress->receive(type->af_packet_priv, skb, NULL) != NF_STOLEN)
		consume_skb(skb);
	return NET_RX_SUCCESS;
}

/* Under RTNL, as its end: the device's network namespace is the hook's. */
struct anemone_ingress *anemone_ingress_register(struct net_device *dev, __be16 ethertype,
						 anemone_receive_fn *receive, void *priv,
						 bool last)
{
	struct anemone_ingress *ingress;
	int err = IS_ENABLED(CONFIG_NETFILTER_INGRESS) || last ? 0 : -EOPNOTSUPP;

	ASSERT_RTNL();
	if (err)
		return ERR_PTR(err);
	ingress = kzalloc(sizeof(*ingress), GFP_KERNEL);
	if (!ingress)
		return ERR_PTR(-ENOMEM);
	ingress->receive = receive;
#ifdef CONFIG_NETFILTER_INGRESS
	ingress->ops.hook = receive;
	ingress->ops.dev = dev;
	ingress->ops.priv = priv;
	ingress->ops.pf = NFPROTO_NETDEV;
	ingress->ops.hooknum = NF_NETDEV_INGRESS;
	ingress->ops.priority = INT_MIN;
	err = nf_register_net_hook(dev_net(dev), &ingress->ops);
	if (err) {
		kfree(ingress);
		return ERR_PTR(err);
	}
#endif
	if (last) {
		ingress->type.type = ethertype;
		ingress->type.dev = dev;
		ingress->type.func = anemone_packet_rcv;
		ingress->type.af_packet_priv = priv;
		dev_add_pack(&ingress->type);
	}
	return ingress;
}

/* Under RTNL: a device that is moved keeps its hooks, and they are found by its namespace. */
void anemone_ingress_unregister(struct anemone_ingress *ingress)
{
	ASSERT_RTNL();
	if (ingress->type.dev)
		__dev_remove_pack(&ingress->type);
#ifdef CONFIG_NETFILTER_INGRESS
	nf_unregister_net_hook(dev_net(ingress->ops.dev), &ingress->ops);
#endif
	synchronize_net();
	kfree(ingress);
}

/* Hibernation, and virtual machines that are put back or copied: nothing where the kernel has neither */

int anemone_register_pm_notifier(struct notifier_block *block)
{
	return register_pm_notifier(block);
}

void anemone_unregister_pm_notifier(struct notifier_block *block)
{
	unregister_pm_notifier(block);
}

int anemone_register_vmfork_notifier(struct notifier_block *block)
{
	return register_random_vmfork_notifier(block);
}

void anemone_unregister_vmfork_notifier(struct notifier_block *block)
{
	unregister_random_vmfork_notifier(block);
}

/*
 * While one socket of the host is marked so, network drivers may receive into the emergency
 * reserve. A netlink user socket is the one kind that every kernel with CONFIG_NET can make.
 */
void *anemone_memalloc_socket(void)
{
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, PF_NETLINK, SOCK_RAW, NETLINK_USERSOCK, &sock);
	if (err)
		return ERR_PTR(err);
	sk_set_memalloc(sock->sk);
	return sock;
}

void anemone_memalloc_socket_release(void *priv)
{
	struct socket *sock = priv;

	sk_clear_memalloc(sock->sk);
	sock_release(sock);
}

/* Constants that bindgen does not see, as src/linux/ spells them. */

static_assert(PAGE_SIZE == 4096);
static_assert(IS_ENABLED(CONFIG_64BIT));
static_assert((__force u8)BLK_STS_NOTSUPP == 1);
static_assert((__force u8)BLK_STS_TIMEOUT == 2);
static_assert((__force u8)BLK_STS_NOSPC == 3);
static_assert((__force u8)BLK_STS_TRANSPORT == 4);
static_assert((__force u8)BLK_STS_MEDIUM == 7);
static_assert((__force u8)BLK_STS_RESOURCE == 9);
static_assert((__force u8)BLK_STS_IOERR == 10);
static_assert((__force u8)BLK_STS_DEV_RESOURCE == 13);
static_assert((__force u8)BLK_STS_INVAL == 19);
static_assert((__force u32)BLK_FEAT_STABLE_WRITES == 1u << 5);
static_assert(NETDEV_UP == 1 && NETDEV_DOWN == 2 && NETDEV_CHANGE == 4);
static_assert(NETDEV_REGISTER == 5 && NETDEV_UNREGISTER == 6 && NETDEV_CHANGEMTU == 7);
static_assert(NETDEV_FEAT_CHANGE == 12);
static_assert(NETDEV_CHANGEADDR == 8 && NETDEV_GOING_DOWN == 10 && NETDEV_CHANGENAME == 11);
static_assert(NETDEV_CHANGEUPPER == 22);
static_assert(PM_HIBERNATION_PREPARE == 1 && PM_POST_HIBERNATION == 2);
static_assert((__force u32)BLK_OPEN_WRITE == 1u << 1);
static_assert(PACKET_HOST == 0 && VLAN_VID_MASK == 0xfff);
static_assert((__force u32)__GFP_MEMALLOC == 1u << 17);
static_assert(NET_XMIT_SUCCESS == 0 && NET_XMIT_CN == 2);
