# SPDX-License-Identifier: GPL-2.0
"""The disasters: a sort on its own machines, one of which loses its power, and all of which lose their network."""

import dataclasses
import os
import re
import shutil

from .machine import SCRIPTS, Machine

PAGE = 4096
SERVERS = 2
# From the end of the sort's own time limit until the VM is given up.
GRACE_S = 120
# The memory of a server VM that scripts/vm uses itself, and some reserve.
SERVER_OVERHEAD_MIB = 160
# The rate is measured over this time.
BEFORE_CS = 1000
# The part of the earlier rate that counts as a stall.
STILL = 0.05
COMPLAINT = re.compile(r"WARNING:|BUG:|Oops|Kernel panic|Call Trace|Out of memory| ERROR |panicked")


@dataclasses.dataclass
class Plan:
    """The text and the machines."""

    seed: int
    client_mem: int
    text_mib: int
    # The program that makes the text.
    text: str
    limit_s: int = 600

    @property
    def text_bytes(self):
        return self.text_mib << 20

    @property
    def device_mib(self):
        """Swap space: the text, sort's table of lines, and other programs' pages."""
        return self.text_mib * 3 // 2 + 64

    @property
    def server_mem(self):
        return self.device_mib + SERVER_OVERHEAD_MIB


@dataclasses.dataclass
class Event:
    """A disturbance of the servers, and for how long it affected the sort."""

    name: str
    # The time since swapon, and the duration.
    began_s: float
    lasted_s: float
    # The longest stall, until the sort continued.
    stood_still_s: float


@dataclasses.dataclass
class Sample:
    """The progress at one moment."""

    centiseconds: int
    made: int
    sorted: int
    pswpout: int
    pswpin: int
    repair_left: int


def _moved(samples):
    """Pages paged out or in between the first and the last sample."""
    if not samples:
        return 0
    first, last = samples[0], samples[-1]
    return last.pswpout + last.pswpin - first.pswpout - first.pswpin


