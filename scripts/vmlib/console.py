# SPDX-License-Identifier: GPL-2.0
"""The console of a VM's kernel and first program: stored, shown and searched, never mixed with output."""

import collections
import re
import sys

KEPT_LINES = 2000
_ESCAPES = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|c)")
_PANIC = re.compile(r"Kernel panic - not syncing: *(.*)")
_COMPLAINT = re.compile(r"\] (Oops|BUG|WARNING|INFO: task|INFO: rcu|=====|Kernel panic)")


class Console:
    """The lines of one VM's console since the run began, over all its boots."""

    def __init__(self, name, show, log_path, on_panic):
        self._name = name
        self._show = show
        # Line-buffered, so that the log can be followed during the run.
        self._log = open(log_path, "w", buffering=1, encoding="utf-8") if log_path else None
        self._on_panic = on_panic
        self._lines = collections.deque(maxlen=KEPT_LINES)

    def add(self, line):
        line = _ESCAPES.sub("", line)
        self._lines.append(line)
        if self._log:
            self._log.write(line + "\n")
        if self._show:
            sys.stderr.write(f"[{self._name}] {line}\n")
        if found := _PANIC.search(line):
            self._on_panic(found.group(1))

    def tail(self, count=40, most=150):
        """The last `count` lines; more, up to `most`, if the kernel's first error is among those."""
        lines = list(self._lines)[-most:]
        first = next((at for at, line in enumerate(lines) if _COMPLAINT.search(line)), len(lines))
        return lines[min(first, max(len(lines) - count, 0)):]

    def close(self):
        if self._log:
            self._log.close()
