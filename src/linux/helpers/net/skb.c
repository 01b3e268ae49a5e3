// SPDX-License-Identifier: GPL-2.0

#include <linux/if_packet.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

/* Constants that bindgen does not see, as the wrappers spell them. */
static_assert(PACKET_HOST == 0 && VLAN_VID_MASK == 0xfff);
static_assert(NET_XMIT_SUCCESS == 0 && NET_XMIT_CN == 2);

/* Returns the address of these bytes of a frame if they lie in one piece, else NULL. */
const void *rust_helper_skb_pointer(const struct sk_buff *skb, unsigned int offset, unsigned int len)
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