class Disasters:
    """A run of scripts/guest/disasters.sh, and its output."""

    def __init__(self, plan, logs):
        self.seconds = None
        self.digest = None
        self.finished = False
        self.samples = []
        # By name: centiseconds since swapon.
        self.marks = {}
        # By number: the most pages that were seen there, and its final state.
        self.servers = {}
        self._plan = plan
        self._logs = os.path.join(logs, "disasters")
        self._counts = {"before": {}, "after": {}}
        self._problems = []
        self._state = None

    def run(self, screen):
        """Boots, sorts, takes down. Raises only if there is no result at all."""
        plan = self._plan
        command = ["--servers", str(SERVERS), "--server-mem", str(plan.server_mem),
                   "--client-mem", str(plan.client_mem), "--timeout", str(plan.limit_s + GRACE_S),
                   "--log-dir", self._logs, "--file", f"{plan.text}:/usr/bin/anemone-text",
                   "--file", f"{shutil.which('sort')}:/usr/bin/sort",
                   os.path.join(SCRIPTS, "guest", "disasters.sh"), str(plan.seed), str(plan.text_mib),
                   str(plan.device_mib), str(plan.limit_s)]
        screen.progress("  the machines boot")
        with Machine("the sort through disasters", command, self._line) as machine:
            while machine.wait(0.5):
                if self.samples:
                    self._show(screen)
            screen.close()
            machine.check()
            self._problems += machine.warnings()

    def _line(self, line):
        word, _, rest = line.partition(" ")
        values = rest.split()
        match word:
            case "sample":
                self.samples.append(Sample(*(int(value) for value in values)))
            case "server":
                # The runner's numbers. A server that restarts empty keeps its number here.
                number = int(values[0].rpartition(":")[2], 16)
                capacity, free = (int(value) for value in values[1:3])
                most = max(capacity - free, self.servers.get(number, (0, ""))[0])
                self.servers[number] = (most, values[3])
            case "before" | "after":
                self._counts[word][values[0]] = int(values[1])
            case "ended":
                self.seconds = int(values[0]) / 100
                self._state = values[1]
                self.finished = values[1] == "0"
            case "digest":
                self.digest = values[1]
            case "problem":
                self._problems.append(rest)
            case "event":
                self.marks[values[0]] = int(values[1])
            case "began":
                pass
            case _:
                return True
        return False

    def _show(self, screen):
        now = self.samples[-1]
        done = [what for mark, what in (
            ("killed", "server 1 has lost its power"), ("started", "it is back, empty"),
            ("cut", "no server has a network"), ("healed", "the network is back")) if mark in self.marks]
        screen.progress(f"  {now.centiseconds // 100:4d} s  read {now.made >> 20:4d} of {self._plan.text_mib} MiB, "
                        f"sorted {now.sorted >> 20:4d} MiB   {done[-1] if done else ''}")

    # The results

    def count(self, name):
        """A counter of the kernel or the module, as its difference from after swapon."""
        return self._counts["after"].get(name, 0) - self._counts["before"].get(name, 0)

    def counters(self):
        """All of them, as differences."""
        return {name: self.count(name) for name in self._counts["after"]}

    def events(self):
        """The disturbances of the servers."""
        for name, begin, end in (("killed", "killed", "started"), ("cut", "cut", "healed")):
            if begin in self.marks and end in self.marks:
                yield self._event(name, self.marks[begin], self.marks[end])

    def _event(self, name, begin, end):
        # The sort is affected until it continues, which may be after the end of the disturbance.
        window = [sample for sample in self.samples if sample.centiseconds >= begin]
        before = [sample for sample in self.samples if begin - BEFORE_CS <= sample.centiseconds <= begin]
        rate = _moved(before) / max(1, before[-1].centiseconds - before[0].centiseconds) if before else 0
        still, since = 0, begin
        for earlier, later in zip(before[-1:] + window, window):
            if _moved([earlier, later]) > rate * (later.centiseconds - earlier.centiseconds) * STILL:
                since = later.centiseconds
                if later.centiseconds > end:
                    break
            still = max(still, later.centiseconds - since)
        return Event(name, begin / 100, (end - begin) / 100, still / 100)

    def repaired_s(self):
        """The time from the server's return until every page had two copies again; None if that was not seen."""
        back = self.marks.get("started")
        later = [sample for sample in self.samples if back is not None and sample.centiseconds >= back]
        whole = next((sample for sample in later if sample.repair_left == 0), None)
        return (whole.centiseconds - back) / 100 if whole else None

    def differences(self):
        """For page-outs and page-ins: the kernel's count, the module's, and the relation between them."""
        # The kernel counts a page when it submits it, the module when it completes without an error.
        failed = {"out": self.count("pages_out_failed"), "in": self.count("pages_in_failed")}
        for way in ("out", "in"):
            kernel, module = self.count(f"pswp{way}"), self.count(f"pages_{way}")
            yield way, kernel, module, {f"failed page-{way}s": failed[way]}

    def problems(self, digest):
        """The problems, one a line."""
        plan = self._plan
        found = list(self._problems)
        if self.finished and self.digest != digest:
            found.insert(0, f"the sorted text is WRONG: digest {self.digest} instead of {digest}")
        if not self.finished:
            found.append(f"the sort was stopped after {plan.limit_s} s" if self._state == "limit" else
                         f"sort ended with status {self._state}")
        if self.count("oom_kill"):
            found.append(f"the kernel killed {self.count('oom_kill')} programs for lack of memory")
        # Not even the VM's whole memory can hold more than its size of the text.
        least = (plan.text_mib - plan.client_mem) * (1 << 20) // PAGE
        if self.count("pswpout") < least:
            found.append(f"only {self.count('pswpout')} pages went out, {least} had to: the memory was not exceeded")
        for way, kernel, module, causes in self.differences():
            if kernel != module + sum(causes.values()):
                found.append(f"the kernel counts {kernel} pages {way}, the module {module}: "
                             f"{kernel - module - sum(causes.values())} are not accounted for")
        for name, what in (("pages_out_failed", "page-outs failed"), ("pages_in_failed", "page-ins failed"),
                           ("corrupt_in", "pages came back damaged")):
            if self.count(name):
                found.append(f"{self.count(name)} {what}")
        for number, (pages, health) in sorted(self.servers.items()):
            # A `suspected` server was silent for a moment, which is no fault on a busy machine.
            if not pages or health not in ("up", "suspected"):
                found.append(f"server {number} holds {pages} pages and is {health}")
        if len(self.servers) != SERVERS:
            found.append(f"the module knows {len(self.servers)} servers instead of {SERVERS}")
        return [f"disasters: {problem}" for problem in found + list(self._problems_of_servers())]

    def _problems_of_servers(self):
        """Errors in the consoles of the server VMs; the client checks its own."""
        for number in range(1, SERVERS + 1):
            path = os.path.join(self._logs, f"server{number}.console")
            with open(path, encoding="utf-8", errors="replace") as file:
                if line := next(filter(COMPLAINT.search, file), None):
                    yield f"server {number} complained: {line.strip()}"
