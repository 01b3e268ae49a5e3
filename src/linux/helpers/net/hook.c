// SPDX-License-Identifier: GPL-2.0

#include <linux/err.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

/*
 * Looks at a received frame: NF_ACCEPT leaves it to the stack, NF_STOLEN means it is consumed. There
 * is a state as long as others come after, none when it is the stack itself that hands it over.
 */
typedef unsigned int ingress_receive_fn(void *priv, struct sk_buff *skb,
					const struct nf_hook_state *state);

struct ingress {
	/* Last, when the stack has done with the frame; not on a device that another lies on. */
	struct packet_type type;
	ingress_receive_fn *receive;
#ifdef CONFIG_NETFILTER_INGRESS
	/* First, before frames in the emergency reserve are dropped. */
	struct nf_hook_ops ops;
#endif
};

static int ingress_packet_rcv(struct sk_buff *skb, struct net_device *dev,
			      struct packet_type *type, struct net_device *orig_dev)
{
	struct ingress *ingress = container_of(type, struct ingress, type);

	/* What has come in here for a device above is not ours. */
	if (dev != type->dev || ingress->receive(type->af_packet_priv, skb, NULL) != NF_STOLEN)
		consume_skb(skb);
	return NET_RX_SUCCESS;
}

/* Under RTNL, as its end: the device's network namespace is the hook's. */
struct ingress *rust_helper_ingress_register(struct net_device *dev, __be16 ethertype,
						 ingress_receive_fn *receive, void *priv,
						 bool last)
{
	struct ingress *ingress;
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
		ingress->type.func = ingress_packet_rcv;
		ingress->type.af_packet_priv = priv;
		dev_add_pack(&ingress->type);
	}
	return ingress;
}

/* Under RTNL: a device that is moved keeps its hooks, and they are found by its namespace. */
void rust_helper_ingress_unregister(struct ingress *ingress)
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
