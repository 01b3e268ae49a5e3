// SPDX-License-Identifier: GPL-2.0

#include <linux/err.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

/*
 * Looks at a received frame: NF_ACCEPT leaves it to the stack, NF_STOLEN means that it is consumed.
 * There is a state for a hook, and none for a packet type.
 */
typedef unsigned int receive_fn(void *priv, struct sk_buff *skb, const struct nf_hook_state *state);

/*
 * Under RTNL, as unregistering: the hook is found by the device's network namespace, which may be freed before
 * a device that is not registered any more.
 */
struct nf_hook_ops *rust_helper_ingress_hook_register(struct net_device *dev, int priority,
						      receive_fn *receive, void *priv)
{
#ifdef CONFIG_NETFILTER_INGRESS
	struct nf_hook_ops *ops;
	int err;

	ASSERT_RTNL();
	if (dev->reg_state != NETREG_REGISTERED)
		return ERR_PTR(-ENODEV);
	ops = kzalloc(sizeof(*ops), GFP_KERNEL);
	if (!ops)
		return ERR_PTR(-ENOMEM);
	ops->hook = receive;
	ops->dev = dev;
	ops->priv = priv;
	ops->pf = NFPROTO_NETDEV;
	ops->hooknum = NF_NETDEV_INGRESS;
	ops->priority = priority;
	err = nf_register_net_hook(dev_net(dev), ops);
	if (err) {
		kfree(ops);
		return ERR_PTR(err);
	}
	return ops;
#else
	return ERR_PTR(-EOPNOTSUPP);
#endif
}

void rust_helper_ingress_hook_unregister(struct nf_hook_ops *ops)
{
#ifdef CONFIG_NETFILTER_INGRESS
	ASSERT_RTNL();
	nf_unregister_net_hook(dev_net(ops->dev), ops);
	synchronize_net();
	kfree(ops);
#endif
}

struct packet_hook {
	struct packet_type type;
	receive_fn *receive;
};

static int packet_hook_rcv(struct sk_buff *skb, struct net_device *dev, struct packet_type *type,
			   struct net_device *orig_dev)
{
	struct packet_hook *hook = container_of(type, struct packet_hook, type);

	/* Frames that came in here for a device above are not this one's. */
	if (dev != type->dev || hook->receive(type->af_packet_priv, skb, NULL) != NF_STOLEN)
		consume_skb(skb);
	return NET_RX_SUCCESS;
}

struct packet_hook *rust_helper_packet_hook_register(struct net_device *dev, __be16 ethertype,
						     receive_fn *receive, void *priv)
{
	struct packet_hook *hook;

	ASSERT_RTNL();
	hook = kzalloc(sizeof(*hook), GFP_KERNEL);
	if (!hook)
		return ERR_PTR(-ENOMEM);
	hook->receive = receive;
	hook->type.type = ethertype;
	hook->type.dev = dev;
	hook->type.func = packet_hook_rcv;
	hook->type.af_packet_priv = priv;
	dev_add_pack(&hook->type);
	return hook;
}

void rust_helper_packet_hook_unregister(struct packet_hook *hook)
{
	dev_remove_pack(&hook->type);
	kfree(hook);
}
