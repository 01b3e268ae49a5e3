# SPDX-License-Identifier: GPL-2.0
"""The screen: lines, and on a terminal one line of progress that is overwritten."""

import shutil
import sys
import time

# Without a terminal, progress goes to a log, with fewer lines.
LOG_INTERVAL_S = 10


class Screen:
    """Standard output."""

    def __init__(self):
        self._is_terminal = sys.stdout.isatty()
        self._in_progress = False
        self._next = 0.0

    def line(self, text=""):
        """A line that stays."""
        self.close()
        print(text, flush=True)

    def progress(self, text):
        """Shows the progress."""
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{text[:width]}", end="", flush=True)
            self._in_progress = True
        elif time.monotonic() >= self._next:
            print(text, flush=True)
            self._next = time.monotonic() + LOG_INTERVAL_S

    def close(self):
        """Removes the line of progress."""
        if self._in_progress:
            print("\r\033[K", end="", flush=True)
            self._in_progress = False
        self._next = 0.0
