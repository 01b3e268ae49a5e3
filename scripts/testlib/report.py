# SPDX-License-Identifier: GPL-2.0
"""The results: a line on standard output for each test, and a summary at the end."""

import json
import os
import threading
import time

TOP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
LOGS = os.path.join(TOP, "build", "test-logs")


def log_path(name):
    """The path of a test's output."""
    os.makedirs(LOGS, exist_ok=True)
    return os.path.join(LOGS, name.replace("/", "_").replace(":", "_") + ".log")


def last_lines(path, count=60):
    """The last lines of a log that may not be there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()[-count:]
    except OSError:
        return []


class Report:
    """Prints and counts; may be used by several threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._tests = []
        self._began = time.monotonic()

    def passed(self, name, seconds):
        self._add("ok", name, seconds, "")

    def skipped(self, name, why):
        self._add("skip", name, None, why)

    def failed(self, name, seconds, why, log=None):
        """Shows the end of the log as well, because the file may be gone later."""
        where = f" (log: {os.path.relpath(log)})" if log else ""
        self._add("FAIL", name, seconds, why + where, last_lines(log) if log else [])

    def note(self, text):
        """A message that is not a test's result."""
        with self._lock:
            print(f"# {text}", flush=True)

    def _add(self, result, name, seconds, why, more=()):
        took = "" if seconds is None else f" {seconds:.1f}s"
        with self._lock:
            self._tests.append({"name": name, "result": result, "seconds": seconds, "why": why})
            print(f"{result} {name}{took}{': ' + why if why else ''}", flush=True)
            for line in more:
                print(f"    {line}", flush=True)

    def failures(self):
        """The number of failed tests."""
        return self._count("FAIL")

    def _count(self, result):
        return sum(test["result"] == result for test in self._tests)

    def end(self):
        """Prints the last line and writes the summary; returns the exit status."""
        passed, failed, skipped = self._count("ok"), self._count("FAIL"), self._count("skip")
        ok = failed == 0 and passed > 0
        path = os.path.join(TOP, "build", "test.json")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"ok": ok, "passed": passed, "failed": failed, "skipped": skipped,
                       "seconds": round(time.monotonic() - self._began, 1), "tests": self._tests},
                      file, indent=1)
            file.write("\n")
        print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
        return 0 if ok else 1
