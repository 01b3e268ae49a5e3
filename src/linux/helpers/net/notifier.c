// SPDX-License-Identifier: GPL-2.0

#include <linux/netdevice.h>

/* Constants that bindgen does not see, as the wrappers spell them. */
static_assert(NETDEV_UP == 1 && NETDEV_DOWN == 2 && NETDEV_CHANGE == 4);
static_assert(NETDEV_REGISTER == 5 && NETDEV_UNREGISTER == 6 && NETDEV_CHANGEMTU == 7);
static_assert(NETDEV_CHANGEADDR == 8 && NETDEV_CHANGENAME == 11);
static_assert(NETDEV_FEAT_CHANGE == 12 && NETDEV_CHANGEUPPER == 22);

struct net_device *rust_helper_netdev_notifier_info_to_dev(void *info)
{
	return netdev_notifier_info_to_dev(info);
}
