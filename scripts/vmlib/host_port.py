"""The host's side of ANEMONE_HOST: lines from the client's script, one answer each, in order."""

import collections

from .servers import VERBS

USAGE = "kill N, start N, pause N, resume N, link N down|up"


class HostPort:
    """Takes one line at a time: the next is looked at when the last is answered."""

    def __init__(self, servers, reply):
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
        wanted = 2 if verb == "link" else 1
        if verb not in VERBS or len(rest) != wanted or (verb == "link" and rest[1] not in ("up", "down")):
            self._answer(f"error: '{line}' is not understood; there are {USAGE}")
        elif not rest[0].isdigit() or int(rest[0]) not in self._servers:
            known = f"1 to {len(self._servers)}" if self._servers else "none"
            self._answer(f"error: there is no server {rest[0]}; servers: {known}")
        else:
            self._asked = self._servers[int(rest[0])]
            self._asked.act(verb, rest[-1], self._answer)

    def answer_from_guest(self, result):
        """What the client's VM answers to the verb that it was handed (--single)."""
        self._asked.answered(result)
