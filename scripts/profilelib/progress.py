# SPDX-License-Identifier: GPL-2.0
"""Progress on standard error: a line for each step, and on a terminal its seconds."""

import sys
import threading
import time


class Progress:
    """Steps, one after another."""

    def __init__(self, steps):
        self._steps = steps
        self._number = 0
        self._what = None
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self):
        if self._terminal:
            self._ticker.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        with self._lock:
            if self._terminal:
                print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._what = None

    def begin(self, what):
        """Begins the next step."""
        with self._lock:
            self._number += 1
            self._what = what
            self._show()

    def _tick(self):
        while not self._over.wait(1):
            with self._lock:
                if self._what:
                    self._show()

    def _show(self):
        text = f"profile: {self._number}/{self._steps} {self._what} ({time.monotonic() - self._began:.0f} s)"
        if self._terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
