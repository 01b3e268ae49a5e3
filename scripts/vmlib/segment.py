# SPDX-License-Identifier: GPL-2.0
"""The private Ethernet segment: MAC addresses, and each machine's end of it.

A server's NIC is joined to a port of the hub inside the client's QEMU by a connected pair of
datagram sockets: no root, no host network, no switch program, and unlike two named sockets no limit
of ten frames on the way.
"""

import socket

# Buffer for a burst of page-outs; the kernel limits it to net.core.wmem_max.
SOCKET_BUFFER = 4 << 20
# NICs can be set to any MTU up to this at run time. --mtu sets the initial one.
HIGHEST_MTU = 9000


def mac(number):
    """The client is 0, servers count from 1."""
    return f"52:54:00:a0:00:{number:02x}"


class Cable:
    """One server's connection to the hub. It outlives the server's QEMU, for use by the next one."""

    def __init__(self, number):
        self.number = number
        self.client_end, self.server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.client_end, self.server_end):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)

    def discard_frames(self):
        """Drops frames that were sent to a machine that is gone: its successor must not receive them."""
        while True:
            try:
                self.server_end.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return


def _nic(netdev, number, mtu):
    return ["-device", f"virtio-net-pci,id=nic0,netdev={netdev},mac={mac(number)},romfile=,"
                       f"host_mtu={max(mtu, HIGHEST_MTU)}"]


def client_network(cables, mtu):
    """The client's NIC on a hub, whose other ports are the servers' cables."""
    arguments = ["-netdev", "hubport,hubid=0,id=hub0", *_nic("hub0", 0, mtu),
                 # A port that accepts every frame: a slow server must not delay the others.
                 "-netdev", "hubport,hubid=0,id=sink"]
    for cable in cables:
        arguments += ["-netdev", f"dgram,id=cable{cable.number},local.type=fd,"
                                 f"local.str={cable.client_end.fileno()}",
                      "-netdev", f"hubport,hubid=0,id=port{cable.number},netdev=cable{cable.number}"]
    return arguments


def server_network(cable, mtu):
    return ["-netdev", f"dgram,id=cable,local.type=fd,local.str={cable.server_end.fileno()}",
            *_nic("cable", cable.number, mtu)]
