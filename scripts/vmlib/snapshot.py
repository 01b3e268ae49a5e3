# SPDX-License-Identifier: GPL-2.0
"""Puts the client back to an earlier state, as a virtual machine to a snapshot: its memory and its disks.

A request for a snapshot gets two answers, like fork(2): `ok`, and `rewound` after a `rewind`. The servers
continue to run meanwhile.
"""

import dataclasses
import os

from . import images

# Time between two queries whether QEMU is done.
LOOK_S = 0.05
BOUND_S = 120


class Snapshots:
    """Takes a snapshot of a running machine, and restores it once."""

    def __init__(self, loop, machine):
        self._loop = loop
        self._machine = machine
        self._memory = None
        self._disks = None

    def take(self, answer):
        """The machine is stopped until the command is answered."""
        monitor = self._machine.monitor
        monitor.command("stop")
        self._memory = images.scratch_file(0)
        # It writes to a file that has only this name.
        path = f"/proc/{os.getpid()}/fd/{self._memory.fileno()}"
        monitor.command("migrate", uri=f"exec:cat >{path}")

        def taken():
            self._disks = [disk if disk.read_only else dataclasses.replace(disk, file=images.copy_of(disk.file),
                                                                          _reader=None)
                           for disk in self._machine.specification.disks]
            monitor.command("cont")
            answer("ok")

        self._when(lambda: self._migrated(answer), taken, answer)

    def _migrated(self, answer):
        status = self._machine.monitor.command("query-migrate").get("status")
        if status == "failed":
            answer("error: QEMU could not save the machine")
        return status == "completed"

    def rewind(self, answer):
        """Only the request for the snapshot is still to be answered."""
        if self._disks is None:
            answer("error: there is no snapshot")
            return
        self._machine.kill()
        self._machine.specification.disks = self._disks
        self._disks = None
        self._machine.start(incoming=f"exec:cat /proc/{os.getpid()}/fd/{self._memory.fileno()}")

        def back():
            self._memory.close()
            self._machine.monitor.command("cont")
            answer("rewound")

        self._when(lambda: self._machine.monitor.command("query-status")["status"] == "paused", back, answer)

    def _when(self, is_so, then, answer, looks=0):
        """Calls `then` as soon as `is_so()`."""
        if is_so():
            then()
        elif looks * LOOK_S > BOUND_S:
            answer(f"error: QEMU is not done after {BOUND_S} s")
        else:
            self._loop.after(LOOK_S, lambda: self._when(is_so, then, answer, looks + 1))
