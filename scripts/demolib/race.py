# SPDX-License-Identifier: GPL-2.0
"""The race: the same sort on Anemone and on a disk, each to its end, in counted time."""

import contextlib
import dataclasses
import os
import shutil
import time

from .machine import SCRIPTS, Machine

MIB = 1 << 20
PAGE = 4096
SERVERS = 2
# The kernel, the programs in memory, and enough besides: only the sort's memory is limited.
CLIENT_OVERHEAD_MIB = 256
# A group may exceed its limit by this much for a moment, before it is reclaimed.
MEMORY_TOLERANCE = 0.02
CONSOLE = "[client] "
NAMES = {"anemone": "Anemone", "disk": "disk"}


@dataclasses.dataclass
class Plan:
    """The text and the machines."""

    seed: int
    text_mib: int
    memory_mib: int
    # The program that makes the text, and the one that is the disk.
    text: str
    disk: str
    # The time limit, in the host's time.
    limit_s: int = 900

    @property
    def text_bytes(self):
        return self.text_mib * MIB

    @property
    def device_mib(self):
        """Swap space: twice the text, so that the kernel never treats it as nearly full."""
        return self.text_mib * 2 + 32

    @property
    def server_mem(self):
        """The memory of a server VM: enough for the device after what scripts/vm uses itself."""
        return self.device_mib + self.device_mib // 8 + 32


class Racer:
    """One of the two sorts, and its output."""

    def __init__(self, plan, kind, logs):
        self.kind = kind
        self.digest = None
        # The guest's nanoseconds: the beginning of the sort, and the last byte of its output.
        self.began_ns = self.ended_ns = None
        # Bytes read and written so far, and when: (nanoseconds, bytes).
        self.made, self.sorted = [], []
        # The number of faults that took 2^(power - 1) to 2^power nanoseconds, by power, and their total time.
        self.page_ins = {}
        self.waited_ns = 0
        self.memory_peak = 0
        self.disk_counts = ""
        self._plan = plan
        self._counts = {"before": {}, "after": {}}
        self._problems = []
        self._machine = None
        self._logs = os.path.join(logs, f"race-{kind}")

    def start(self):
        """Boots; the rest runs in the background."""
        plan = self._plan
        memory = plan.memory_mib + CLIENT_OVERHEAD_MIB
        if self.kind == "anemone":
            machine = ["--servers", str(SERVERS), "--server-mem", str(plan.server_mem)]
        else:
            # The same in both VMs; with a disk, the memory of the servers is the disk's.
            machine = ["--servers", "0", "--no-module", "--file", f"{plan.disk}:/usr/bin/anemone-disk"]
            memory += SERVERS * plan.server_mem
        command = ["--single", "--icount", "--console", *machine, "--client-mem", str(memory),
                   "--timeout", str(plan.limit_s), "--log-dir", self._logs,
                   "--file", f"{plan.text}:/usr/bin/anemone-text", "--file", f"{shutil.which('sort')}:/usr/bin/sort",
                   os.path.join(SCRIPTS, "guest", "race.sh"), self.kind, str(plan.seed), str(plan.text_mib),
                   str(plan.device_mib), str(plan.memory_mib)]
        self._machine = Machine(f"the race's sort on {NAMES[self.kind]}", command, self._line)
        return self._machine

    def _line(self, line):
        word, _, rest = line.removeprefix(CONSOLE).partition(" ")
        values = rest.split()
        match word:
            case "made" | "sorted" if len(values) == 2 and line.startswith(CONSOLE):
                getattr(self, word).append((int(values[1]), int(values[0])))
                # The other program waits for the text before the text begins.
                if word == "made" and self.began_ns is None:
                    self.began_ns = int(values[1])
            case "digest":
                self.digest = values[1]
                self.ended_ns = int(values[2])
            case "before" | "after":
                self._counts[word][values[0]] = int(values[1])
            case "page_in":
                self.page_ins[int(values[0])] = int(values[1])
            case "waited":
                self.waited_ns = int(rest)
            case "memory":
                self.memory_peak = int(rest)
            case "disk":
                self.disk_counts = rest
            case "problem":
                self._problems.append(rest)
            case _:
                return not line.startswith(CONSOLE)
        return False

    # The results

    def state(self):
        """The progress in a few words."""
        if self.began_ns is None:
            return "booting"
        if self.ended_ns is not None:
            return f"done in {self.seconds:.1f} s"
        made, done = self.made[-1], self.sorted[-1] if self.sorted else (0, 0)
        seconds = (max(made[0], done[0]) - self.began_ns) / 1e9
        how = f"sorted {done[1] // MIB}" if done[1] else f"read {made[1] // MIB}"
        return f"{seconds:.1f} s, {how} of {self._plan.text_mib} MiB"

    @property
    def seconds(self):
        return (self.ended_ns - self.began_ns) / 1e9

    def written_by(self, nanoseconds):
        """The bytes of the result at that time after the beginning."""
        moment = self.began_ns + nanoseconds
        return max((done for at, done in self.sorted if at <= moment), default=0)

    def count(self, name):
        """A counter of the kernel or the module, as its difference over the sort."""
        return self._counts["after"].get(name, 0) - self._counts["before"].get(name, 0)

    def counters(self):
        """All of them, as differences."""
        return {name: self.count(name) for name in self._counts["after"]}

    @property
    def faults(self):
        return sum(self.page_ins.values())

    @property
    def mean_ns(self):
        """The mean time of a fault that reads a page."""
        return self.waited_ns / self.faults if self.faults else 0

    def problems(self, digest):
        """The problems, one a line."""
        plan, name = self._plan, NAMES[self.kind]
        found = [f"{name}: {problem}" for problem in self._problems]
        if self.digest is None:
            return found + [f"{name}: there is no sorted text"]
        if self.digest != digest:
            found.insert(0, f"{name}: the sorted text is WRONG: digest {self.digest} instead of {digest}")
        # Not even the whole memory can hold more than its size of the text.
        least = (plan.text_mib - plan.memory_mib) * MIB // PAGE
        if self.count("pswpout") < least:
            found.append(f"{name}: only {self.count('pswpout')} pages went out, {least} had to")
        if abs(self.memory_peak / (plan.memory_mib * MIB) - 1) > MEMORY_TOLERANCE:
            found.append(f"{name}: the sort had {self.memory_peak // 1024} KiB instead of {plan.memory_mib * 1024}")
        if not self.faults:
            found.append(f"{name}: no fault was measured")
        for counter in ("oom_kill", "pages_out_failed", "pages_in_failed", "corrupt_in"):
            if self.count(counter):
                found.append(f"{name}: {counter} is {self.count(counter)}")
        return found + self._machine.warnings()


def run(plan, logs, screen):
    """Runs both at once; they are independent. Raises if one has no result at all."""
    racers = [Racer(plan, kind, logs) for kind in ("anemone", "disk")]
    with contextlib.ExitStack() as stack:
        machines = [stack.enter_context(racer.start()) for racer in racers]
        began = time.monotonic()
        while any([machine.wait(0.25) for machine in machines]):
            screen.progress(f"  {time.monotonic() - began:4.0f} s  " + "   ".join(
                f"{NAMES[racer.kind]}: {racer.state()}" for racer in racers))
        screen.close()
        for machine in machines:
            machine.check()
    return racers
