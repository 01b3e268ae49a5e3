// SPDX-License-Identifier: GPL-2.0

#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <net/dsa.h>
#include <net/net_namespace.h>

/* In the network namespace of the current task; a task that exits has none. */
struct net_device *rust_helper_current_dev_get_by_name(const char *name)
{
	struct nsproxy *nsproxy = READ_ONCE(current->nsproxy);

	return nsproxy ? dev_get_by_name(nsproxy->net_ns, name) : NULL;
}

/* In the network namespace with this cookie, if it still exists. */
struct net_device *rust_helper_cookie_dev_get_by_name(u64 net_cookie, const char *name)
{
	struct net_device *dev = NULL;
	struct net *net;

	ASSERT_RTNL();
	/* A namespace that ends leaves the list before its devices' tables are freed. */
	down_read(&net_rwsem);
	for_each_net(net) {
		if (net->net_cookie == net_cookie) {
			dev = dev_get_by_name(net, name);
			break;
		}
	}
	up_read(&net_rwsem);
	return dev;
}

void rust_helper_dev_hold(struct net_device *dev)
{
	dev_hold(dev);
}

void rust_helper_dev_put(struct net_device *dev)
{
	dev_put(dev);
}

const char *rust_helper_dev_name(const struct net_device *dev)
{
	ASSERT_RTNL();
	return dev->name;
}

const u8 *rust_helper_dev_addr(const struct net_device *dev)
{
	return dev->dev_addr;
}

void rust_helper_dev_perm_addr(const struct net_device *dev, u8 *addr)
{
	/* ether_addr_copy() needs an even address. */
	memcpy(addr, dev->perm_addr, ETH_ALEN);
}

bool rust_helper_dev_has_random_addr(const struct net_device *dev)
{
	return dev->addr_assign_type == NET_ADDR_RANDOM;
}

unsigned int rust_helper_dev_mtu(const struct net_device *dev)
{
	return READ_ONCE(dev->mtu);
}

/* Whether @dev sends an Ethernet frame with @len bytes behind the header. */
bool rust_helper_dev_takes_frame(const struct net_device *dev, unsigned int len)
{
	return len <= READ_ONCE(dev->mtu) && dev->type == ARPHRD_ETHER;
}

bool rust_helper_dev_is_ethernet(const struct net_device *dev)
{
	return dev->type == ARPHRD_ETHER && dev->addr_len == ETH_ALEN &&
	       dev->hard_header_len >= ETH_HLEN && !(dev->flags & IFF_LOOPBACK);
}

bool rust_helper_dev_has_sg(const struct net_device *dev)
{
	return dev->features & NETIF_F_SG;
}

/* 0 of a device that is not registered: its namespace may be gone before it. */
u64 rust_helper_dev_net_cookie(const struct net_device *dev)
{
	ASSERT_RTNL();
	return dev->reg_state == NETREG_REGISTERED ? dev_net(dev)->net_cookie : 0;
}

bool rust_helper_dev_is_registered(const struct net_device *dev)
{
	ASSERT_RTNL();
	return dev->reg_state == NETREG_REGISTERED;
}

/* The next of the devices on which @dev is stacked; *@position is NULL at first. */
struct net_device *rust_helper_dev_next_lower(struct net_device *dev, struct list_head **position)
{
	ASSERT_RTNL();
	if (!*position)
		*position = dev->adj_list.lower.next;
	return netdev_lower_get_next(dev, position);
}

/* Whether @dev is a VLAN; if so, its EtherType and number. */
bool rust_helper_dev_vlan(const struct net_device *dev, u16 *protocol, u16 *id)
{
	if (!is_vlan_dev(dev))
		return false;
	*protocol = ntohs(vlan_dev_vlan_proto(dev));
	*id = vlan_dev_vlan_id(dev);
	return true;
}

bool rust_helper_netif_is_lag_master(const struct net_device *dev)
{
	return netif_is_lag_master(dev);
}

bool rust_helper_netif_is_bridge_master(const struct net_device *dev)
{
	return netif_is_bridge_master(dev);
}

bool rust_helper_netif_is_macvlan(const struct net_device *dev)
{
	return netif_is_macvlan(dev);
}

bool rust_helper_netif_is_ovs_master(const struct net_device *dev)
{
	return netif_is_ovs_master(dev);
}

bool rust_helper_netdev_uses_dsa(const struct net_device *dev)
{
	ASSERT_RTNL();
	return netdev_uses_dsa(dev);
}

bool rust_helper_dev_has_parent(const struct net_device *dev)
{
	return dev->dev.parent;
}

const char *rust_helper_dev_kind(const struct net_device *dev)
{
	ASSERT_RTNL();
	return dev->rtnl_link_ops ? dev->rtnl_link_ops->kind : NULL;
}
