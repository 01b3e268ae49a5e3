# SPDX-License-Identifier: GPL-2.0
"""The script's output as it leaves the client: bytes, then a mark, then its exit status."""


class Output:
    """Hands on every byte before the mark, as soon as it is known not to belong to it."""

    def __init__(self, mark, write):
        self._mark = mark.encode() + b" "
        self._write = write
        self._held = b""
        self._ended = False
        self.status = None

    def data(self, data):
        self._held += data
        if not self._ended:
            found = self._held.find(self._mark)
            keep = found if found >= 0 else len(self._held) - self._possible_mark()
            if keep:
                self._write(self._held[:keep])
            self._held = self._held[keep:]
            self._ended = found >= 0
        if self._ended and b"\n" in self._held:
            line = self._held[len(self._mark):self._held.index(b"\n")]
            self.status = int(line)
            self._held = b""

    def _possible_mark(self):
        """How many of the last bytes may be the beginning of the mark."""
        for length in range(min(len(self._mark) - 1, len(self._held)), 0, -1):
            if self._held.endswith(self._mark[:length]):
                return length
        return 0
