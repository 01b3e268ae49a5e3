"""One sort in a client VM: what is asked for, how it goes on, and what came of it."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys

from .failure import Failure

SCRIPTS = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
PAGE = 4096
# A hard disk of 7200 revolutions a minute: a seek and half a turn take about 8 ms.
DISK_IOPS = 120
DISK_MB_S = 120
SERVERS = 2
# Between the end of the sort's own limit and the moment when the VM is given up.
GRACE_S = 120
# What scripts/vm takes from a server's memory for its own use, and some air.
SERVER_OVERHEAD_MIB = 160
# What an event costs is measured against so long before it, and until so long after its end.
BEFORE_CS, AFTER_CS = 1000, 300
# Of the pages a second before, what is as good as none.
STILL = 0.05
COMPLAINT = re.compile(r"WARNING:|BUG:|Oops|Kernel panic|Call Trace|Out of memory| ERROR |panicked")


@dataclasses.dataclass
class Plan:
    """What is sorted, and where."""

    seed: int
    client_mem: int
    text_mib: int
    # The program that makes the text.
    text: str
    # Whether a server dies, and later the network, in the middle.
    events: bool = True

    @property
    def text_bytes(self):
        return self.text_mib << 20

    @property
    def device_mib(self):
        """Swap space: the text, sort's table of lines, and other programs' pages."""
        return self.text_mib * 3 // 2 + 64

    @property
    def server_mem(self):
        return max(512, self.device_mib + SERVER_OVERHEAD_MIB)


@dataclasses.dataclass
class Event:
    """Something that was done to the servers, and what it cost."""

    name: str
    # Since swap was on, and for how long it lasted.
    began_s: float
    lasted_s: float
    # The longest time with next to no page, and what fewer pages than before cost.
    stood_still_s: float
    lost_s: float


@dataclasses.dataclass
class Sample:
    """How far it was at one moment."""

    centiseconds: int
    made: int
    sorted: int
    pswpout: int
    pswpin: int
    pages_out: int
    pages_in: int


def _moved(samples):
    """Pages that went out or came in between the first and the last."""
    if not samples:
        return 0
    first, last = samples[0], samples[-1]
    return last.pswpout + last.pswpin - first.pswpout - first.pswpin


class Sorting:
    """A run of scripts/guest/demo.sh, and what it has said."""

    def __init__(self, plan, kind, limit_s, logs, arguments):
        self.kind = kind
        self.limit_s = limit_s
        self.seconds = None
        self.checksum = None
        self.finished = False
        self.samples = []
        # By name: centiseconds since swap was on.
        self.marks = {}
        self.latency = {}
        # By number: the most pages that were seen there, and its health at last.
        self.servers = {}
        self._plan = plan
        self._logs = os.path.join(logs, kind)
        self._arguments = arguments
        self._counts = {"before": {}, "after": {}}
        self._problems = []
        self._said = []
        self._state = None

    @classmethod
    def on_anemone(cls, plan, limit_s, logs):
        """With swap on memory servers."""
        return cls(plan, "anemone", limit_s, logs,
                   ["--servers", str(SERVERS), "--server-mem", str(plan.server_mem)])

    @classmethod
    def on_disk(cls, plan, limit_s, logs):
        """With swap on a disk as slow as a hard disk."""
        return cls(plan, "disk", limit_s, logs,
                   ["--servers", "0", "--no-module", "--disk", str(plan.device_mib),
                    "--disk-iops", str(DISK_IOPS), "--disk-bps", str(DISK_MB_S * 1000000)])

    def run(self, screen):
        """Boots, sorts, takes down. Raises only if there is no result at all."""
        plan = self._plan
        sort = shutil.which("sort")
        command = [os.path.join(SCRIPTS, "vm"), "run", *self._arguments, "--client-mem", str(plan.client_mem),
                   "--timeout", str(self.limit_s + GRACE_S), "--log-dir", self._logs,
                   "--file", f"{plan.text}:/usr/bin/anemone-text", "--file", f"{sort}:/usr/bin/sort",
                   os.path.join(SCRIPTS, "guest", "demo.sh"), self.kind, str(plan.seed), str(plan.text_mib),
                   str(plan.device_mib), str(self.limit_s),
                   "events" if self.kind == "anemone" and plan.events else ""]
        where = "two memory servers" if self.kind == "anemone" else "a local disk"
        screen.progress(f"  {where}: booting")
        # In a session of its own: a Ctrl-C reaches it once, through us, after our own line is out.
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", start_new_session=True) as process:
            try:
                for line in process.stdout:
                    self._line(line.rstrip("\n"), screen)
            except BaseException:
                process.send_signal(signal.SIGTERM)
                raise
        screen.close()
        if process.returncode != 0 or not self._state:
            sys.stdout.flush()
            print("\n".join(self._said[-60:]), file=sys.stderr)
            reason = self._said[-1] if self._said else "no output"
            raise Failure(f"the sort with swap on {where} did not end (status {process.returncode}): {reason}")

    def _line(self, line, screen):
        word, _, rest = line.partition(" ")
        values = rest.split()
        match word:
            case "sample":
                self.samples.append(Sample(*(int(value) for value in values)))
                self._show(screen)
            case "server":
                # The runner numbers them so. One that comes back empty is still the same one here.
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
            case "checksum":
                self.checksum = rest
            case "latency":
                self.latency[values[0]] = {name: int(value) for name, value in zip(values[1::2], values[2::2])}
            case "problem":
                self._problems.append(rest)
            case "event":
                self.marks[values[0]] = int(values[1])
            case "began":
                pass
            case _:
                self._said.append(line)

    def _show(self, screen):
        now = self.samples[-1]
        last = self.samples[-2] if len(self.samples) > 1 else Sample(0, 0, 0, 0, 0, 0, 0)
        seconds = max(1, now.centiseconds - last.centiseconds) / 100
        screen.progress(
            f"  {now.centiseconds // 100:4d} s  read {now.made >> 20:4d} of {self._plan.text_mib} MiB, "
            f"sorted {now.sorted >> 20:4d} MiB, pages/s: {(now.pswpout - last.pswpout) / seconds:6,.0f} out, "
            f"{(now.pswpin - last.pswpin) / seconds:6,.0f} in")

    # What came of it

    def count(self, name):
        """A counter of the kernel or the module, as its difference from after swapon."""
        return self._counts["after"].get(name, 0) - self._counts["before"].get(name, 0)

    def counters(self):
        """All of them, as differences."""
        return {name: self.count(name) for name in self._counts["after"]}

    @property
    def pages_moved(self):
        return self.count("pswpout") + self.count("pswpin")

    @property
    def pages_per_second(self):
        return self.pages_moved / self.seconds

    @property
    def late_pages_per_second(self):
        """The same in the second half of the time: after the text came in, which pages out in bulk."""
        last = self.samples[-1]
        half = next(sample for sample in self.samples if sample.centiseconds * 2 >= last.centiseconds)
        pages = last.pswpout + last.pswpin - half.pswpout - half.pswpin
        return pages * 100 / max(1, last.centiseconds - half.centiseconds)

    def events(self):
        """What was done to the servers in the middle."""
        for name, begin, end in (("killed", "killed", "started"), ("cut", "cut", "healed")):
            if begin in self.marks and end in self.marks:
                yield self._event(name, self.marks[begin], self.marks[end])

    def _event(self, name, begin, end):
        # Effects may come a little later: a server is missed, or found again.
        window = [sample for sample in self.samples if begin <= sample.centiseconds <= end + AFTER_CS]
        before = [sample for sample in self.samples if begin - BEFORE_CS <= sample.centiseconds <= begin]
        rate = _moved(before) / max(1, before[-1].centiseconds - before[0].centiseconds) if before else 0
        still, since = 0, begin
        for earlier, later in zip(before[-1:] + window, window):
            if _moved([earlier, later]) > rate * (later.centiseconds - earlier.centiseconds) * STILL:
                since = later.centiseconds
            still = max(still, later.centiseconds - since)
        lost = 0
        if rate and window:
            lost = max(0, window[-1].centiseconds - begin - _moved(before[-1:] + window) / rate)
        return Event(name, begin / 100, (end - begin) / 100, still / 100, lost / 100)

    def differences(self):
        """For page-outs and page-ins: the kernel's count, the module's, and what stands between."""
        # The kernel counts a page when it hands it over, the module when it is done without error.
        failed = {"out": self.count("pages_out_failed"), "in": self.count("pages_in_failed")}
        for way in ("out", "in"):
            kernel, module = self.count(f"pswp{way}"), self.count(f"pages_{way}")
            yield way, kernel, module, {f"failed page-{way}s": failed[way]}

    def problems(self, checksum):
        """What is wrong with it, a line each."""
        found = list(self._problems)
        if self.finished and self.checksum != checksum:
            found.insert(0, f"the sorted text is WRONG: checksum {self.checksum} instead of {checksum}")
        if not self.finished and (self.kind == "anemone" or self._state != "limit"):
            found.append(f"the sort was stopped after {self.limit_s} s" if self._state == "limit" else
                         f"sort ended with status {self._state}")
        if self.count("oom_kill"):
            found.append(f"the kernel killed {self.count('oom_kill')} programs for lack of memory")
        if self.kind == "anemone":
            found += self._problems_of_anemone()
        return found

    def _problems_of_anemone(self):
        plan = self._plan
        # Not even the VM's whole memory can hold more than its size of the text.
        least = (plan.text_mib - plan.client_mem) * (1 << 20) // PAGE
        if self.count("pswpout") < least:
            yield f"only {self.count('pswpout')} pages went out, {least} had to: the memory was not exceeded"
        for way, kernel, module, causes in self.differences():
            if kernel != module + sum(causes.values()):
                yield (f"the kernel counts {kernel} pages {way}, the module {module}: "
                       f"{kernel - module - sum(causes.values())} are not accounted for")
        for name, what in (("pages_out_failed", "page-outs failed"), ("pages_in_failed", "page-ins failed"),
                           ("corrupt_in", "pages came back damaged")):
            if self.count(name):
                yield f"{self.count(name)} {what}"
        for number, (pages, health) in sorted(self.servers.items()):
            # `suspected` is one that was silent for a moment: no fault on a machine that is busy.
            if not pages or health not in ("up", "suspected"):
                yield f"server {number} holds {pages} pages and is {health}"
        if len(self.servers) != SERVERS:
            yield f"the module knows {len(self.servers)} servers instead of {SERVERS}"
        yield from (line for line in self._said if line.startswith("vm: warning:"))
        yield from self._problems_of_servers()

    def _problems_of_servers(self):
        """What the server VMs' kernels and programs complained of; the client looks at its own."""
        for number in range(1, SERVERS + 1):
            path = os.path.join(self._logs, f"server{number}.console")
            with open(path, encoding="utf-8", errors="replace") as file:
                if line := next(filter(COMPLAINT.search, file), None):
                    yield f"server {number} complained: {line.strip()}"
