# SPDX-License-Identifier: GPL-2.0
"""One thread that waits for sockets, processes and times."""

import contextlib
import heapq
import itertools
import os
import selectors
import socket
import time


class Loop:
    """Calls back when a descriptor is readable or a time has come."""

    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._timers = []
        self._order = itertools.count()

    def watch(self, descriptor, callback):
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def forget(self, descriptor):
        self._selector.unregister(descriptor)

    def after(self, seconds, callback):
        """Calls back once after that time. Emptying the returned list cancels the call."""
        timer = [callback]
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def run_until(self, done):
        """Handles events until `done()` holds; exceptions of callbacks end it."""
        while not done():
            for key, _ in self._selector.select(self._next_timeout()):
                # An earlier callback of this round may have removed this one.
                if key.fd in self._selector.get_map():
                    key.data()
            while self._timers and self._timers[0][0] <= time.monotonic():
                timer = heapq.heappop(self._timers)[2]
                for callback in timer:
                    callback()

    def _next_timeout(self):
        if not self._timers:
            return None
        return max(0, self._timers[0][0] - time.monotonic())


class Stream:
    """One end of a socket whose other end a VM holds; hands on what arrives."""

    def __init__(self, loop, connection, on_data):
        self._loop = loop
        self._connection = connection
        self._on_data = on_data
        loop.watch(connection.fileno(), self._readable)

    def _readable(self):
        data = self._receive(0)
        if not data:
            self._loop.forget(self._connection.fileno())
            self._connection.close()
        else:
            self._on_data(data)

    def _receive(self, flags):
        try:
            return self._connection.recv(65536, flags)
        except ConnectionResetError:
            # A killed VM has not read everything. Treat this as its end.
            return b""

    def drain(self):
        """Passes on what has arrived already: after a VM's end nothing more will."""
        while self._connection.fileno() >= 0:
            try:
                data = self._receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if not data:
                return
            self._on_data(data)

    def send_line(self, line):
        """Sends a line. The end of a VM is detected elsewhere, not here."""
        if self._connection.fileno() >= 0:
            with contextlib.suppress(ConnectionError):
                self._connection.sendall(line.encode() + b"\n")

    def close(self):
        if self._connection.fileno() >= 0:
            self._loop.forget(self._connection.fileno())
            self._connection.close()


def by_lines(on_line):
    """Turns a consumer of lines into a consumer of bytes."""
    pending = bytearray()

    def on_data(data):
        pending.extend(data)
        while (end := pending.find(b"\n")) >= 0:
            line = bytes(pending[:end]).decode(errors="replace").rstrip("\r")
            del pending[:end + 1]
            on_line(line)

    return on_data


def write_all(descriptor, data):
    """Writes everything: a pipe may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]
