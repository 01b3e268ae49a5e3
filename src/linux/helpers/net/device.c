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

/* In the network namespace of the calling process: whoever loads the module. */
struct net_device *rust_helper_dev_get_by_name(const char *name)
{
	return dev_get_by_name(current->nsproxy->net_ns, name);
}

/* In the network namespace of another, which may have been taken off its list. Under RTNL. */
struct net_device *rust_helper_dev_sibling(const struct net_device *dev, const char *name)
{
	ASSERT_RTNL();
	return dev_get_by_name(dev_net(dev), name);
}

void rust_helper_dev_hold(struct net_device *dev)
{
	dev_hold(dev);
}

void rust_helper_dev_put(struct net_device *dev)
{
	dev_put(dev);
}

const char *rust_helper_net_device_name(const struct net_device *dev)
{
	return dev->name;
}

const u8 *rust_helper_dev_addr(const struct net_device *dev)
{
	return dev->dev_addr;
}

/* An address that is the same after a restart: the one that it was made with, or was given. */
bool rust_helper_dev_lasting_addr(const struct net_device *dev, u8 *addr)
{
	if (!is_zero_ether_addr(dev->perm_addr))
		ether_addr_copy(addr, dev->perm_addr);
	else if (dev->addr_assign_type != NET_ADDR_RANDOM)
		ether_addr_copy(addr, dev->dev_addr);
	else
		return false;
	return true;
}

unsigned int rust_helper_dev_mtu(const struct net_device *dev)
{
	return READ_ONCE(dev->mtu);
}

bool rust_helper_dev_is_ethernet(const struct net_device *dev)
{
	return dev->type == ARPHRD_ETHER && dev->addr_len == ETH_ALEN &&
	       dev->hard_header_len >= ETH_HLEN && !(dev->flags & IFF_LOOPBACK);
}

/* Under RTNL, as all that follows up to the notifier: else the device moves while it is looked at. */
u64 rust_helper_dev_net_cookie(const struct net_device *dev)
{
	ASSERT_RTNL();
	return dev_net(dev)->net_cookie;
}

bool rust_helper_dev_is_registered(const struct net_device *dev)
{
	ASSERT_RTNL();
	return dev->reg_state == NETREG_REGISTERED;
}

/* The next of the devices that it lies on; *position is NULL at first. */
struct net_device *rust_helper_dev_next_lower(struct net_device *dev, struct list_head **position)
{
	ASSERT_RTNL();
	if (!*position)
		*position = dev->adj_list.lower.next;
	return netdev_lower_get_next(dev, position);
}

/* Whether frames go on from the devices that it lies on as they have come in there. */
bool rust_helper_dev_passes_on(const struct net_device *dev)
{
	return netif_is_bond_master(dev) || netif_is_team_master(dev) ||
	       netif_is_bridge_master(dev) || netif_is_macvlan(dev);
}

/* Whether frames have come in elsewhere before, or in another form, without a trace of that. */
bool rust_helper_dev_is_opaque(struct net_device *dev)
{
	return netif_is_ovs_master(dev) || netdev_uses_dsa(dev);
}

/*
 * Whether its frames come from somewhere below that is not written down: out of a tunnel (vxlan, geneve,
 * gretap, l2tp), or from a program (tun). A card has a parent; a veth's and a dummy's come from this
 * machine; a bond's and a bridge's from what will lie below them.
 */
bool rust_helper_dev_is_fed(struct net_device *dev)
{
	const struct rtnl_link_ops *ops = dev->rtnl_link_ops;

	ASSERT_RTNL();
	if (dev->dev.parent || rust_helper_dev_passes_on(dev))
		return false;
	return !ops || (strcmp(ops->kind, "veth") && strcmp(ops->kind, "dummy"));
}

/* Whether it sends a frame from several places in memory, or the kernel has to make one piece of it. */
bool rust_helper_dev_takes_pieces(const struct net_device *dev)
{
	return dev->features & NETIF_F_SG;
}

/* Whether it is a VLAN; if so, its protocol and number. */
bool rust_helper_dev_vlan(const struct net_device *dev, u16 *protocol, u16 *id)
{
	if (!is_vlan_dev(dev))
		return false;
	*protocol = ntohs(vlan_dev_vlan_proto(dev));
	*id = vlan_dev_vlan_id(dev);
	return true;
}
