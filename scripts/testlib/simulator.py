# SPDX-License-Identifier: GPL-2.0
"""Tries new seeds of the simulator until stopped, and sums up what happened in them."""

import collections
import os
import random
import re
import signal
import subprocess
import threading
import time

from .report import TOP, log_path

# Seeds of one batch on a processor, between two checks whether to continue: less than a minute.
BATCH = 1000
# Between two reports of progress.
PROGRESS_S = 300
FAULT = re.compile(r"^  ([A-Z]\w+) +(\d+)$")
GROUNDS = re.compile(r"^  +(\d+) ([a-z].*)$")
SUM = re.compile(r"(\d+) (page-outs|page-ins|discards|rightful errors|copies repaired|frames)")
FAILS = re.compile(r"^seed (\d+) fails: (.*)$")


class Simulator:
    """Batches of seeds at the lowest priority, beside other work."""

    def __init__(self, report, keep_going, first=None, most=None, processors=1):
        self._report = report
        self._keep_going = keep_going
        self._most = most or float("inf")
        self._processors = processors
        # Below the seeds that a commit's hash gives.
        self.first = random.SystemRandom().randrange(1 << 40) if first is None else first
        self.seeds = 0
        self._sums, self._faults, self._grounds = (collections.Counter() for _ in range(3))
        self._failed = []
        self._process = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._report.note(f"simulator: new seeds from {self.first} on")
        self._thread.start()
        return self

    def wait(self, seconds=None):
        """Waits until a seed has failed, or the time is over."""
        self._thread.join(seconds)

    def stop(self):
        """Ends the batch under way, which does not count, and reports the results."""
        self._stopped.set()
        if self._process and self._process.poll() is None:
            # With cargo's child processes.
            os.killpg(self._process.pid, signal.SIGTERM)
        self._thread.join()
        for line in self.table():
            self._report.note(line)
        if not self._failed and self.seeds:
            self._report.passed(f"simulator: {self.seeds} new seeds from {self.first} on", None)

    def table(self):
        sums = ", ".join(f"{count} {name}" for name, count in self._sums.items())
        yield f"simulator: {self.seeds} seeds from {self.first} on, {len(self._failed)} failed; {sums}"
        for name, count in self._faults.items():
            yield f"  {name:<20} {count:>11}"
        for name, count in self._grounds.items():
            yield f"  {count:>11} {name}"

    def _run(self):
        log = log_path("soak-simulator")
        noted = time.monotonic()
        batch = BATCH * self._processors
        while not self._stopped.is_set() and self.seeds < self._most:
            environment = {**os.environ, "ANEMONE_SIM_THREADS": str(self._processors)}
            command = ["nice", "-n", "19", os.path.join(TOP, "scripts", "sim"), "--long",
                       "--seeds", str(batch), "--first", str(self.first + self.seeds)]
            with open(log, "w+", encoding="utf-8", errors="replace") as file:
                self._process = subprocess.Popen(command, cwd=TOP, env=environment, stdin=subprocess.DEVNULL,
                                                 stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
                status = self._process.wait()
                if self._stopped.is_set():
                    return
                file.seek(0)
                self._take(file.read().splitlines())
            self.seeds += batch
            if time.monotonic() - noted >= PROGRESS_S:
                noted = time.monotonic()
                self._report.note(f"simulator: {self.seeds} seeds, {len(self._failed)} failed")
            if status != 0:
                if not self._failed:
                    self._failed.append(None)
                self._report.failed(f"simulator: seeds {self._failed}", None, f"status {status}", log)
                if not self._keep_going:
                    return

    def _take(self, lines):
        for line in lines:
            if match := FAULT.match(line):
                self._faults[match[1]] += int(match[2])
            elif match := GROUNDS.match(line):
                self._grounds[match[2]] += int(match[1])
            elif " seeds in " in line:
                for count, name in SUM.findall(line):
                    self._sums[name] += int(count)
            elif (match := FAILS.match(line)) and int(match[1]) not in self._failed:
                self._failed.append(int(match[1]))
