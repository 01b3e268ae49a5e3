# SPDX-License-Identifier: GPL-2.0
"""A run of scripts/vm in the background."""

import os
import signal
import subprocess
import sys
import threading

from .failure import Failure

SCRIPTS = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))


class Machine:
    """Boots, runs a script, takes down; as a context, nothing of it stays.

    `on_line` takes the lines of its output, and of its console where the arguments ask for that.
    Lines for which it returns True are kept, to show why the run failed.
    """

    def __init__(self, what, arguments, on_line):
        self._what = what
        self._on_line = on_line
        self._kept = []
        self._lock = threading.Lock()
        # In its own session: a Ctrl-C reaches it once, through this program, after this program has printed its line.
        self._process = subprocess.Popen(
            [os.path.join(SCRIPTS, "vm"), "run", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
        self._readers = [threading.Thread(target=self._read, args=(stream,), daemon=True)
                         for stream in (self._process.stdout, self._process.stderr)]
        for reader in self._readers:
            reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        for reader in self._readers:
            reader.join()

    def _read(self, stream):
        with stream:
            for line in stream:
                with self._lock:
                    line = line.rstrip("\n")
                    if self._on_line(line):
                        self._kept.append(line)

    def wait(self, seconds):
        """Waits for its end, with a time limit; returns whether it is still running."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        for reader in self._readers:
            reader.join()
        return False

    def check(self):
        """After its end: raises if it failed."""
        if self._process.returncode != 0:
            sys.stdout.flush()
            print("\n".join(self._kept[-60:]), file=sys.stderr)
            reason = self._kept[-1] if self._kept else "no output"
            raise Failure(f"{self._what} did not end well (status {self._process.returncode}): {reason}")

    def warnings(self):
        """The runner's warnings."""
        return [line for line in self._kept if line.startswith("vm: warning:")]
