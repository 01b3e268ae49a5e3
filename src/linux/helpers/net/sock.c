// SPDX-License-Identifier: GPL-2.0

#include <linux/err.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <net/net_namespace.h>
#include <net/sock.h>

/*
 * While one socket of the host is marked so, network drivers may receive into the emergency
 * reserve. A netlink user socket is the one kind that every kernel with CONFIG_NET can make.
 */
void *rust_helper_memalloc_socket(void)
{
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, PF_NETLINK, SOCK_RAW, NETLINK_USERSOCK, &sock);
	if (err)
		return ERR_PTR(err);
	sk_set_memalloc(sock->sk);
	return sock;
}

void rust_helper_memalloc_socket_release(void *priv)
{
	struct socket *sock = priv;

	sk_clear_memalloc(sock->sk);
	sock_release(sock);
}
