// SPDX-License-Identifier: GPL-2.0

#include <linux/err.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <net/net_namespace.h>
#include <net/sock.h>

/* A netlink socket: each kernel with CONFIG_NET can make one. */
struct socket *rust_helper_memalloc_socket(void)
{
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, PF_NETLINK, SOCK_RAW, NETLINK_USERSOCK, &sock);
	if (err)
		return ERR_PTR(err);
	sk_set_memalloc(sock->sk);
	return sock;
}

void rust_helper_memalloc_socket_release(struct socket *sock)
{
	sk_clear_memalloc(sock->sk);
	sock_release(sock);
}
