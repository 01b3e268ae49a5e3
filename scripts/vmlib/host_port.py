# SPDX-License-Identifier: GPL-2.0
"""The host's side of ANEMONE_HOST: lines from the client's script, one answer each, in order."""

import collections

from .servers import VERBS

USAGE = "kill N, start N, pause N, resume N, link N down|up, wait SECONDS, snapshot, rewind"
LONGEST_WAIT_S = 600


class HostPort:
    """Takes one line at a time: the next is handled when the last one has been answered."""

    def __init__(self, loop, servers, reply, snapshots):
        self._loop = loop
        self._snapshots = snapshots
        self._servers = servers
        self._reply = reply
        self._lines = collections.deque()
        self._busy = False
        self._asked = None

    def line(self, line):
        if line.strip():
            self._lines.append(line.strip())
            self._next()

    def _next(self):
        if self._busy or not self._lines:
            return
        self._busy = True
        self._execute(self._lines.popleft())

    def _answer(self, result):
        self._reply(result)
        self._busy = False
        self._next()

    def _execute(self, line):
        verb, *rest = line.split()
        if line in ("snapshot", "rewind"):
            snapshots = self._snapshots()
            if snapshots is None:
                self._answer("error: the servers would be rolled back as well: not with --single")
            else:
                (snapshots.take if verb == "snapshot" else snapshots.rewind)(self._answer)
            return
        wanted = 2 if verb == "link" else 1
        if verb == "wait" and len(rest) == 1 and rest[0].isdigit() and int(rest[0]) <= LONGEST_WAIT_S:
            # For a guest that cannot act at that time: without a network it cannot page in what it needs.
            self._loop.after(int(rest[0]), lambda: self._answer("ok"))
            return
        if verb not in VERBS or len(rest) != wanted or (verb == "link" and rest[1] not in ("up", "down")):
            self._answer(f"error: '{line}' is not understood; there are {USAGE}")
        elif not rest[0].isdigit() or int(rest[0]) not in self._servers:
            known = f"1 to {len(self._servers)}" if self._servers else "none"
            self._answer(f"error: there is no server {rest[0]}; servers: {known}")
        else:
            self._asked = self._servers[int(rest[0])]
            self._asked.act(verb, rest[-1], self._answer)

    def answer_from_guest(self, result):
        """The answer of the client's VM to a forwarded verb (--single)."""
        self._asked.answered(result)
