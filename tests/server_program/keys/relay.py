# SPDX-License-Identifier: GPL-2.0
"""Passes frames between an interface and standard input, a socket that keeps packets apart. A packet that begins with
an exclamation mark, as no frame to one station does, is a command for the shell.

  relay.py INTERFACE ETHERTYPE
"""
import os
import select
import socket
import sys

interface, ethertype = sys.argv[1], int(sys.argv[2], 0)
test = socket.socket(fileno=0)
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
link.bind((interface, ethertype))
test.send(link.getsockname()[4])
while True:
    for ready in select.select([test, link], [], [])[0]:
        try:
            packet = ready.recv(65536)
        except OSError:
            # The interface is down, or the test has ended with packets unread.
            packet = b""
        if ready is link:
            if packet:
                test.send(packet)
        elif not packet:
            sys.exit()
        elif packet.startswith(b"!"):
            os.system(packet[1:].decode())
        else:
            link.send(packet)
